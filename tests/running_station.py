"""A whole agent as a process, and a PLC that talks to it through a real Mosquitto."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from edge_agent.ids import uuid7
from edge_agent.messages import encode_ack, encode_command
from edge_agent.mqtt import BrokerAddress, MqttClient
from edge_agent.topics import Topics

DEADLINE_S = 20.0
COMMAND = Path(sys.executable).with_name("edge-agent")


class RunningStation:
    """`edge-agent run` with a station file of its own; ended by its own handle.

    `prefix` is a program that becomes the agent (it must `exec`), `environment` what the agent sees beside the test's own.
    """

    def __init__(self, folder: Path, recipe: Path, port: int, uri: str, **changes) -> None:
        self.prefix: list[str] = []
        self.environment: dict[str, str] = {}
        self.folder = folder
        self.topics = Topics("edge/v1", "test", "cell")
        content = {
            "schema": 1,
            "site": "test",
            "station": "cell",
            "recipe": str(recipe),
            "state_dir": str(folder / "state"),
            "camera": {"uri": uri, "mode": "triggered"},
            "engine": {"threads": 1},
            "trigger": {"deadline_ms": 3000, "capture_within_ms": 3000, "dedupe_window_s": 60},
            "mqtt": {"broker": f"mqtt://127.0.0.1:{port}", "consumer": "plc", "ack_timeout_s": 0.5},
        }
        for key, value in changes.items():
            content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
        self.config = folder / "station.yaml"
        self.config.write_text(yaml.safe_dump(content))
        self.log = folder / "agent.log"
        self.command: list[str | Path] = [COMMAND]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> RunningStation:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, *self.command, "run", "--config", self.config],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment},
            )
        return self

    def stop(self) -> int:
        """End it as systemd does; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(DEADLINE_S)


class TestPlc:
    """Triggers, collects verdicts and states, and acknowledges when it is told to."""

    __test__ = False

    def __init__(self, port: int, topics: Topics, *, acknowledges: bool = True) -> None:
        self.topics = topics
        self.acknowledges = acknowledges
        self.verdicts: queue.Queue[dict] = queue.Queue()
        self.states: list[dict] = []
        self.replies: queue.Queue[dict] = queue.Queue()
        self.client = MqttClient(
            BrokerAddress("127.0.0.1", port),
            f"plc-{uuid7()}",
            {topics.verdict: self._verdict, topics.state: self._state, topics.reply: self._reply},
        )
        self.client.start()

    def trigger(self, meas_id: str, **ids) -> None:
        self.client.live.wait(DEADLINE_S)
        self.client.publish(self.topics.trigger, json.dumps({"meas_id": meas_id, **ids}).encode())

    def verdict(self, timeout_s: float = DEADLINE_S) -> dict:
        return self.verdicts.get(timeout=timeout_s)

    def ask(self, meas_id: str, **ids) -> dict:
        self.trigger(meas_id, **ids)
        while (verdict := self.verdict())["meas_id"] != meas_id:
            pass
        return verdict

    def wait_for_state(self, state: str, reason: str | None = None) -> dict:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            last = self.states[-1] if self.states else {"state": None, "reasons": []}
            if last["state"] == state and (reason is None or reason in last["reasons"]):
                return last
            time.sleep(0.01)
        raise AssertionError(f"state {state} did not come: {self.states[-3:]}")

    def command(self, name: str, correlation_id: str) -> dict:
        """Send a command and return its reply."""
        self.client.publish(self.topics.command, encode_command(name, correlation_id))
        while (reply := self.replies.get(timeout=DEADLINE_S))["correlation_id"] != correlation_id:
            pass
        return reply

    def acknowledge(self, *verdicts: dict) -> None:
        self.client.publish(self.topics.ack, encode_ack("plc", [verdict["result_id"] for verdict in verdicts]))

    def stop(self) -> None:
        self.client.stop()

    def _verdict(self, message) -> None:
        verdict = json.loads(message.payload)
        if self.acknowledges:
            self.acknowledge(verdict)
        self.verdicts.put(verdict)

    def _reply(self, message) -> None:
        self.replies.put(json.loads(message.payload))

    def _state(self, message) -> None:
        self.states.append(json.loads(message.payload))
