"""How long the oldest verdict waits, read beside a working outbox."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from outbox_steps import WINDOW_S, send, store, trigger

from edge_agent.outbox import Outbox
from engines.errors import OutboxError


@pytest.fixture
def outbox(tmp_path, now):
    outbox = Outbox(tmp_path / "an outbox?#.db", dedupe_window_s=60, clock=now.clock)
    yield outbox
    outbox.close()


def test_the_oldest_that_is_not_acknowledged_counts(outbox, now):
    assert outbox.oldest_age_s() == 0.0
    send(outbox, "r1")
    now.pass_s(10)
    send(outbox, "r2")
    now.pass_s(2.5)
    assert outbox.oldest_age_s() == pytest.approx(12.5)
    outbox.acknowledge(["r1"])
    assert outbox.oldest_age_s() == pytest.approx(2.5)
    outbox.acknowledge(["r2"])
    assert outbox.oldest_age_s() == 0.0


def test_a_stepped_clock_changes_nothing_and_after_a_reboot_the_wall_clock_counts(tmp_path, outbox, now):
    send(outbox, "r1")
    now.wall_ns += 3600 * 10**9
    now.monotonic_ns += 10**9
    assert outbox.oldest_age_s() == pytest.approx(1.0)
    outbox.close()
    now.reboot("kernel-2", now.monotonic_ns)
    later = Outbox(tmp_path / "an outbox?#.db", dedupe_window_s=60, clock=now.clock)
    try:
        assert later.oldest_age_s() == pytest.approx(3600.0)
        now.wall_ns -= 7200 * 10**9
        assert later.oldest_age_s() == pytest.approx(now.monotonic_ns / 1e9), "no younger than this boot"
    finally:
        later.close()


def test_it_waits_for_no_commit_and_keeps_none_waiting(outbox):
    send(outbox, "r1")
    answers = []
    with outbox._transaction() as database:
        database.execute("UPDATE verdicts SET acknowledged = 1")
        asker = threading.Thread(target=lambda: answers.append(outbox.oldest_age_s()))
        asker.start()
        asker.join(10)
        assert len(answers) == 1
    send(outbox, "r2")


def test_no_descriptor_is_left_behind(outbox):
    send(outbox, "r1")
    outbox.oldest_age_s()
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(100):
        outbox.oldest_age_s()
    assert len([*Path("/proc/self/fd").iterdir()]) <= before


def test_a_file_that_is_gone_is_an_error_and_not_an_age(outbox, tmp_path):
    for path in tmp_path.iterdir():
        path.rename(path.with_name(f"{path.name}.aside"))
    with pytest.raises(OutboxError, match="Check that its directory exists"):
        outbox.oldest_age_s()


def test_what_was_stored_before_anybody_set_the_clock_has_no_age_at_the_next_boot(open_outbox, now):
    now.wall_ns, now.is_set = 60 * 10**9, False
    send(open_outbox(), "r1")
    now.wall_ns, now.is_set = 1_800_000_000 * 10**9, True
    now.reboot("kernel-2")
    later = open_outbox()
    send(later, "r2")
    assert later.remove_aged(30) == 0
    assert later.oldest_age_s() == pytest.approx(now.monotonic_ns / 1e9)
    now.pass_s(31 * 86_400)
    send(later, "r3")
    assert later.remove_aged(30) == 2, "it has waited through the whole of this boot"


def test_without_any_acknowledgement_the_file_does_not_grow_for_ever(open_outbox, path, now):
    outbox = open_outbox()
    for number in range(50):
        part = outbox.accept(trigger(str(number), at_ns=now.monotonic_ns))
        store(outbox, f"r{number}", part.trigger_id)
        now.pass_s(WINDOW_S)
        assert outbox.remove_aged(10 * WINDOW_S / 86_400) <= 1
    with closing(sqlite3.connect(path)) as database:
        for table in ("verdicts", "triggers"):
            (rows,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
            assert rows <= 11


def read_bytes():
    (line,) = (one for one in Path("/proc/self/io").read_text().splitlines() if one.startswith("rchar"))
    return int(line.split()[1])


def test_to_find_what_is_too_old_only_the_oldest_verdicts_are_read(open_outbox, path, now):
    outbox = open_outbox()
    store(outbox, "r1", mask_png=bytes(20_000))
    with outbox._transaction() as database:
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO verdicts (seq,"
            " result_id, boot_id, payload, mask_png, clock_boot, wall_ns, monotonic_ns) SELECT i, 'r' || i, boot_id,"
            " payload, mask_png, clock_boot, wall_ns, monotonic_ns FROM n, verdicts WHERE seq = 1"
        )
    outbox.close()
    outbox = open_outbox()
    before = read_bytes()
    assert outbox.remove_aged(30) == 0
    assert read_bytes() - before < path.stat().st_size / 3
