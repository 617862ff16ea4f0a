"""How long verdicts have waited in the outbox, read beside it: whoever asks must not hold up the inspection."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from edge_agent.outbox_file import translate_errors

# Of a row, in ns; `Clock` says why.
AGE = "CASE clock_boot WHEN :boot THEN :monotonic - monotonic_ns ELSE max(0, :wall - wall_ns) END"
# Without the index SQLite goes through everything that was acknowledged within the dedupe window.
_OLDEST = (
    f"SELECT {AGE} FROM verdicts WHERE seq = "  # noqa: S608, constants
    "(SELECT min(seq) FROM verdicts INDEXED BY verdicts_waiting WHERE acknowledged = 0)"
)
_TIMEOUT_S = 0.1


def oldest_age_s(path: Path, now: Mapping[str, int | str]) -> float:
    """Return the age of the oldest verdict that is not acknowledged, 0 if all are.

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
