"""From trigger to verdict: what the station adds to the inference, beside a bare echo over the same broker.

    python benchmarks/latency.py [RECIPE] [--runs N] [--triggers N] [--json FILE]

A PLC process (this one), the agent and an echo process talk through a Mosquitto of their own on loopback. The PLC
triggers ten times a second; half-way between two triggers it sends a message that the echo process publishes back.
For each frame the inference's own time, from the agent's log, is taken off the time from trigger to verdict. The archive
keeps every reject and every tenth passed part.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import re
import signal
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from stand import (
    TOPICS,
    arguments_of_a_station,
    connected_plc,
    find_broker,
    mosquitto,
    running_agent,
    scratch_folder,
    wait_until_ready,
)

from edge_agent.messages import encode_ack, parse_object
from edge_agent.mqtt import BrokerAddress, Message, MqttClient
from engines.command_line import track, write_json
from engines.machine import describe_machine

INTERVAL_S = 0.1
BAR_MS = 4.0
ARCHIVE = {"folder": "archive", "max_mb": 1000, "keep_days": 1, "pass_every": 10}
LINE = re.compile(r"meas_id=(\S+) .* infer_ms=([\d.]+)")


def main() -> int:
    parser = arguments_of_a_station(__doc__)
    parser.add_argument("--triggers", type=int, default=300)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    broker = find_broker(arguments.recipe)
    if broker is None:
        return 66
    print(describe_machine())
    runs = [measure(arguments.recipe, broker, arguments.triggers, n) for n in range(arguments.runs)]
    print(
        f"{'run':>3} {'echo p50':>9} {'echo p99':>9} {'added p50':>10} {'added p99':>10} {'infer p50':>10} {'load':>5}  ms"
    )
    for number, run in enumerate(runs, 1):
        print(
            f"{number:3} {run['echo_p50']:9.2f} {run['echo_p99']:9.2f} {run['added_p50']:10.2f} {run['added_p99']:10.2f} "
            f"{run['infer_p50']:10.2f} {run['load']:5.2f}"
        )
    median = statistics.median(run["added_p99"] for run in runs)
    print(f"median of the runs: p99 {median:.2f} ms beyond the inference (at most {BAR_MS:g})")
    write_json(arguments.json, {"machine": describe_machine(), "median_added_p99_ms": median, "runs": runs})
    return 0 if median <= BAR_MS else 1


def measure(recipe: Path, broker: str, triggers: int, number: int) -> dict[str, float]:
    with scratch_folder() as folder, mosquitto(broker, folder) as port:
        echo = multiprocessing.get_context("spawn").Process(target=run_echo, args=(port,), daemon=True)
        echo.start()
        # Without --verbose the log leaves out most of the parts that passed.
        with running_agent(folder, recipe, port, "--verbose", archive=ARCHIVE):
            verdict_ms, echo_ms = play(port, triggers, number)
        echo.terminate()
        infer_ms = {match[1]: float(match[2]) for match in LINE.finditer((folder / "agent.log").read_text())}
    added = [total - infer_ms[meas_id] for meas_id, total in verdict_ms.items()]
    return {
        "echo_p50": float(np.quantile(echo_ms, 0.5)),
        "echo_p99": float(np.quantile(echo_ms, 0.99)),
        "added_p50": float(np.quantile(added, 0.5)),
        "added_p99": float(np.quantile(added, 0.99)),
        "infer_p50": float(np.quantile([infer_ms[meas_id] for meas_id in verdict_ms], 0.5)),
        "load": os.getloadavg()[0],
    }


def play(port: int, triggers: int, number: int) -> tuple[dict[str, float], list[float]]:
    """Trigger and echo in turn; return milliseconds from trigger to verdict by meas_id, and those of the echo."""
    states: queue.Queue[Message] = queue.Queue()
    verdicts: queue.Queue[Message] = queue.Queue()
    echoes: queue.Queue[Message] = queue.Queue()
    handlers = {TOPICS.state: states.put, TOPICS.verdict: verdicts.put, "echo/out": echoes.put}
    plc = connected_plc(port, handlers)
    wait_until_ready(states)
    verdict_ms, echo_ms = {}, []
    due = time.monotonic()
    for index in track(range(triggers), label=f"run {number + 1}"):
        due += INTERVAL_S / 2
        time.sleep(max(0, due - time.monotonic()))
        sent_ns = time.monotonic_ns()
        plc.publish(TOPICS.trigger, b'{"meas_id": "%d"}' % index)
        answer = verdicts.get(timeout=10)
        verdict = parse_object(answer.payload, "verdict")
        verdict_ms[verdict["meas_id"]] = (answer.received_ns - sent_ns) / 1e6
        plc.publish(TOPICS.ack, encode_ack("plc", [verdict["result_id"]]))
        due += INTERVAL_S / 2
        time.sleep(max(0, due - time.monotonic()))
        sent_ns = time.monotonic_ns()
        plc.publish("echo/in", answer.payload)
        echo_ms.append((echoes.get(timeout=10).received_ns - sent_ns) / 1e6)
    plc.stop()
    return verdict_ms, echo_ms


def run_echo(port: int) -> None:
    """Publish back whatever arrives, as the agent would if it did nothing else."""
    client = MqttClient(
        BrokerAddress("127.0.0.1", port), "echo", {"echo/in": lambda m: client.publish("echo/out", m.payload)}
    )
    client.start()
    signal.pause()


if __name__ == "__main__":
    sys.exit(main())
