"""Triggers that come twice, too fast, or while the station changes."""

import shutil
import signal

import pytest
from recipe_copies import rename

_STORM = 200


def test_a_trigger_that_comes_twice_has_one_verdict(line):
    line.plc.ask()
    trigger = line.plc.send()
    line.plc.repeat(trigger)
    line.until(lambda: line.plc.verdicts_of(trigger), "the verdict")
    line.plc.repeat(trigger)
    line.until(lambda: len(line.plc.verdicts_of(trigger)) > 1, "the verdict once more")
    line.check()


def test_a_trigger_that_comes_again_after_a_crash_has_the_verdict_that_it_had(line):
    line.plc.ask()
    trigger = line.plc.send()
    line.until(lambda: line.plc.verdicts_of(trigger), "the verdict")
    line.kill_daemon()
    line.restart_daemon()
    line.plc.repeat(trigger)
    line.until(lambda: len(line.plc.verdicts_of(trigger)) > 1, "the verdict once more")
    line.check()


def test_a_storm_at_many_times_the_rate(line):
    for _ in range(5):
        line.plc.ask()
    for _ in range(_STORM):
        line.plc.send()
    line.check()
    reasons = {reason for part in line.plc.parts.values() for verdict in part.verdicts for reason in verdict["reasons"]}
    assert "overload" in reasons
    assert line.next_verdict()["reasons"] == []


@pytest.fixture
def recipes(fitted_recipe, tmp_path):
    folder = tmp_path / "recipes"
    for name in ("tiny", "other"):
        shutil.copytree(fitted_recipe, folder / name)
    rename(folder / "other", name="other")
    return folder


def test_parts_that_come_while_the_recipe_changes(make_line, recipes):
    line = make_line(recipe=recipes / "tiny").start()
    line.plc.ask()
    line.plc.command("select_recipe", "a", recipe="other")
    while "a" not in line.plc.replies:
        line.plc.ask()
    assert line.plc.replies["a"]["ok"]
    last = line.next_verdict()
    line.check()
    recipes_seen = [verdict["recipe"] for part in line.plc.parts.values() for verdict in part.verdicts]
    assert recipes_seen[0] == "tiny"
    assert recipes_seen == sorted(recipes_seen, reverse=True)
    assert last["recipe"] == "other"


@pytest.mark.parametrize("spoil", [b"", b"no revision\n", b"r9999\n"], ids=["empty", "text", "missing"])
def test_a_reload_with_a_broken_file_keeps_what_is_in_force(make_line, recipes, spoil):
    line = make_line(recipe=recipes / "tiny").start()
    before = line.next_verdict()["threshold_rev"]
    (recipes / "tiny" / "thresholds" / "current").write_bytes(spoil)
    line.plc.command("reload", "a")
    line.station.process.send_signal(signal.SIGHUP)
    line.until(lambda: "a" in line.plc.replies, "the reply")
    assert not line.plc.replies["a"]["ok"]
    line.converges("ready", "reload_refused", after="broken file")
    assert line.next_verdict()["threshold_rev"] == before
    line.check()
