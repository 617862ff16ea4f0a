"""From the start of the process to `ready` at another process, beside the bare imports that no agent can avoid.

python benchmarks/start.py [RECIPE] [--runs N] [--json FILE]
"""

from __future__ import annotations

import queue
import statistics
import subprocess
import sys
import time
from pathlib import Path

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

from edge_agent.mqtt import Message
from engines.command_line import write_json
from engines.machine import describe_machine

BAR_S = 2.0
BARE = "import numpy, cv2, onnxruntime, pydantic, yaml, paho.mqtt.client"


def main() -> int:
    parser = arguments_of_a_station(__doc__)
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
        plc = connected_plc(port, {TOPICS.state: states.put})
        began = time.monotonic()
        with running_agent(folder, recipe, port):
            wait_until_ready(states)
            ready_s = time.monotonic() - began
        plc.stop()
    return ready_s


def time_of_imports() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", BARE], check=True)
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
