"""A whole line: daemon, proxy, Mosquitto and reference consumer, with the faults that a test may want."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from mosquitto import Mosquitto
from running_station import RunningStation

from chaos.journal import steps_of, waiting_in
from chaos.plc import NAME, ReferencePlc
from chaos.proxy import Proxy
from chaos.rule import Evidence, assert_pass_rule
from chaos.usage import Usage, children_of, usage_of

DEADLINE_S = 30.0


class Line:
    """Made in `folder`, which holds the state directory, logs and the broker's files; ended by `close`.

    Args:
        folder: Empty.
        recipe: For colour frames.
        uri: The camera.
        timeout_ms: The consumer's own timer, and what triggers carry in `expires_ms`.
        persistent: Whether the broker keeps its state over a restart.
        changes: Of the station file.
    """

    def __init__(
        self, folder: Path, recipe: Path, uri: str, *, timeout_ms: int = 1000, persistent: bool = False, **changes
    ) -> None:
        with ExitStack() as opened:
            self.broker = Mosquitto(folder, persistent=persistent)
            opened.callback(self.broker.kill)
            self.broker.start()
            self.proxy = Proxy(self.broker.port)
            opened.callback(self.proxy.close)
            settings = {"mqtt": {"consumer": NAME, "ack_timeout_s": 0.3}, **changes}
            self.station = RunningStation(folder, recipe, self.proxy.port, uri, **settings)
            opened.callback(self.station.kill)
            self.plc = ReferencePlc(self.broker.port, self.station.topics, timeout_ms=timeout_ms)
            opened.callback(self.plc.disconnect)
            self._opened = opened.pop_all()
        self.is_clock_true = True
        self._converged_s: list[tuple[str, float]] = []
        self._usage: list[Usage] = []
        self._journalled: set[int] = set()
        self._judged_up_to = 0

    def start(self) -> Line:
        """Start daemon and consumer, and wait until the station is ready."""
        self.station.start()
        self.plc.connect()
        self.wait_for_state("ready")
        self._usage.append(usage_of(self.pid))
        return self

    def close(self) -> None:
        self._opened.close()

    @property
    def pid(self) -> int:
        return self.station.process.pid

    @property
    def outbox(self) -> Path:
        return self.station.folder / "state" / "outbox.db"

    @property
    def accepted(self) -> frozenset[int]:
        """Measurement ids that the agent acknowledged to the broker, or has journalled."""
        self.note_journal()
        return frozenset(one for one in {*self.proxy.accepted, *self._journalled} if one > self._judged_up_to)

    def note_journal(self) -> None:
        """Remember what the journal holds, before it may go."""
        self._journalled |= steps_of(self.outbox).keys()

    def camera_pid(self) -> int:
        (pid,) = children_of(self.pid)
        return pid

    def kill_daemon(self) -> None:
        """End it by SIGKILL; what it used is no measure for the next one."""
        self.station.kill()
        self._usage.clear()

    def stop_daemon(self) -> None:
        """End it as systemd does."""
        self.station.stop()
        self._usage.clear()

    def restart_daemon(self) -> None:
        """Start it again and wait until it is ready."""
        since = time.monotonic()
        self.station.start()
        self.wait_for_state("ready", since=since)
        self._usage.append(usage_of(self.pid))

    def restart_broker(self) -> None:
        self.broker.kill()
        self.broker.start()

    def wait_for_state(self, state: str, reason: str | None = None, *, since: float = 0.0) -> None:
        self.plc.wait_for(lambda: self.plc.is_state(state, reason, since=since), f"state {state}")

    def converges(self, state: str, reason: str | None = None, *, after: str) -> None:
        """Wait for a state that must be there within 5 s from now; the rule judges how long it took."""
        took_s = self.plc.wait_for(lambda: self.plc.is_state(state, reason), f"state {state}")
        self._converged_s.append((after, took_s))

    def recovers(self, *, after: str) -> None:
        """Wait until the station says anew that it is ready, within 5 s from now, and then for a part's verdict."""
        began = time.monotonic()
        self.wait_for_state("ready", since=began)
        self._converged_s.append((after, time.monotonic() - began))
        self.next_verdict()

    def next_verdict(self) -> dict:
        """Return a new part's verdict; where the machine stands still for so long that it is rejected, the one after it."""
        found: dict | None = None

        def ask() -> bool:
            nonlocal found
            found = self.plc.ask().verdict
            return found is not None

        self.plc.wait_for(ask, "a verdict")
        return found

    def wait_for_step(self, meas_id: int, *steps: str) -> None:
        """Wait until the journal has a part at one of these steps."""
        self.plc.wait_for(lambda: steps_of(self.outbox).get(meas_id) in steps, f"step {steps}")

    def settle(self, timeout_s: float = 60.0) -> None:
        """Wait until every accepted part has its verdict at the consumer and the outbox is empty, or time is up."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and (self._is_missing_any() or waiting_in(self.outbox)):
            time.sleep(0.02)

    def evidence(self) -> Evidence:
        usage = [*self._usage, usage_of(self.pid)] if self.station.process.poll() is None else []
        return Evidence(self.plc.parts, self.accepted, self._converged_s, usage, self.is_clock_true)

    def check(self, timeout_s: float = 60.0) -> None:
        """Let everything arrive that is on its way; then the pass rule must hold and nothing may wait."""
        self.settle(timeout_s)
        assert_pass_rule(self.evidence())
        assert waiting_in(self.outbox) == 0, steps_of(self.outbox)

    def forget(self) -> None:
        """Begin anew with what is judged, after a check."""
        self._judged_up_to = max(self.plc.parts, default=self._judged_up_to)
        self.plc.forget()
        self.proxy.accepted.clear()
        self._journalled.clear()
        self._converged_s.clear()

    def until(self, condition: Callable[[], object], what: str) -> float:
        return self.plc.wait_for(condition, what)

    def _is_missing_any(self) -> bool:
        parts = self.plc.parts
        return any(meas_id not in parts or not parts[meas_id].verdicts for meas_id in self.accepted)
