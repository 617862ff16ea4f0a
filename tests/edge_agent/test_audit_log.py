"""Every command is written down once it is answered, and one that comes again is not executed again."""

import json
import time

import pytest

from edge_agent import audit_log
from edge_agent.audit_log import ANSWERED_FOR_S, Answer, AuditLog
from edge_agent.messages import Command
from engines.errors import StorageError

DONE = Answer(None, "r0002")
FAILED = Answer("no. Do this.", "r0001")


class Clock:
    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def wall():
    return Clock(1_800_000_000.0)


@pytest.fixture
def monotonic():
    return Clock(1000.0)


@pytest.fixture
def open_log(tmp_path, wall, monotonic):
    return lambda boot="boot 1": AuditLog(tmp_path, wall_clock=wall, clock=monotonic, boot_id=boot)


def lines(folder, name="audit.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines() if line]


def test_a_line_says_when_what_and_what_became_of_it(tmp_path, open_log):
    log = open_log()
    log.add(Command("reload", "17"), "done", DONE)
    log.add(Command("resume", None), "failed", FAILED)
    assert lines(tmp_path) == [
        {
            "time": "2027-01-15T08:00:00.000+00:00",
            "command": "reload",
            "correlation_id": "17",
            "outcome": "done",
            "problem": None,
            "threshold_rev": "r0002",
            "boot": "boot 1",
            "uptime_s": 1000.0,
        },
        {
            "time": "2027-01-15T08:00:00.000+00:00",
            "command": "resume",
            "correlation_id": None,
            "outcome": "failed",
            "problem": "no. Do this.",
            "threshold_rev": "r0001",
            "boot": "boot 1",
            "uptime_s": 1000.0,
        },
    ]


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize(("age_s", "answer"), [(ANSWERED_FOR_S - 0.1, FAILED), (ANSWERED_FOR_S, None)])
def test_an_answer_is_remembered_for_ten_minutes_also_over_a_restart(open_log, monotonic, restarts, age_s, answer):
    log = open_log()
    log.add(Command("reload", 17), "failed", FAILED)
    monotonic.now += age_s / 2
    if restarts:
        log = open_log()
    monotonic.now += age_s / 2
    assert log.answer_to(Command("reload", 17)) == answer


@pytest.mark.parametrize("step_s", [3600, -3600, -1_799_999_000])
def test_a_wall_clock_that_jumps_changes_nothing_also_over_a_restart(open_log, wall, step_s):
    log = open_log()
    log.add(Command("reload", 17), "done", DONE)
    wall.now += step_s
    assert log.answer_to(Command("reload", 17)) == DONE
    assert open_log().answer_to(Command("reload", 17)) == DONE


@pytest.mark.parametrize("wall_s", [1_000.0, 1_800_000_100.0], ids=["nobody has set it", "minutes later"])
def test_after_a_start_of_the_machine_every_command_is_new_whatever_the_wall_clock_says(
    open_log, wall, monotonic, wall_s
):
    open_log().add(Command("select_recipe", 1), "done", DONE)
    wall.now, monotonic.now = wall_s, 20.0
    log = open_log("boot 2")
    assert log.answer_to(Command("select_recipe", 1)) is None
    log.add(Command("select_recipe", 1), "done", DONE)
    assert open_log("boot 2").answer_to(Command("select_recipe", 1)) == DONE


def test_lines_of_a_version_that_wrote_no_boot_are_read_and_answer_nothing(tmp_path, open_log, caplog):
    log = open_log()
    log.add(Command("reload", 17), "done", DONE)
    (line,) = lines(tmp_path)
    (tmp_path / "audit.jsonl").write_text(
        json.dumps({key: value for key, value in line.items() if key not in {"boot", "uptime_s"}})
    )
    assert open_log().answer_to(Command("reload", 17)) is None
    assert not caplog.records


@pytest.mark.parametrize(
    "other", [Command("reload", "17"), Command("resume", 17), Command("reload", 18), Command("reload", None)]
)
def test_only_the_same_command_with_the_same_id_is_the_same(open_log, other):
    log = open_log()
    log.add(Command("reload", 17), "done", DONE)
    log.add(Command("reload", None), "done", DONE)
    assert log.answer_to(other) is None


@pytest.mark.parametrize("outcome", ["refused", "repeated"])
def test_what_was_not_executed_is_no_answer(open_log, outcome):
    log = open_log()
    log.add(Command("reload", 17), outcome, FAILED)
    assert log.answer_to(Command("reload", 17)) is None
    assert open_log().answer_to(Command("reload", 17)) is None


def test_the_log_stays_small_and_forgets_no_answer_by_that(tmp_path, open_log, monkeypatch):
    monkeypatch.setattr(audit_log, "MAX_BYTES", 1000)
    log = open_log()
    for number in range(50):
        log.add(Command("reload", number), "done", DONE)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2000
    assert {path.name for path in tmp_path.iterdir()} == {"audit.jsonl", "audit.1.jsonl"}
    kept = [line["correlation_id"] for name in ("audit.1.jsonl", "audit.jsonl") for line in lines(tmp_path, name)]
    assert kept == list(range(kept[0], 50))
    assert all(log.answer_to(Command("reload", number)) == DONE for number in range(50))
    assert open_log().answer_to(Command("reload", kept[0])) == DONE


def test_memory_is_bounded(open_log):
    log = open_log()
    for number in range(1100):
        log.add(Command("reload", number), "done", DONE)
    assert len(log._answers) == 1000
    assert log.answer_to(Command("reload", 1099)) == DONE


@pytest.mark.parametrize("cut", [b'{"time": "2027', b"\xff\xfe", b"[1]", b'{"time": 5}', b"null"])
def test_a_line_that_was_cut_off_spoils_no_other(tmp_path, open_log, cut):
    log = open_log()
    log.add(Command("reload", 1), "done", DONE)
    with (tmp_path / "audit.jsonl").open("ab") as file:
        file.write(cut)
    log = open_log()
    log.add(Command("reload", 2), "done", DONE)
    log = open_log()
    assert [log.answer_to(Command("reload", number)) for number in (1, 2)] == [DONE, DONE]


def test_a_log_that_cannot_be_written_is_an_error_and_the_answer_is_remembered(tmp_path, open_log):
    log = open_log()
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(StorageError, match=r"cannot be written: Is a directory\. Make room"):
        log.add(Command("reload", 1), "done", DONE)
    assert log.error is not None
    assert log.answer_to(Command("reload", 1)) == DONE
    (tmp_path / "audit.jsonl").rmdir()
    log.add(Command("reload", 2), "done", DONE)
    assert log.error is None
    assert [line["correlation_id"] for line in lines(tmp_path)] == [2]


def test_a_log_that_cannot_be_read_is_an_error(tmp_path, open_log):
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(StorageError, match="cannot be read: Is a directory"):
        open_log()


# --- a whole agent ---------------------------------------------------------------------------------------------------


@pytest.fixture
def running(fitted_recipe, good_frames_folder, start_agent):
    station, plc = start_agent(fitted_recipe, good_frames_folder)
    plc.wait_for_state("ready")
    return station, plc


def executed(station):
    """How often thresholds were loaded, by the agent's own log."""
    return station.log.read_text().count("threshold_rev=r0001 before=")


def test_a_replayed_command_is_answered_as_before_and_not_executed_also_after_a_restart(running):
    station, plc = running
    first = plc.command("reload", "17")
    assert plc.command("reload", "17") == first
    unknown = plc.command("dance", "18")
    assert executed(station) == 1
    station.process.kill()
    station.process.wait()
    station.start()
    plc.wait_for_state("offline")
    plc.wait_for_state("ready")
    assert plc.command("reload", "17") == first
    assert plc.command("dance", "18") == unknown
    assert executed(station) == 1
    assert plc.command("reload", "19")["ok"]
    assert executed(station) == 2
    audit = [(line["command"], line["correlation_id"], line["outcome"]) for line in lines(station.folder / "state")]
    assert audit == [
        ("reload", "17", "done"),
        ("reload", "17", "repeated"),
        ("dance", "18", "failed"),
        ("reload", "17", "repeated"),
        ("dance", "18", "repeated"),
        ("reload", "19", "done"),
    ]


def test_commands_without_an_id_are_all_executed(running):
    station, plc = running
    for _ in range(2):
        plc.client.publish(plc.topics.command, b'{"command": "reload"}')
        assert plc.replies.get(timeout=10)["ok"]
    assert executed(station) == 2
    assert [line["outcome"] for line in lines(station.folder / "state")] == ["done"] * 2


def test_malformed_and_oversized_commands_change_nothing_and_are_not_commands(running):
    station, plc = running
    before = plc.wait_for_state("ready")
    oversized = json.dumps({"command": "reload", "correlation_id": "x", "fill": "x" * 20_000}).encode()
    for payload in (
        b"",
        b"reload",
        b'{"command": ["reload"]}',
        b'{"command": "reload", "correlation_id": {}}',
        oversized,
    ):
        plc.client.publish(plc.topics.command, payload)
    assert plc.command("resume", "after")["ok"]
    assert plc.replies.empty()
    assert executed(station) == 0
    assert plc.states[-1] == before
    assert [line["command"] for line in lines(station.folder / "state")] == ["resume"]


def test_a_log_that_cannot_be_written_is_said_in_the_state_and_commands_still_work(running):
    station, plc = running
    blocked = station.folder / "state" / "audit.jsonl"
    blocked.mkdir()
    assert plc.command("reload", "1")["ok"]
    assert plc.wait_for_state("ready", "audit_log")["degraded"]
    blocked.rmdir()
    assert plc.command("reload", "2")["ok"]
    deadline = time.monotonic() + 10
    while "audit_log" in plc.states[-1]["reasons"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [line["correlation_id"] for line in lines(station.folder / "state")] == ["2"]
