"""The hidden folder beside a recipe in which it is made: the recipe appears whole, or the checkpoint stays."""

from __future__ import annotations

import fcntl
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engines.errors import UsageError
from engines.files import sync_directory


@dataclass(frozen=True)
class Workshop:
    """Where things lie while a recipe is made.

    Attributes:
        recipe: Folder that will be the recipe; empty at first.
        cache: Folder for what is needed only now; empty at first.
        checkpoint: File that an interrupted training leaves.
    """

    recipe: Path
    cache: Path
    checkpoint: Path


@contextmanager
def open_workshop(target: Path) -> Iterator[Workshop]:
    """Give a workshop for the recipe `target`; at the end of the block the recipe appears and the workshop is gone.

    If the block fails, the checkpoint stays for the next try, if there is one; nothing else does. What a killed
    program left is removed at the next try.

    Raises:
        UsageError: `target` exists, or another program is making it.
    """
    target = target.resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(
            f"{target} exists already and is not empty.",
            fix="Give --recipe a new folder; recipes are never overwritten, stations may be running them.",
        )
    folder = target.parent / f".{target.name}.partial"
    workshop = Workshop(folder / "recipe", folder / "cache", folder / "checkpoint")
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder, target):
        try:
            for half_written in folder.glob(f".{workshop.checkpoint.name}.*"):
                half_written.unlink()
            for place in (workshop.recipe, workshop.cache):
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
            yield workshop
            workshop.recipe.replace(target)
        except BaseException as problem:
            for place in (workshop.recipe, workshop.cache):
                shutil.rmtree(place, ignore_errors=True)
            if not workshop.checkpoint.exists():
                shutil.rmtree(folder, ignore_errors=True)
            elif not isinstance(problem, UsageError):
                print(f"What was trained is kept in {folder}: the same command continues there.", file=sys.stderr)
            raise
        shutil.rmtree(folder, ignore_errors=True)
        sync_directory(target.parent)


@contextmanager
def _alone_in(folder: Path, target: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        try:
            # The kernel gives it back when the program ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise UsageError(
                f"another program is making {target} at this moment.",
                fix="Wait for it or stop it, or give --recipe another folder.",
            ) from problem
        yield
