"""One part after the other, with the real engine, outbox and archive; only the camera is a stand-in."""

import json
import time

import cv2
import pytest

from edge_agent.answers import Answers
from edge_agent.camera.messages import FrameCaptured
from edge_agent.engine_watch import EngineWatch
from edge_agent.frame_keeper import FrameKeeper
from edge_agent.inspection import Trigger
from edge_agent.inspector import Inspector
from edge_agent.live_recipe import open_live_recipe
from edge_agent.outbox import Outbox
from edge_agent.outbox_records import OpenTrigger
from edge_agent.pipeline import Pipeline
from edge_agent.ring import FrameRing
from edge_agent.station import EnginePart, load_station
from edge_agent.station_state import StationState
from edge_agent.station_watch import StationWatch
from edge_agent.verdict_writer import VerdictWriter

STATION = """\
schema: 1
site: test
station: cell
recipe: unused
state_dir: unused
camera: {uri: "synthetic://plate", mode: triggered}
trigger: {deadline_ms: 5000, capture_within_ms: 5000, dedupe_window_s: 60}
mqtt: {broker: "mqtt://127.0.0.1:1", consumer: plc}
archive: {folder: archive, max_mb: 100, keep_days: 1000, pass_every: 1}
alarms: {max_consecutive_invalid: 2}
"""


class OneFrame:
    """Finds the same frame for every part; calls `before_answer` when it was judged."""

    def __init__(self, event):
        self.event = event
        self.before_answer = lambda: None
        self.overlapping_wait_ns = 0

    def frame_for(self, part):
        return self.event

    def unfit(self, event, part):
        self.before_answer()

    def done(self, part):
        pass


class Stand:
    def __init__(self, folder, recipe, frame, stack):
        (folder / "station.yaml").write_text(STATION)
        self.station = load_station(folder / "station.yaml")
        self.outbox = Outbox(folder / "outbox.db", dedupe_window_s=60)
        stack.callback(self.outbox.close)
        live = open_live_recipe(recipe, EnginePart(threads=1))
        stack.callback(live.close)
        self.ring = FrameRing.create(live.recipe.frame_shape, 2)
        stack.callback(self.ring.close)
        writer = VerdictWriter(self.outbox, live, self.station, is_simulated=True)
        self.state = state = StationState(self.station, live, writer.boot_id)
        state.waiting_for = None
        self.keeper = FrameKeeper(self.station, live)
        self.keeper.start()
        pipeline = Pipeline(live, self.ring)
        self.write(frame)
        self.capture = OneFrame(FrameCaptured(0, 0, self.ring.generation(0), *[time.monotonic_ns()] * 3, "frame", 0))
        self.answers = Answers(
            self.outbox, writer, state, wake_publisher=int, publish_unstored=print, publish_late=print
        )
        self.inspector = Inspector(
            self.station.trigger,
            self.capture,
            pipeline,
            self.answers,
            state,
            EngineWatch(state, live),
            StationWatch(state, live, self.keeper, self.station.alarms),
            self.keeper,
        )

    def write(self, frame):
        self.ring.begin_write(0)
        self.ring.slot(0)[...] = frame
        self.ring.end_write(0)

    def inspect(self, meas_id="1", refused=None):
        self.outbox.accept(Trigger(meas_id, None, None, None, None, time.monotonic_ns()))
        (part,) = self.outbox.open_triggers()
        self.inspector.inspect(part, refused)

    def seen(self):
        """Return the only part's verdict, and the frames in the archive."""
        self.keeper.stop()
        (entry,) = self.outbox.due_live(after_seq=0, limit=9)
        archived = sorted(self.station.archive.folder.rglob("*.png"))
        return json.loads(entry.payload)["verdict"], [cv2.imread(str(path)) for path in archived]


@pytest.fixture
def frame(good_frames_folder):
    return cv2.imread(str(good_frames_folder / "000.png"))


@pytest.fixture
def stand(tmp_path, fitted_recipe, frame, exit_stack):
    return Stand(tmp_path, fitted_recipe, frame, exit_stack)


def test_a_frame_is_archived_with_its_verdict(stand, frame):
    stand.inspect()
    verdict, (archived,) = stand.seen()
    assert verdict == "PASS"
    assert (archived == frame).all()


def test_a_frame_that_was_given_up_during_a_long_inference_is_not_archived_as_another_one(stand, frame):
    stand.capture.before_answer = lambda: stand.write(frame // 2)
    stand.inspect()
    assert stand.seen() == ("PASS", [])


@pytest.mark.parametrize(("waiting", "has_time"), [(0, True), (2, True), (3, False)])
def test_a_part_has_time_if_those_before_it_and_the_one_in_hand_and_itself_have(stand, waiting, has_time):
    part = OpenTrigger(1, Trigger("1", None, None, None, None, time.monotonic_ns()))
    assert stand.inspector.has_time(part, 1000), "nobody knows yet how long a part takes"
    stand.inspector._typical_ns = 1.1e9
    assert stand.inspector.has_time(part, waiting) == has_time


def test_how_long_a_part_takes_is_learned_from_those_that_were_looked_at(stand):
    stand.capture.before_answer = lambda: time.sleep(0.05)
    stand.inspect()
    assert stand.inspector._typical_ns >= 0.05e9 / 5


def test_a_wait_that_the_parts_behind_share_is_no_work(stand):
    def wait():
        time.sleep(1)
        stand.capture.overlapping_wait_ns += 1_000_000_000

    stand.capture.before_answer = wait
    stand.inspect()
    assert 0 < stand.inspector._typical_ns < 1e9 / 5


@pytest.mark.parametrize(
    ("refused", "halted"),
    [
        ("bad_trigger", None),
        ("id_conflict", None),
        ("not_ready", None),
        ("wrong_recipe", None),
        ("expired", "max_consecutive_invalid"),
        ("late_frame", "max_consecutive_invalid"),
    ],
)
def test_a_trigger_that_should_not_have_come_halts_no_station(stand, refused, halted):
    for meas_id in "12":
        stand.inspect(meas_id, refused)
    assert stand.state.halted == halted
