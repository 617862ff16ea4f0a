"""How far each part is in the agent's outbox, read beside the agent."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Literal

Step = Literal["journalled", "stored", "sent", "acknowledged"]
_STEPS = """
SELECT triggers.meas_id, CASE
    WHEN triggers.result_id IS NULL THEN 'journalled'
    WHEN verdicts.acknowledged OR verdicts.seq IS NULL THEN 'acknowledged'
    WHEN verdicts.sends THEN 'sent' ELSE 'stored' END
FROM triggers LEFT JOIN verdicts USING (result_id)
"""


def steps_of(outbox: Path) -> dict[int, Step]:
    """Return the step of every part by its measurement id; empty while there is no journal."""
    try:
        with closing(sqlite3.connect(f"file:{outbox}?mode=ro", uri=True, timeout=5)) as database:
            return {int(json.loads(meas_id)): step for meas_id, step in database.execute(_STEPS)}
    except sqlite3.OperationalError:
        return {}


def waiting_in(outbox: Path) -> int:
    """Return how many parts are open or have a verdict that is not acknowledged."""
    steps = Counter(steps_of(outbox).values())
    return steps.total() - steps["acknowledged"]
