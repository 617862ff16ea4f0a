"""What a person does with an outbox while no agent runs: rescue a damaged file, or give up what nobody will take."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from edge_agent.outbox_file import open_database, translate_errors
from engines.errors import NoInputError

_COLUMNS = "seq, result_id, boot_id, payload, mask_png, clock_boot, wall_ns, monotonic_ns"


def rescue(damaged: Path, path: Path) -> list[str]:
    """Take unacknowledged verdicts out of a damaged file into the outbox; the damaged one is not changed.

    Returns:
        The result ids that were taken over; those that are in the outbox already are not.

    Raises:
        NoInputError: There is no such file.
        OutboxError: The outbox cannot be written.
    """
    if not damaged.is_file():
        raise NoInputError(f"there is no file {damaged}.", fix="Its name was in the agent's log: outbox.db.damaged-...")
    rescued = []
    with closing(open_database(path)) as database, translate_errors(path):
        database.execute("BEGIN IMMEDIATE")
        for row in _readable(damaged):
            (newest,) = database.execute("SELECT coalesce(max(seq), 0) FROM verdicts").fetchone()
            (taken,) = database.execute("SELECT count(*) FROM verdicts WHERE seq = ?", (row[0],)).fetchone()
            # Behind a damaged file the agent began to count anew.
            seq = newest + 1 if taken else row[0]
            added = database.execute(
                f"INSERT OR IGNORE INTO verdicts ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608, a constant
                (seq, *row[1:]),
            )
            if added.rowcount:
                rescued.append(row[1])
        database.execute("COMMIT")
    return rescued


def give_up(path: Path) -> list[str]:
    """Take every waiting verdict out of the queue, and return their result ids.

    Raises:
        OutboxError: Nothing was changed.
    """
    with closing(open_database(path)) as database, translate_errors(path):
        database.execute("BEGIN IMMEDIATE")
        waiting = [row[0] for row in database.execute("SELECT result_id FROM verdicts WHERE acknowledged = 0")]
        database.execute("UPDATE verdicts SET acknowledged = 1 WHERE acknowledged = 0")
        database.execute("COMMIT")
    return waiting


def _readable(damaged: Path) -> Iterator[tuple[int, str, str, bytes, bytes | None, str, int, int]]:
    """Yield the rows that can be read, from both ends up to where the file is damaged."""
    seen: set[str] = set()
    with closing(sqlite3.connect(f"{damaged.resolve().as_uri()}?mode=ro", uri=True)) as database:
        for order in ("ASC", "DESC"):
            query = f"SELECT {_COLUMNS} FROM verdicts NOT INDEXED WHERE acknowledged = 0 ORDER BY seq {order}"  # noqa: S608
            with suppress(sqlite3.DatabaseError):
                for row in database.execute(query):
                    if row[1] not in seen:
                        seen.add(row[1])
                        yield row
