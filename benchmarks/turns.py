"""A command and the bare inference in turns: one is stopped while the other runs, and both meet the same machine."""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from calibrate.recipe_engine import RecipeEngine
from engines.images import Frame

_POLL_S = 0.02
# Its turns need only be long enough for a mean.
_INFERENCE_SHARE = 1 / 3
_LAST = "saving"
# A finished progress bar in a file: its label, the bar, and how many of how many.
_BAR = re.compile(r"^(?P<label>[a-z ]+?) +\S+ +(?P<done>\d+)/(?P=done)\b", re.MULTILINE)


@dataclass
class Turns:
    """What came of the turns.

    Attributes:
        cost_frames: Time of each part of the command, named by the progress bar that ends it (`saving`: the rest), in
            inferences that would have been done in it.
        inference_ms: Of each turn, the mean time of an inference.
        peak_mb: The largest memory of the command.
        code: Its exit code.
        said: The end of what it wrote.
    """

    cost_frames: dict[str, float] = field(default_factory=dict)
    inference_ms: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    code: int = 0
    said: str = ""

    @property
    def median_inference_ms(self) -> float:
        """The median over the turns."""
        return statistics.median(self.inference_ms)


class Inference:
    """The model alone, on frames that are in memory."""

    def __init__(self, engine: RecipeEngine, frames: Sequence[Frame]) -> None:
        self._engine = engine
        self._frames = frames
        self._next = 0

    def run(self, seconds: float) -> float:
        """Infer for so long, and return how many frames a second were done."""
        began = time.perf_counter()
        count = 0
        while (passed := time.perf_counter() - began) < seconds:
            self._engine.maps(self._frames[self._next % len(self._frames)])
            self._next += 1
            count += 1
        return count / passed


class _Stopped:
    """A command that runs only in its turns."""

    def __init__(self, words: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT)
        self._bars = 0
        self.stop()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        if self.process.returncode is None:
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def run(self, seconds: float) -> list[tuple[str | None, float]]:
        """Let it run, and return its time in pieces: each ends a part of its work, by name, or is of one not ended."""
        pieces: list[tuple[str | None, float]] = []
        began = last = time.perf_counter()
        self.process.send_signal(signal.SIGCONT)
        while self.process.poll() is None and time.perf_counter() - began < seconds:
            time.sleep(_POLL_S)
            for label in self._new_bars():
                now = time.perf_counter()
                pieces.append((label, now - last))
                last = now
        if self.process.returncode is None:
            self.stop()
        return [*pieces, (None, time.perf_counter() - last)]

    def peak_mb(self) -> float:
        """Return its largest memory so far; 0 where it has ended."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else 0.0

    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _new_bars(self) -> list[str]:
        labels = [match["label"] for match in _BAR.finditer(self.said())]
        new, self._bars = labels[self._bars :], len(labels)
        return new


def take_turns(words: Sequence[str], inference: Inference, log: Path, *, turn_s: float) -> Turns:
    """Run a command to its end, in turns with the inference.

    Args:
        words: The command.
        inference: What it is compared with.
        log: Where its output goes.
        turn_s: Length of a turn of the command.
    """
    found = Turns()
    inference.run(_INFERENCE_SHARE * turn_s)
    command = _Stopped(words, log)
    open_cost = 0.0
    try:
        while command.process.returncode is None:
            pieces = command.run(turn_s)
            if command.process.returncode is None:
                found.peak_mb = max(found.peak_mb, command.peak_mb())
            rate = inference.run(_INFERENCE_SHARE * turn_s)
            found.inference_ms.append(1000 / rate)
            for label, seconds in pieces:
                open_cost += seconds * rate
                if label is not None:
                    found.cost_frames[label] = open_cost
                    open_cost = 0.0
        found.cost_frames[_LAST] = open_cost
    finally:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait()
    found.code, found.said = command.process.returncode, command.said()[-2000:]
    return found
