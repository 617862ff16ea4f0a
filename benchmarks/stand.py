"""What the benchmarks of the running station share: a Mosquitto and an agent of their own, ended by their handles."""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from edge_agent.messages import parse_object
from edge_agent.mqtt import BrokerAddress, Handler, Message, MqttClient
from edge_agent.topics import Topics
from engines.recipe import load_recipe

BIN = Path(sys.executable).parent
TOPICS = Topics("edge/v1", "benchmark", "stand")
_END_S = 20.0


def arguments_of_a_station(about: str) -> argparse.ArgumentParser:
    """Begin a command line: the recipe to run, and how many times."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("recipe", type=Path, nargs="?", default=Path("demo/work/recipe"))
    parser.add_argument("--runs", type=int, default=5)
    return parser


def find_broker(recipe: Path | None = None) -> str | None:
    """Return Mosquitto's path; None, with a message, if it or the recipe is missing."""
    broker = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if broker is None or not (recipe is None or recipe.is_dir()):
        print(f"Mosquitto and a recipe ({recipe}) are needed: `make mosquitto demo`.", file=sys.stderr)
        return None
    return broker


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder on the disk that the current directory is on: the outbox is to be synced to a real one."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="benchmark-") as folder:
        yield Path(folder)


@contextmanager
def mosquitto(broker: str, folder: Path) -> Iterator[int]:
    """Run a broker on loopback; yields its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
    process = subprocess.Popen([broker, "-c", config], stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(_END_S)


@contextmanager
def running_agent(
    folder: Path, recipe: Path, port: int, *options: str, **changes: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Run an agent on a synthetic camera that delivers on trigger; its log is `agent.log` in the folder."""
    height, width, channels = load_recipe(recipe).frame_shape
    content = {
        "schema": 1,
        "site": TOPICS.site,
        "station": TOPICS.station,
        "recipe": str(recipe.resolve()),
        "state_dir": "state",
        "camera": {"uri": f"synthetic://plate?size={width}x{height}&channels={channels}&seed=5", "mode": "triggered"},
        "trigger": {"deadline_ms": 5000, "capture_within_ms": 5000, "dedupe_window_s": 1},
        "mqtt": {"broker": f"mqtt://127.0.0.1:{port}", "consumer": "plc"},
        **changes,
    }
    (folder / "station.yaml").write_text(yaml.safe_dump(content))
    with (folder / "agent.log").open("w") as log:
        command = [BIN / "edge-agent", "run", "--config", folder / "station.yaml", *options]
        process = subprocess.Popen(command, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_END_S)


def connected_plc(port: int, handlers: Mapping[str, Handler]) -> MqttClient:
    """Return the connection of the PLC whose acknowledgements count."""
    client = MqttClient(BrokerAddress("127.0.0.1", port), "plc", handlers)
    client.start()
    client.live.wait(_END_S)
    return client


def wait_until_ready(states: queue.Queue[Message]) -> None:
    """Take what came on the `state` topic until the station is ready."""
    while parse_object(states.get(timeout=_END_S).payload, "state")["state"] != "ready":
        pass
