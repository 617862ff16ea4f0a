"""The wall clock jumps by an hour while the agent runs; CLOCK_MONOTONIC goes on."""

from pathlib import Path

import pytest


def find_faketime():
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


@pytest.mark.parametrize("step", ["+1h", "-1h"])
def test_a_clock_that_is_set_by_an_hour_changes_no_verdict(make_line, tmp_path, step):
    library = find_faketime()
    if library is None:
        pytest.skip("needs libfaketime: apt-get install faketime")
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    line = make_line()
    line.is_clock_true = False
    line.station.environment = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    line.start()
    before = line.plc.ask()
    trigger = line.plc.send()
    line.until(lambda: line.plc.verdicts_of(trigger), "the verdict")
    clock.write_text(f"{step}\n")
    after = line.plc.ask()
    line.plc.repeat(trigger)
    line.until(lambda: len(line.plc.verdicts_of(trigger)) > 1, "the verdict once more")
    line.kill_daemon()
    line.restart_daemon()
    line.plc.repeat(trigger)
    line.until(lambda: len(line.plc.verdicts_of(trigger)) > 2, "the verdict after a restart")
    line.check()
    assert before.verdict["decided_at"][:13] != after.verdict["decided_at"][:13]
    assert after.verdict["reasons"] == []
    assert after.round_trip_ms < 1000
