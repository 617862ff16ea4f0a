"""The durable queue between the decision and the PLC: the trigger journal and the verdicts, in one SQLite file.

What must survive a power cut (a trigger before its PUBACK, a verdict before it is sent) is committed with
`synchronous=FULL`. What may be done twice (sent marks, acknowledgements: the consumer knows a result again by its id)
is committed without waiting for the disk, which saves the flash two thirds of its wear.

Times. Within one start of the operating system everything is measured by CLOCK_MONOTONIC, so a stepped clock changes
nothing. Rows of an earlier start are aged by the wall clock; where that went back, they are as old as this start, so a
repeated trigger gets its old (historical) result rather than a second, different one. A verdict that was stored while
nobody had set the wall clock is as old as this start, too: it must not be removed for its age.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_agent.inspection import Trigger
from edge_agent.outbox_age import AGE, UNKNOWN_WALL_NS, oldest_age_s, prune, remove_aged
from edge_agent.outbox_file import SCHEMA_VERSION, is_damage, open_again, open_database, translate_errors
from edge_agent.outbox_records import Accepted, Clock, Conflict, OpenTrigger, OutboxEntry, Repeat
from engines.errors import OutboxError

LONGEST_RESEND_S = 60.0
# At 4 kB each 400 MB, and more than a day of a part a second.
MOST_WAITING = 100_000
_COMMITS_A_CHECKPOINT = 200


class Outbox:
    """Keeps every accepted trigger and its one verdict until the PLC has acknowledged it; usable from all threads.

    Args:
        path: The database; its directory must exist.
        dedupe_window_s: How long a measurement id stays one part; acknowledged verdicts are kept that long.
        most_waiting: With so many verdicts unacknowledged no new part is accepted; what was accepted is always stored.
        clock: Injected for tests.

    Raises:
        OutboxError: The file cannot be opened, is damaged (it was moved aside), or was made by a newer version.
    """

    def __init__(
        self, path: Path, *, dedupe_window_s: float, most_waiting: int = MOST_WAITING, clock: Clock | None = None
    ) -> None:
        self._path, self._most_waiting = path, most_waiting
        self._window_ns = round(dedupe_window_s * 1e9)
        self._clock = clock or Clock()
        self._lock = threading.Lock()
        self._connection = open_database(path)
        self._checkpointer = open_again(path)
        self._commits = 0
        self._durable = True
        self._depth = self._depth_change = 0
        self._damage: OutboxError | None = None
        with self._transaction() as database:
            self._last_seq = int(database.execute("SELECT coalesce(max(seq), 0) FROM verdicts").fetchone()[0])
            newest = "SELECT coalesce(max(trigger_id), 0) FROM triggers"
            self._last_trigger_id = int(database.execute(newest).fetchone()[0])
            self._depth = int(database.execute("SELECT count(*) FROM verdicts WHERE acknowledged = 0").fetchone()[0])

    @property
    def damage(self) -> OutboxError | None:
        """What showed that the file is damaged: only opening it anew helps. None as long as nothing did."""
        return self._damage

    @property
    def last_seq(self) -> int:
        """The last sequence number that was handed out, by this or an earlier boot."""
        return self._last_seq

    def next_seq(self) -> int:
        """Return the next sequence number.

        One that was handed out but never stored is handed out again after a restart, under another boot_id.
        """
        with self._lock:
            self._last_seq += 1
            return self._last_seq

    def accept(
        self, trigger: Trigger, *, begin: Callable[[Accepted | Conflict], None] | None = None
    ) -> Accepted | Repeat | Conflict:
        """Journal a trigger by the rule "one part, one verdict"; durable when this returns.

        A repeated trigger whose verdict is stored makes that verdict due again: wake the publisher.

        Args:
            trigger: What the PLC sent.
            begin: Called with the answer to a new part before it is written to the disk, so that the inspection overlaps
                the writing. It must not use the outbox. If the writing fails, the part's verdict cannot be stored.

        Raises:
            OutboxError: Nothing was journalled.
        """
        ids = (_id_as_text(trigger.part_id), _id_as_text(trigger.job_id))
        with self._transaction(durable=True) as database:
            rows = self._known(database, trigger)
            for trigger_id, part_id, job_id, result_id in rows:
                if (part_id, job_id) == ids:
                    self._make_due(database, result_id)
                    return Repeat(trigger_id, result_id)
            self._check_room()
            # Counted here and not by SQLite, which would hand out the number of a failed commit again.
            self._last_trigger_id += 1
            answer = Conflict(self._last_trigger_id) if rows else Accepted(self._last_trigger_id)
            if begin is not None:
                begin(answer)
            self._journal(database, answer.trigger_id, trigger)
        return answer

    def store(
        self,
        *,
        seq: int,
        result_id: str,
        boot_id: str,
        payload: bytes,
        mask_png: bytes | None = None,
        trigger_id: int | None = None,
    ) -> bool:
        """Store a verdict and close its trigger in one transaction; durable when this returns.

        Args:
            seq: From `next_seq`.
            result_id: The verdict's id.
            boot_id: The agent's start that decided it.
            payload: The message, at most 4 kB.
            mask_png: What goes to the mask topic before it.
            trigger_id: The part it answers; None in free run.

        Returns:
            False if the part already had its verdict: then nothing was changed, and this one is only a late result.

        Raises:
            OutboxError: Nothing was stored.
        """
        now = self._now()
        wall_ns = now["wall"] if self._clock.is_set() else UNKNOWN_WALL_NS
        with self._transaction(durable=True) as database:
            if trigger_id is None:
                self._check_room()
            else:
                closed = database.execute(
                    "UPDATE triggers SET result_id = ? WHERE trigger_id = ? AND result_id IS NULL",
                    (result_id, trigger_id),
                )
                if closed.rowcount == 0:
                    return False
            database.execute(
                "INSERT INTO verdicts (seq, result_id, boot_id, payload, mask_png, clock_boot, wall_ns, monotonic_ns)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (seq, result_id, boot_id, payload, mask_png, now["boot"], wall_ns, now["monotonic"]),
            )
            self._depth_change += 1
        return True

    def result_id_of(self, trigger_id: int) -> str | None:
        """Return the verdict that a part has; None if it has none yet."""
        with self._transaction() as database:
            row = database.execute("SELECT result_id FROM triggers WHERE trigger_id = ?", (trigger_id,)).fetchone()
        return row[0] if row else None

    def open_triggers(self) -> list[OpenTrigger]:
        """Return the journalled triggers without a verdict, oldest first: after a restart each becomes INVALID."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT trigger_id, meas_id, part_id, job_id, recipe, expires_ms, monotonic_ns FROM triggers"
                " WHERE result_id IS NULL ORDER BY trigger_id"
            ).fetchall()
        return [OpenTrigger(row[0], Trigger(*map(_id_from_text, row[1:4]), *row[4:])) for row in rows]

    def due_live(self, *, after_seq: int, limit: int) -> list[OutboxEntry]:
        """Return verdicts beyond `after_seq` that were never sent, oldest first."""
        return self._entries("next_due_ns = 0 AND seq > :after ORDER BY seq LIMIT :limit", after=after_seq, limit=limit)

    def due_again(self, *, limit: int, up_to_seq: int) -> list[OutboxEntry]:
        """Return unsent verdicts up to `up_to_seq`, and those whose acknowledgement is overdue, oldest first."""
        unsent = self._entries(
            "next_due_ns = 0 AND seq <= :last ORDER BY seq LIMIT :limit", last=up_to_seq, limit=limit
        )
        if len(unsent) == limit:
            return unsent
        now = self._clock.monotonic_ns()
        # A time beyond the longest resend was written before the last reboot: the monotonic clock began again.
        overdue = self._entries(
            "next_due_ns != 0 AND (next_due_ns <= :now OR next_due_ns > :beyond) ORDER BY next_due_ns LIMIT :limit",
            now=now,
            beyond=now + round(LONGEST_RESEND_S * 1e9),
            limit=limit - len(unsent),
        )
        return unsent + overdue

    def mark_sent(self, seqs: Sequence[int], *, ack_timeout_s: float) -> None:
        """Make verdicts due again after the timeout, doubled for every earlier send up to 60 s."""
        now = self._clock.monotonic_ns()
        first, longest = round(ack_timeout_s * 1e9), round(LONGEST_RESEND_S * 1e9)
        with self._transaction() as database:
            database.executemany(
                "UPDATE verdicts SET sends = sends + 1, next_due_ns = ? + min(?, ? << min(sends, 20)) WHERE seq = ?",
                [(now, longest, first, seq) for seq in seqs],
            )

    def acknowledge(self, result_ids: Sequence[str]) -> int:
        """Take verdicts out of the queue, and delete a few whose dedupe window has passed.

        Only what was sent can be acknowledged: when a part is asked for again, a late acknowledgement of the first
        answer must not swallow the second.

        Returns:
            How many were waiting; unknown and repeated ids do not count.
        """
        with self._transaction() as database:
            count = database.executemany(
                "UPDATE verdicts SET acknowledged = 1 WHERE result_id = ? AND acknowledged = 0 AND sends > 0",
                [(result_id,) for result_id in result_ids],
            ).rowcount
            prune(database, self._now(), self._window_ns)
            self._depth_change -= max(count, 0)
        return max(count, 0)

    def remove_aged(self, days: float) -> int:
        """Delete some of the verdicts that nobody has acknowledged for so many days, and of what is done; return how many.

        Raises:
            OutboxError: Nothing was deleted.
        """
        with self._transaction() as database:
            count = remove_aged(database, self._now(), age_ns=round(days * 86_400e9), window_ns=self._window_ns)
            self._depth_change -= count
        return count

    @property
    def is_filling(self) -> bool:
        """Whether a tenth of what can wait waits: somebody should look at the consumer."""
        return self._depth * 10 >= self._most_waiting

    def depth(self) -> int:
        """Return how many verdicts are not acknowledged."""
        return self._depth

    def oldest_age_s(self) -> float:
        """Return how long the oldest verdict waits to be acknowledged, 0 if none does; waits for no other thread.

        Raises:
            OutboxError: The file cannot be read.
        """
        return oldest_age_s(self._path, self._now())

    def probe(self) -> None:
        """Do what `accept` does, take it back, and write something that changes nothing to the disk.

        Raises:
            OutboxError: The outbox cannot be written, is full, or is known to be damaged.
        """
        if self._damage is not None:
            raise self._damage
        trigger = Trigger("probe", None, None, None, None, 0)
        with self._transaction(durable=True) as database:
            self._check_room()
            database.execute("SAVEPOINT probe")
            self._known(database, trigger)
            self._journal(database, self._last_trigger_id + 1, trigger)
            database.execute("ROLLBACK TO probe")
            database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def checkpoint_if_due(self) -> None:
        """Write the log back into the database once it has grown; others may read and commit meanwhile.

        A checkpoint syncs twice. Left to SQLite it would happen inside a commit, and every hundredth verdict would be
        milliseconds late.

        Raises:
            OutboxError: The file cannot be written.
        """
        if self._commits < _COMMITS_A_CHECKPOINT:
            return
        self._commits = 0
        with self._translated():
            self._checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Close the file; what was committed stays."""
        with self._lock:
            self._checkpointer.close()
            self._connection.close()

    def _check_room(self) -> None:
        if self._depth >= self._most_waiting:
            raise OutboxError(
                f"outbox {self._path} is full: {self._depth} verdicts are not acknowledged.",
                fix="See that the consumer acknowledges them; `edge-agent outbox` shows them, and can give them up.",
            )

    def _known(self, database: sqlite3.Connection, trigger: Trigger) -> list[tuple[int, str, str, str | None]]:
        """Return the parts of a measurement id within the window, the newest first."""
        return database.execute(
            f"SELECT trigger_id, part_id, job_id, result_id FROM triggers "  # noqa: S608, a constant
            f"WHERE meas_id = :meas_id AND {AGE} < :window ORDER BY trigger_id DESC",
            {"meas_id": _id_as_text(trigger.meas_id), "window": self._window_ns, **self._now()},
        ).fetchall()

    def _make_due(self, database: sqlite3.Connection, result_id: str | None) -> None:
        """Send a verdict once more, even if it was acknowledged; live or backlog is decided by its seq."""
        (again,) = database.execute(
            "SELECT count(*) FROM verdicts WHERE result_id = ? AND acknowledged = 1", (result_id,)
        ).fetchone()
        database.execute(
            "UPDATE verdicts SET next_due_ns = 0, sends = 0, acknowledged = 0 WHERE result_id = ?", (result_id,)
        )
        self._depth_change += again

    def _journal(self, database: sqlite3.Connection, trigger_id: int, trigger: Trigger) -> None:
        now = self._now()
        database.execute(
            "INSERT INTO triggers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (
                trigger_id,
                _id_as_text(trigger.meas_id),
                _id_as_text(trigger.part_id),
                _id_as_text(trigger.job_id),
                trigger.recipe,
                trigger.expires_ms,
                now["boot"],
                now["wall"],
                trigger.received_ns,
            ),
        )

    def _entries(self, condition: str, **values: int) -> list[OutboxEntry]:
        with self._transaction() as database:
            rows = database.execute(
                f"SELECT seq, result_id, payload, mask_png, sends, {AGE} / 1e9 FROM verdicts "  # noqa: S608, constants
                f"WHERE acknowledged = 0 AND {condition}",
                {**self._now(), **values},
            ).fetchall()
        return [OutboxEntry(*row) for row in rows]

    def _now(self) -> dict[str, int | str]:
        clock = self._clock
        return {"boot": clock.boot_id, "wall": clock.wall_ns(), "monotonic": clock.monotonic_ns()}

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with translate_errors(self._path):
                yield
        except OutboxError as error:
            if is_damage(error):
                self._damage = OutboxError(
                    f"{error.problem} The file is damaged.",
                    fix="Check the disk. The next start keeps that file aside, the one after it inspects again.",
                )
            raise

    @contextmanager
    def _transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translated():
            if durable != self._durable:
                self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            self._depth_change = 0
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
                self._commits += 1
                self._depth += self._depth_change
            except BaseException:
                # A full disk makes SQLite roll back by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _id_as_text(value: str | int | None) -> str | None:
    """Return an id as JSON, so that 41 and "41" stay apart in a column of text."""
    return None if value is None else json.dumps(value)


def _id_from_text(text: str | None) -> Any:
    """Return the id that was journalled: text, whole number or None."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return text
    # Before ids kept their type they were journalled as they are: such a row must not stop a start.
    return value if type(value) in (str, int) else text
