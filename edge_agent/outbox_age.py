"""How long verdicts have waited in the outbox, and the end of those that have waited too long."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from edge_agent.outbox_file import translate_errors

# Of a row, in ns; `Clock` says why. One of an earlier boot is at least as old as this boot, whatever the wall clock says.
AGE = "CASE clock_boot WHEN :boot THEN :monotonic - monotonic_ns ELSE max(:monotonic, :wall - wall_ns) END"
# Without the index SQLite goes through everything that was acknowledged within the dedupe window.
_OLDEST = (
    f"SELECT {AGE} FROM verdicts WHERE seq = "  # noqa: S608, constants
    "(SELECT min(seq) FROM verdicts INDEXED BY verdicts_waiting WHERE acknowledged = 0)"
)
# The wall time of a verdict that was stored while nobody had set the clock: it is younger than any other.
UNKNOWN_WALL_NS = 1 << 62
_TIMEOUT_S = 0.1
_PRUNE_ROWS = 64
_AGED_ROWS = 500


def oldest_age_s(path: Path, now: Mapping[str, int | str]) -> float:
    """Return the age of the oldest verdict that is not acknowledged, 0 if all are; holds up nobody who writes.

    Args:
        path: The outbox's file; readers of a file in WAL mode neither wait for writers nor keep them waiting.
        now: `boot`, `wall` and `monotonic`, as the rows have them.

    Raises:
        OutboxError: It cannot be read.
    """
    with (
        translate_errors(path),
        closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_TIMEOUT_S)) as database,
    ):
        oldest = database.execute(_OLDEST, now).fetchone()
    return 0.0 if oldest is None else max(0, oldest[0]) / 1e9


def prune(
    database: sqlite3.Connection, now: Mapping[str, int | str], window_ns: int, *, rows: int = _PRUNE_ROWS
) -> None:
    """Delete the oldest rows that nobody can ask for any more, a few at a time.

    The newest of each table stays: without it SQLite would hand out its number again, and a result that comes very late
    would answer another part.
    """
    values = {"window": window_ns, "rows": rows, **now}
    for table, key, done in (
        ("verdicts", "seq", "acknowledged = 1"),
        ("triggers", "trigger_id", "result_id IS NOT NULL"),
    ):
        database.execute(
            f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {done} "  # noqa: S608, constants
            f"ORDER BY {key} LIMIT :rows) AND {key} < (SELECT max({key}) FROM {table}) AND {AGE} >= :window",
            values,
        )


def remove_aged(database: sqlite3.Connection, now: Mapping[str, int | str], *, age_ns: int, window_ns: int) -> int:
    """Delete verdicts that are not acknowledged and older than `age_ns`, some at a time; return how many.

    What nobody can ask for any more goes with them: where no acknowledgement ever comes, nothing else deletes it.
    """
    # Only the oldest are looked at: behind payload and mask, the time of 100,000 rows takes seconds to read.
    count = database.execute(
        "DELETE FROM verdicts WHERE seq IN (SELECT seq FROM verdicts INDEXED BY verdicts_waiting WHERE acknowledged = 0"  # noqa: S608
        f" ORDER BY seq LIMIT :rows) AND {AGE} >= :age AND seq < (SELECT max(seq) FROM verdicts)",
        {"age": age_ns, "rows": _AGED_ROWS, **now},
    ).rowcount
    prune(database, now, window_ns, rows=_AGED_ROWS)
    return count
