"""The outbox's SQLite file: its schema, opening, damage, and the translation of SQLite's errors."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from engines.errors import OutboxError
from engines.files import sync_directory

SCHEMA_VERSION = 1
_BUSY_TIMEOUT_MS = 2000
# The publisher writes the log back while it has nothing to send; only if that never happens does a commit do it.
_CHECKPOINT_PAGES = 8000

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE triggers (
    trigger_id INTEGER PRIMARY KEY, meas_id TEXT NOT NULL, part_id TEXT, job_id TEXT, recipe TEXT, expires_ms INTEGER,
    clock_boot TEXT NOT NULL, wall_ns INTEGER NOT NULL, monotonic_ns INTEGER NOT NULL, result_id TEXT);
CREATE INDEX triggers_by_meas_id ON triggers (meas_id);
CREATE INDEX triggers_open ON triggers (trigger_id) WHERE result_id IS NULL;
CREATE TABLE verdicts (
    seq INTEGER PRIMARY KEY, result_id TEXT NOT NULL UNIQUE, boot_id TEXT NOT NULL, payload BLOB NOT NULL,
    mask_png BLOB, clock_boot TEXT NOT NULL, wall_ns INTEGER NOT NULL, monotonic_ns INTEGER NOT NULL,
    sends INTEGER NOT NULL DEFAULT 0, next_due_ns INTEGER NOT NULL DEFAULT 0, acknowledged INTEGER NOT NULL DEFAULT 0);
CREATE INDEX verdicts_waiting ON verdicts (next_due_ns, seq) WHERE acknowledged = 0;
CREATE INDEX verdicts_done ON verdicts (seq) WHERE acknowledged = 1;
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create the file, checked, in WAL mode, usable from any thread under the caller's lock.

    Raises:
        OutboxError: It cannot be opened, a newer version made it, or it is damaged; a damaged file was moved aside
            under a name that the message tells, so that the next start begins with an empty one.
    """
    connection = open_again(path)
    try:
        with translate_errors(path):
            _prepare(connection, path)
    except OutboxError as error:
        connection.close()
        if is_damage(error):
            raise _set_aside(path, error) from error
        raise
    return connection


def open_again(path: Path) -> sqlite3.Connection:
    """Return one more connection to a file, usable from any thread under the caller's lock.

    Raises:
        OutboxError: It cannot be opened.
    """
    with translate_errors(path):
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_MS / 1000)


@contextlib.contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into `OutboxError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise OutboxError(
            f"outbox {path}: {error}.",
            fix="Check that its directory exists, is writable by this user, and that the disk is neither full nor failing.",
        ) from error


def is_damage(error: OutboxError) -> bool:
    """Return whether the file cannot be used any more, which neither time nor room on the disk mends."""
    text = str(error.__cause__)
    return isinstance(error.__cause__, sqlite3.DatabaseError) and ("malformed" in text or "not a database" in text)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise OutboxError(
            f"outbox {path} has schema {version} but this version knows {SCHEMA_VERSION}.",
            fix="Run the newer edge-agent that wrote it, or point the station file at another outbox path.",
        )
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(f"malformed: {verdict}")
    if version == 0:
        connection.executescript(_SCHEMA)
        sync_directory(path.parent)


def _set_aside(path: Path, error: OutboxError) -> OutboxError:
    """Rename the file and its companions; return the error that names the new place."""
    aside = path.with_name(f"{path.name}.damaged-{datetime.now(timezone.utc):%Y%m%dT%H%M%S%f}")
    for suffix in ("", "-wal", "-shm"):
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.rename(aside.with_name(aside.name + suffix))
    sync_directory(path.parent)
    return OutboxError(
        f"{error.problem} The damaged file was kept as {aside}: it may hold verdicts that were never delivered, and its "
        "sequence numbers begin again.",
        fix="Check the disk and save that file; the next start begins with an empty outbox.",
    )
