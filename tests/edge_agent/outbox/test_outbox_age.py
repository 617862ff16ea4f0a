"""How long the oldest verdict waits, read beside a working outbox."""

import threading
from pathlib import Path

import pytest
from outbox_steps import send

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
