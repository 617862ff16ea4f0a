"""Random walks: faults of every kind that overlap, and commands, while parts come; at the end all must be well again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from recipe_copies import rename

from chaos.line import Line
from chaos.rule import find_violations
from chaos.usage import children_of
from edge_agent.inspection import Trigger
from engines.errors import PublishError

STEPS = 30
RECIPES = ("tiny", "other")
_PATIENCE_S = 90.0
_LONGEST_STANDSTILL_S = 2.5


def two_recipes(recipe: Path, folder: Path) -> Path:
    """Copy a recipe twice, side by side and under two names; return the first."""
    for name in RECIPES:
        shutil.copytree(recipe, folder / "recipes" / name)
        rename(folder / "recipes" / name, name=name)
    return folder / "recipes" / RECIPES[0]


def walk_again_and_again(line: Line, numbers: range) -> Iterator[dict[str, Any]]:
    """Yield what one walk after the other did, and what broke the rule.

    Args:
        line: Ready; its recipe is one of `two_recipes`.
        numbers: Of the walks; each is drawn by its own number.
    """
    for number in numbers:
        yield {"number": number, **_Walk(line, random.Random(number)).run()}
        line.forget()


class _Walk:
    def __init__(self, line: Line, draw: random.Random) -> None:
        self._line, self._draw = line, draw
        self._sent: list[Trigger] = []
        self._has_broker = self._has_daemon = True
        self._done: list[str] = []

    def run(self) -> dict[str, Any]:
        line = self._line
        actions: list[Callable[[], None]] = [
            *[self.ask, self.send, self.storm] * 3,
            *[self.repeat, self.command, self.wait] * 2,
            *(self.reset, self.hold, self.delay, self.slice, self.let_through),
            *(self.consumer_goes, self.consumer_is_silent, self.broker, self.daemon, self.daemon_stops),
            *(self.camera_dies, self.camera_stands_still, self.daemon_stands_still, self.all_stand_still),
        ]
        for _ in range(STEPS):
            action = self._draw.choice(actions)
            self._done.append(action.__name__)
            action()
        return {"actions": self._done, "parts": len(line.plc.parts), **self._end()}

    def _end(self) -> dict[str, Any]:
        """Take every fault away; the line must inspect again, and every accepted part have its one verdict."""
        line = self._line
        line.proxy.let_through()
        if not self._has_broker:
            line.broker.start()
        line.plc.acknowledges = True
        began = time.monotonic()
        if not self._has_daemon:
            line.station.start()
        line.plc.wait_for(line.plc.client.live.is_set, "the consumer's connection", _PATIENCE_S)

        def is_inspected() -> bool:
            self._tell("resume")
            verdict = line.plc.ask().verdict
            return verdict is not None and verdict["score"] is not None

        line.plc.wait_for(is_inspected, "an inspected part", _PATIENCE_S)
        recovered_s = time.monotonic() - began
        line.settle(_PATIENCE_S)
        return {"recovered_s": recovered_s, **find_violations(line.evidence()).told(line.plc.parts)}

    def ask(self) -> None:
        self._sent.append(self._line.plc.ask().trigger)

    def send(self) -> None:
        self._sent.append(self._line.plc.send())

    def storm(self) -> None:
        for _ in range(self._draw.randint(2, 15)):
            self.send()

    def repeat(self) -> None:
        if self._sent:
            self._line.plc.repeat(self._draw.choice(self._sent))

    def wait(self) -> None:
        time.sleep(self._draw.uniform(0.0, 0.3))

    def command(self) -> None:
        name = self._draw.choice(["reload", "resume", "pause", "recalibrate", "select_recipe", "select_recipe"])
        more: dict[str, Any] = {}
        if name == "select_recipe":
            more["recipe"] = self._draw.choice(RECIPES)
        if name == "recalibrate":
            more["frames"] = 5
        self._done[-1] = name
        self._tell(name, **more)

    def _tell(self, name: str, **more: Any) -> None:
        # Without a connection it is not sent.
        with suppress(PublishError):
            self._line.plc.command(name, f"walk-{time.time_ns()}", **more)

    def reset(self) -> None:
        self._line.proxy.reset()

    def hold(self) -> None:
        ways = self._draw.choice([("to_agent",), ("to_broker",), ("to_agent", "to_broker")])
        self._line.proxy.hold(*ways)

    def delay(self) -> None:
        self._line.proxy.delay_s = self._draw.uniform(0.0, 1.0)

    def slice(self) -> None:
        self._line.proxy.slice_bytes = self._draw.choice([1, 7, 100])

    def let_through(self) -> None:
        self._line.proxy.let_through()

    def consumer_goes(self) -> None:
        self._line.plc.disconnect()
        self.wait()
        self._line.plc.connect()

    def consumer_is_silent(self) -> None:
        self._line.plc.acknowledges = not self._line.plc.acknowledges

    def broker(self) -> None:
        """Kill it, or start it again."""
        if self._has_broker:
            self._line.broker.kill()
        else:
            self._line.broker.start()
        self._has_broker = not self._has_broker

    def daemon(self) -> None:
        """Kill it, or start it again."""
        if self._has_daemon:
            self._line.note_journal()
            self._line.kill_daemon()
        else:
            self._line.station.start()
        self._has_daemon = not self._has_daemon

    def daemon_stops(self) -> None:
        """End it as systemd does."""
        if self._has_daemon:
            self._line.note_journal()
            self._line.stop_daemon()
            self._has_daemon = False

    def camera_dies(self) -> None:
        with suppress(ProcessLookupError):
            for pid in self._camera():
                os.kill(pid, signal.SIGKILL)

    def camera_stands_still(self) -> None:
        self._stand_still(*self._camera())

    def daemon_stands_still(self) -> None:
        if self._has_daemon:
            self._stand_still(self._line.pid)

    def all_stand_still(self) -> None:
        daemon = [self._line.pid] if self._has_daemon else []
        broker = [self._line.broker.pid] if self._has_broker else []
        self._stand_still(*self._camera(), *daemon, *broker)

    def _camera(self) -> list[int]:
        """Return the camera's process, if it is not between two lives."""
        with suppress(OSError):
            return children_of(self._line.pid) if self._has_daemon else []
        return []

    def _stand_still(self, *pids: int) -> None:
        """Stop processes for a while in which parts come, none of which is waited for."""
        with suppress(ProcessLookupError):
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
        try:
            if self._draw.random() < 0.5:
                self.send()
            time.sleep(self._draw.uniform(0.0, _LONGEST_STANDSTILL_S))
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
