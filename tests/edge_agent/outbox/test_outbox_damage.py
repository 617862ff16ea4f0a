"""A block of the outbox's file that goes bad while the agent runs."""

import os
import sqlite3
from contextlib import closing

import pytest
from outbox_steps import send, trigger
from running_station import DEADLINE_S

from engines.errors import OutboxError


def spoil_index(path):
    """Overwrite the first block behind the index of measurement ids, and let every connection read the file anew."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        while database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            pass
        find = "SELECT rootpage FROM sqlite_master WHERE name = 'triggers_by_meas_id'"
        (page,), (size,) = database.execute(find).fetchone(), database.execute("PRAGMA page_size").fetchone()
        descriptor = os.open(path, os.O_RDWR)
        os.pwrite(descriptor, b"\xee" * size, (page - 1) * size)
        os.close(descriptor)
        database.execute("PRAGMA user_version = 1")


def test_damage_is_remembered_and_a_probe_sees_it(outbox, open_outbox, path):
    for number in range(300):
        part = outbox.accept(trigger(str(number)))
        send(outbox, f"r{number}", part.trigger_id)
    assert outbox.damage is None
    spoil_index(path)
    with pytest.raises(OutboxError, match="malformed"):
        outbox.probe()
    assert "damaged" in str(outbox.damage)
    with pytest.raises(OutboxError, match="malformed"):
        outbox.accept(trigger("new"))
    with pytest.raises(OutboxError, match="is damaged"):
        outbox.probe()
    outbox.close()
    with pytest.raises(OutboxError, match="was kept as"):
        open_outbox()
    assert open_outbox().damage is None


def test_a_full_disk_is_no_damage(outbox):
    part = outbox.accept(trigger())
    outbox._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(OutboxError, match="full"):
        outbox.store(
            seq=1, result_id="r", boot_id="b", payload=b"", mask_png=b"x" * 200_000, trigger_id=part.trigger_id
        )
    assert outbox.damage is None


def test_a_probe_leaves_nothing_behind(outbox):
    before = [*outbox._connection.iterdump()]
    outbox.probe()
    outbox.probe()
    assert [*outbox._connection.iterdump()] == before


def test_an_agent_with_a_damaged_outbox_ends_and_the_next_but_one_inspects_again(
    start_agent, fitted_recipe, good_frames_folder
):
    station, plc = start_agent(fitted_recipe, good_frames_folder)
    plc.wait_for_state("ready")
    assert plc.ask("1")["verdict"] == "PASS"
    spoil_index(station.folder / "state/outbox.db")
    verdict = plc.ask("2")
    assert (verdict["verdict"], verdict["reasons"]) == ("INVALID", ["outbox"])
    assert station.process.wait(DEADLINE_S) == OutboxError.exit_code
    plc.wait_for_state("error", "outbox")
    assert station.start().process.wait(DEADLINE_S) == OutboxError.exit_code
    assert "was kept as" in station.log.read_text()
    station.start()
    plc.wait_for_state("ready")
    assert plc.ask("3")["verdict"] == "PASS"
