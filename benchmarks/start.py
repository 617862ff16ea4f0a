"""From the start of the process to `ready` at another process, beside the bare imports that no agent can avoid.

python benchmarks/start.py [RECIPE] [--runs N] [--json FILE]
"""

from __future__ import annotations

import argparse
import queue
import statistics
import subprocess
import sys
import time
from pathlib import Path

from stand import TOPICS, find_broker, mosquitto, running_agent, scratch_folder

from edge_agent.messages import parse_object
from edge_agent.mqtt import BrokerAddress, Message, MqttClient
from engines.command_line import write_json
from engines.machine import describe_machine

BAR_S = 2.0
BARE = "import numpy, cv2, onnxruntime, pydantic, yaml, paho.mqtt.client"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, nargs="?", default=Path("demo/work/recipe"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    broker = find_broker(arguments.recipe)
    if broker is None:
        return 66
    runs = [(time_to_ready(arguments.recipe, broker), time_of_imports()) for _ in range(arguments.runs)]
    ready_s, bare_s = (statistics.median(column) for column in zip(*runs, strict=True))
    print(describe_machine())
    print(f"start to ready {ready_s:.2f} s (at most {BAR_S:g}), bare imports {bare_s:.2f} s; median of {len(runs)}")
    write_json(arguments.json, {"machine": describe_machine(), "ready_s": ready_s, "bare_imports_s": bare_s})
    return 0 if ready_s <= BAR_S else 1


def time_to_ready(recipe: Path, broker: str) -> float:
    states: queue.Queue[Message] = queue.Queue()
    with scratch_folder() as folder, mosquitto(broker, folder) as port:
        plc = MqttClient(BrokerAddress("127.0.0.1", port), "plc", {TOPICS.state: states.put})
        plc.start()
        plc.live.wait(20)
        began = time.monotonic()
        with running_agent(folder, recipe, port):
            while parse_object(states.get(timeout=20).payload, "state")["state"] != "ready":
                pass
            ready_s = time.monotonic() - began
        plc.stop()
    return ready_s


def time_of_imports() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", BARE], check=True)
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
