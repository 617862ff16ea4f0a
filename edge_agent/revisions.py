"""The revisions of a recipe's thresholds: written once, put in force by one atomic replace, every change logged.

thresholds/current      the name of the revision in force
thresholds/r0007/       a revision, never changed once it is there
thresholds/log.jsonl    who put which one in force, when and why; lines are only ever added
"""

from __future__ import annotations

import fcntl
import getpass
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType

import numpy as np
import yaml

from edge_agent.thresholds import CURRENT, REVISION, ThresholdRevision, load_thresholds, name_in_force
from engines.errors import ThresholdsError
from engines.files import replace_file, sha256_of, sync_directory
from engines.recipe import MODEL_FILES, THRESHOLDS_FOLDER, write_manifest
from engines.untrusted import parse_json

LOG = "log.jsonl"
# What a revision is called until it is saved.
UNNAMED = "r0000"


@dataclass(frozen=True)
class Change:
    """One line of the log: `before` was in force until then, None if none was."""

    at: str
    who: str
    action: str
    revision: str
    before: str | None
    note: str


def revision_names(recipe_folder: Path) -> list[str]:
    """Return the names of all revisions, oldest first."""
    folder = recipe_folder / THRESHOLDS_FOLDER
    names = (p.name for p in folder.glob("r*") if p.is_dir() and REVISION.fullmatch(p.name))
    return sorted(names, key=lambda name: int(name[1:]))


def save_thresholds(
    recipe_folder: Path,
    revision: ThresholdRevision,
    *,
    images_csv: str,
    versions: dict[str, str],
    also: Mapping[str, bytes] = MappingProxyType({}),
) -> ThresholdRevision:
    """Write a new revision, whole or not at all; it is not in force until `activate`.

    Args:
        recipe_folder: The recipe.
        revision: Its name does not count: it gets the next free one.
        images_csv: Which frames it rests on.
        versions: What made it.
        also: More files, by name.

    Returns:
        The revision under its name.

    Raises:
        OSError: It could not be written; nothing of it is left.
    """
    folder = recipe_folder / THRESHOLDS_FOLDER
    if not folder.is_dir():
        _make_readable(folder)
    with _alone(folder):
        # A name in the log is never used again, even where its folder is gone.
        taken = [*revision_names(recipe_folder), *(change.revision for change in read_log(recipe_folder))]
        name = f"r{max((int(one[1:]) for one in taken), default=0) + 1:04d}"
        named = replace(revision, calibration=revision.calibration.model_copy(update={"revision": name}))
        partial = folder / f".{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            _write(partial, named, {"images.csv": images_csv.encode(), **also}, versions)
            partial.rename(folder / name)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        sync_directory(folder)
    return named


def activate(recipe_folder: Path, name: str, *, note: str = "") -> ThresholdRevision:
    """Put a revision in force with one atomic replace, after reading it whole.

    Raises:
        ThresholdsError: There is no such revision, or it is damaged; the one in force stays.
        OSError: The log or the name could not be written; the one in force stays.
    """
    with _alone(recipe_folder / THRESHOLDS_FOLDER):
        return _put_in_force(recipe_folder, name, "activate", note)


def rollback(recipe_folder: Path, *, note: str = "") -> ThresholdRevision:
    """Put in force again what was before the present revision was activated.

    Raises:
        ThresholdsError: Nothing was, or that revision is damaged; the one in force stays.
        OSError: The log or the name could not be written; the one in force stays.
    """
    with _alone(recipe_folder / THRESHOLDS_FOLDER):
        current = name_in_force(recipe_folder)
        before = _before(_made(read_log(recipe_folder), current))
        if before is None:
            raise ThresholdsError(
                f"nothing was in force before {current}." if current else "no revision is in force.",
                fix="Choose one with `edge-calibrate history`, and put it in force with `edge-calibrate activate`.",
            )
        return _put_in_force(recipe_folder, before, "rollback", note)


def _made(log: list[Change], current: str | None) -> list[Change]:
    """Leave out the changes that a full disk or a power cut prevented after their line was written."""
    then_in_force = [*(change.before for change in log[1:]), current]
    return [change for change, then in zip(log, then_in_force, strict=True) if then in {change.revision, None}]


def _before(log: list[Change]) -> str | None:
    """Return what was in force before the present revision was activated; each rollback takes one activation back."""
    stack: list[str | None] = []
    for change in log:
        if change.action == "rollback" and stack:
            stack.pop()
        elif change.action == "activate":
            stack.append(change.before)
    return stack[-1] if stack else None


def read_log(recipe_folder: Path) -> list[Change]:
    """Return the changes, oldest first; a line that a power cut has cut short is left out.

    A line is written before its change is made, so the last one may tell of a change that a power cut prevented.
    """
    try:
        lines = (recipe_folder / THRESHOLDS_FOLDER / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [change for line in lines if (change := _read(line)) is not None]


def _read(line: str) -> Change | None:
    try:
        return Change(**parse_json(line))
    except (ValueError, TypeError):
        return None


def _put_in_force(recipe_folder: Path, name: str, action: str, note: str) -> ThresholdRevision:
    folder, names = recipe_folder / THRESHOLDS_FOLDER, revision_names(recipe_folder)
    if name not in names:
        raise ThresholdsError(
            f"{recipe_folder} has no threshold revision {name}.",
            fix=f"Choose one of: {', '.join(names)}." if names else "Fit one with `edge-calibrate fit`.",
        )
    revision = load_thresholds(recipe_folder, name=name)
    _check_model(recipe_folder, revision)
    try:
        before = name_in_force(recipe_folder)
    except ThresholdsError:
        # This is how it is mended.
        before = None
    if before != name:
        at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        # First: what is in force must never be missing in the log.
        _append(folder / LOG, Change(at, this_user(), action, name, before, printable(note)))
    replace_file(folder / CURRENT, f"{name}\n".encode())
    return revision


def _check_model(recipe_folder: Path, revision: ThresholdRevision) -> None:
    calibration = revision.calibration
    model = recipe_folder / MODEL_FILES[calibration.model]
    if calibration.model_sha256 != sha256_of(model):
        raise ThresholdsError(
            f"revision {revision.name} was fitted on another {model.name} than this recipe's.",
            fix="Fit again with `edge-calibrate fit`, or choose another revision with `edge-calibrate history`.",
        )


def this_user() -> str:
    """Return the name of who runs this, or the number where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def printable(text: str) -> str:
    """Return a text as it can be written anywhere: what no encoding knows becomes a question mark."""
    return text.encode("utf-8", errors="replace").decode()


def _append(path: Path, change: Change) -> None:
    # A line that a power cut has cut short must not swallow the next one.
    line = f"\n{json.dumps(asdict(change), ensure_ascii=False)}\n"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "wb") as file:
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.parent)


def _write(folder: Path, revision: ThresholdRevision, also: Mapping[str, bytes], versions: dict[str, str]) -> None:
    _make_readable(folder)
    for name, array in (("location.npy", revision.location), ("scale.npy", revision.scale)):
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        replace_file(folder / name, buffer.getvalue())
    text = yaml.safe_dump(revision.calibration.model_dump(by_alias=True), sort_keys=False)
    replace_file(folder / "calibration.yaml", text.encode())
    for name, content in also.items():
        replace_file(folder / name, content)
    write_manifest(folder, versions=versions)


def _make_readable(folder: Path) -> None:
    """Make a folder that the service, another user, can read whatever the umask."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one program at a time change what is in the folder; the others wait their milliseconds."""
    if not folder.is_dir():
        raise ThresholdsError(f"{folder.parent} has no threshold revisions.", fix="Fit one with `edge-calibrate fit`.")
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
