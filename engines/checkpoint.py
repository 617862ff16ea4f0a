"""The checkpoint of a training: written whole or not at all, read only by the training that wrote it."""

from __future__ import annotations

import hashlib
import io
import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from engines.errors import UsageError
from engines.files import replace_file

PERIOD_S = 60.0
_DIGEST_BYTES = 32

State = dict[str, Any]
Fact = str | int | float | bool | None


class Checkpoint:
    """One file that holds the state of a training, and the facts that a training must share to take it up.

    Args:
        path: Where it is kept.
        facts: Options and images that decide what the network becomes, by the name that a person knows.
        period_s: Time between two of them.
        clock: Seconds, from any origin.
    """

    def __init__(
        self,
        path: Path,
        facts: Mapping[str, Fact],
        *,
        period_s: float = PERIOD_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._facts = path, dict(facts)
        self._period_s, self._clock = period_s, clock
        self._written_s = clock()

    @property
    def due(self) -> bool:
        """Whether it is time for the next one."""
        return self._clock() - self._written_s >= self._period_s

    def save(self, state: State) -> None:
        """Replace the checkpoint.

        Raises:
            OSError: The disk is full or refuses; the one before is still whole.
        """
        content = io.BytesIO()
        torch.save({"facts": self._facts, "state": state}, content)
        payload = content.getvalue()
        # torch does not check the sums in its own files.
        replace_file(self._path, hashlib.sha256(payload).digest() + payload)
        self._written_s = self._clock()

    def load(self) -> State | None:
        """Return the state of the interrupted training; None where there is none.

        Raises:
            UsageError: The file is damaged, or belongs to a training with other options or images.
        """
        if not self._path.is_file():
            return None
        found = self._read()
        if found["facts"] != self._facts:
            was, now = found["facts"], self._facts
            changed = [f"{name} was {_said(was, name)} and is {_said(now, name)}" for name in _differing(was, now)]
            raise UsageError(
                f"{self._path.parent} holds a training that was interrupted, but {'; '.join(changed)}.",
                fix=f"Give the same options and images to continue it, or begin anew: {self._how_to_remove()}",
            )
        state: State = found["state"]
        return state

    def _read(self) -> dict[str, Any]:
        content = self._path.read_bytes()
        payload = content[_DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() != content[:_DIGEST_BYTES]:
            raise UsageError(
                f"the checkpoint {self._path} is damaged: its checksum is wrong.",
                fix=f"Begin anew: {self._how_to_remove()}",
            )
        found: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        return found

    def _how_to_remove(self) -> str:
        return f"rm -r {shlex.quote(str(self._path.parent))}"


def _differing(was: Mapping[str, Fact], now: Mapping[str, Fact]) -> list[str]:
    return [name for name in {**was, **now} if was.get(name) != now.get(name)]


def _said(facts: Mapping[str, Fact], name: str) -> str:
    value = facts.get(name)
    return "not given" if value is None else str(value)
