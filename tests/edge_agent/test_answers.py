"""One part, one verdict, also when the outbox fails or the inspection is late. The outbox is real."""

import itertools
import json
import time
from datetime import datetime

import numpy as np
import pytest

from edge_agent.answers import Answers
from edge_agent.camera.messages import FrameCaptured
from edge_agent.decision import Decision
from edge_agent.inspection import Trigger
from edge_agent.live_recipe import open_live_recipe
from edge_agent.outbox import Outbox
from edge_agent.outbox_records import OpenTrigger, Repeat
from edge_agent.pipeline import Judgement
from edge_agent.station import EnginePart, load_station
from edge_agent.station_state import StationState
from edge_agent.verdict_writer import VerdictWriter
from engines.errors import OutboxError, PublishError

STATION = """\
schema: 1
site: test
station: cell
recipe: unused
state_dir: unused
camera: {uri: "synthetic://plate", mode: triggered}
trigger: {deadline_ms: 50, capture_within_ms: 50, dedupe_window_s: 60}
mqtt: {broker: "mqtt://127.0.0.1:1", consumer: plc}
"""


class FailingOutbox(Outbox):
    """A real outbox on a disk that can fill up."""

    is_full = False

    def store(self, **verdict):
        if self.is_full:
            raise OutboxError("the disk is full.", fix="Make room.")
        return super().store(**verdict)

    def probe(self):
        if self.is_full:
            raise OutboxError("the disk is full.", fix="Make room.")
        super().probe()


class Stand:
    def __init__(self, folder, recipe):
        (folder / "station.yaml").write_text(STATION)
        station = load_station(folder / "station.yaml")
        self.live = open_live_recipe(recipe, EnginePart(threads=1))
        self.outbox = FailingOutbox(folder / "outbox.db", dedupe_window_s=60)
        self.writer = VerdictWriter(self.outbox, self.live, station, is_simulated=False)
        self.state = StationState(station, self.live, self.writer.boot_id)
        self.late = []
        self.published, self.wakes, self.is_connected = [], 0, True
        self.answers = Answers(
            self.outbox,
            self.writer,
            self.state,
            wake_publisher=self.wake,
            publish_unstored=self.publish,
            publish_late=lambda result_id, payload: self.late.append((result_id, json.loads(payload))),
        )

    def wake(self):
        self.wakes += 1

    def publish(self, payload):
        if not self.is_connected:
            raise PublishError("no connection.", fix="Wait.")
        self.published.append(json.loads(payload))

    def accept(self, meas_id="1"):
        self.outbox.accept(Trigger(meas_id, None, None, None, None, time.monotonic_ns()))
        return self.outbox.open_triggers()[-1]

    def stored(self):
        return [json.loads(entry.payload) for entry in self.outbox.due_live(after_seq=0, limit=99)]


@pytest.fixture
def stand(tmp_path, fitted_recipe):
    stand = Stand(tmp_path, fitted_recipe)
    yield stand
    stand.answers.timer.stop()
    stand.outbox.close()
    stand.live.close()


def refused(reason="no_frame"):
    return Judgement(reason=reason)


def test_a_verdict_is_stored_and_the_publisher_woken(stand):
    stand.answers.finish(refused(), None, stand.accept())
    assert [(v["verdict"], v["reasons"]) for v in stand.stored()] == [("INVALID", ["no_frame"])]
    assert stand.wakes == 1
    assert stand.published == []


def test_the_first_verdict_counts(stand):
    part = stand.accept()
    stand.answers.finish(refused("deadline"), None, part)
    stand.answers.finish(refused("no_frame"), None, part)
    assert [v["reasons"] for v in stand.stored()] == [["deadline"]]
    assert stand.wakes == 1


@pytest.mark.parametrize("is_connected", [True, False])
def test_what_cannot_be_stored_is_invalid_at_once_and_stored_later_under_the_same_id(stand, is_connected, caplog):
    part = stand.accept()
    stand.outbox.is_full, stand.is_connected = True, is_connected
    stand.answers.finish(refused(), None, part)
    stand.answers.finish(refused(), None, part)
    assert stand.state.name == "error"
    assert {(v["verdict"], *v["reasons"]) for v in stand.published} <= {("INVALID", "outbox")}
    assert len({v["result_id"] for v in stand.published}) == (1 if is_connected else 0)
    assert stand.answers.tally.reasons()["outbox"] == 1, "one part is counted once, however often it is answered"
    assert caplog.text.count("verdict=INVALID reasons=outbox seq=") == 1
    assert not stand.answers.outbox_works_again()

    stand.outbox.is_full = False
    assert stand.answers.outbox_works_again()
    (stored,) = stand.stored()
    assert stored["reasons"] == ["outbox"]
    assert all(v["result_id"] == stored["result_id"] for v in stand.published)
    assert stand.outbox.open_triggers() == []
    again = stand.outbox.accept(Trigger("1", None, None, None, None, time.monotonic_ns()))
    assert again == Repeat(part.trigger_id, stored["result_id"])


def test_the_fault_of_the_outbox_ends_when_it_holds_what_was_answered_without_it(stand):
    assert not stand.answers.recover()
    stand.outbox.is_full = True
    stand.answers.finish(refused(), None, stand.accept())
    assert not stand.answers.recover()
    assert stand.state.has_fault("outbox")
    stand.outbox.is_full = False
    assert stand.answers.recover()
    assert not stand.state.has_fault("outbox")
    assert [v["reasons"] for v in stand.stored()] == [["outbox"]]
    assert not stand.answers.recover()


def test_what_was_answered_without_the_outbox_is_stored_also_when_its_fault_was_cleared_meanwhile(stand):
    stand.outbox.is_full = True
    stand.answers.finish(refused(), None, stand.accept())
    stand.state.clear_fault("outbox")
    stand.outbox.is_full = False
    assert stand.answers.recover()
    assert [v["reasons"] for v in stand.stored()] == [["outbox"]]


def test_a_result_that_comes_too_late_is_no_verdict_but_its_stages_count(stand):
    part = stand.accept()
    stand.answers.finish(refused("deadline"), None, part)
    stand.answers.finish(Judgement(reason="no_frame", stage_ns={"infer": 3_000_000_000}), None, part)
    assert stand.answers.tally.verdicts() == {"PASS": 0, "FAIL": 0, "INVALID": 1}
    (stages,) = stand.answers.tally.stages_s.collect()
    took_s = {s.labels["stage"]: s.value for s in stages.samples if s.name.endswith("_sum")}
    assert took_s["infer"] == pytest.approx(3.0)


def test_open_parts_are_refused_with_the_reason(stand):
    stand.accept("1")
    stand.accept("2")
    stand.answers.refuse_open_parts("restart")
    assert [(v["meas_id"], v["reasons"]) for v in stand.stored()] == [("1", ["restart"]), ("2", ["restart"])]


def test_the_deadline_answers_while_the_inspection_still_works(stand):
    part = stand.accept()
    stand.answers.timer.start()
    stand.answers.timer.watch(part, time.monotonic_ns() + 20_000_000)
    until = time.monotonic() + 5
    while not stand.stored():
        assert time.monotonic() < until
        time.sleep(0.002)
    stand.answers.finish(refused(), None, part)
    assert [v["reasons"] for v in stand.stored()] == [["deadline"]]


def test_the_real_result_behind_a_missed_deadline_is_told_under_the_id_of_the_verdict_that_counts(stand):
    part = stand.accept()
    found = Judgement(decision=Decision("PASS", 1.5, (), np.zeros((64, 64), bool)))
    stand.answers.finish(refused("deadline"), None, part)
    late = stand.answers.finish(found, None, part)
    assert late.is_late
    ((result_id, content),) = stand.late
    (stored,) = stand.stored()
    assert (stored["verdict"], stored["reasons"]) == ("INVALID", ["deadline"])
    assert result_id == content["result_id"] == stored["result_id"]
    assert (content["verdict"], content["score"], content["meas_id"]) == ("PASS", 1.5, "1")
    assert stand.answers.tally.content()["verdicts"] == {"PASS": 0, "FAIL": 0, "INVALID": 1}


def test_a_part_that_was_told_invalid_outbox_gets_no_other_verdict_when_the_outbox_works_a_moment_later(stand):
    part = stand.accept()
    stand.outbox.is_full = True
    assert stand.answers.finish(refused("deadline"), None, part) is None
    stand.outbox.is_full = False
    found = Judgement(decision=Decision("PASS", 1.5, (), np.zeros((64, 64), bool)))
    assert stand.answers.finish(found, None, part) is None
    assert stand.stored() == []
    stand.answers.refuse_open_parts("not_ready")
    assert [v["reasons"] for v in stand.stored()] == [["outbox"]]
    assert {v["result_id"] for v in stand.published} == {v["result_id"] for v in stand.stored()}


def test_a_part_that_has_its_verdict_is_not_told_invalid_outbox(stand):
    part = stand.accept()
    assert stand.answers.finish(refused("no_frame"), None, part)
    stand.outbox.is_full = True
    assert stand.answers.finish(refused("deadline"), None, part) is None
    assert stand.published == []


def told_by_the_inspection(stand, part):
    stand.answers.finish(refused("no_frame"), None, part)


def told_by_the_inspection_that_cannot_store_it(stand, part):
    stand.outbox.is_full = True
    stand.answers.finish(refused("no_frame"), None, part)


def told_by_the_intake(stand, part):
    stand.answers.outbox_failed(part, OutboxError("the disk is full.", fix="Make room."))
    stand.answers.recover()


@pytest.mark.parametrize("by_the_inspection", [told_by_the_inspection, told_by_the_inspection_that_cannot_store_it])
@pytest.mark.parametrize("is_intake_first", [True, False])
def test_a_part_whose_journal_failed_behind_its_back_is_told_invalid_outbox_once(
    stand, by_the_inspection, is_intake_first
):
    part = OpenTrigger(99, Trigger("1", None, None, None, None, time.monotonic_ns()))
    steps = [told_by_the_intake, by_the_inspection]
    for step in steps if is_intake_first else reversed(steps):
        step(stand, part)
    assert {(v["meas_id"], *v["reasons"]) for v in stand.published} == {("1", "outbox")}
    assert len({v["result_id"] for v in stand.published}) == 1
    assert stand.stored() == []


def test_the_times_of_a_verdict_agree_also_when_the_thread_is_held_up_between_two_readings(stand, monkeypatch):
    readings = itertools.count(time.time_ns(), 1_000_000_000)
    monkeypatch.setattr(time, "time_ns", lambda: next(readings))
    part = stand.accept("1")
    captured_ns = time.monotonic_ns()
    event = FrameCaptured(0, 0, 2, captured_ns, captured_ns, captured_ns, "frame", 0)
    inspection = stand.answers.finish(refused(), event, part).inspection
    captured, decided = (datetime.fromisoformat(text[:-1]) for text in (inspection.captured_at, inspection.decided_at))
    assert (decided - captured).total_seconds() * 1000 <= inspection.latency_ms + 0.002
