"""What every camera must do, asked of each of them. A real one: `pytest tests/contract --camera URI`."""

import os
import signal
import time

import cv2
import numpy as np
import pytest
from camera_events import wait_event
from gige.fake_camera import SINK

from edge_agent.camera.client import CameraProcess, Patience
from edge_agent.camera.messages import CameraLost, CameraOpened, FrameCaptured, FramesEnded
from edge_agent.camera.opencv import has_gstreamer
from edge_agent.camera.source import EndOfFrames, open_camera
from edge_agent.ring import FrameRing
from engines.errors import FrameError

SHAPE = (80, 96, 3)
FRAMES = 6
CANARY = 123
KINDS = ["folder", "folder-recorded", "file", "synthetic", "synthetic-live", "gst", "gige", "hardware"]
ON_REQUEST = {"folder", "file", "synthetic"}


def draw(number):
    random = np.random.default_rng(number)
    blurred = cv2.GaussianBlur(random.integers(0, 255, SHAPE).astype(np.float32), (0, 0), 3)
    return np.clip(blurred + 20 * number - 60, 0, 255).astype(np.uint8)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def uri(kind, request, tmp_path):
    match kind:
        case "folder" | "folder-recorded":
            for number in range(FRAMES):
                path = tmp_path / f"{number}.png"
                cv2.imwrite(str(path), draw(number))
                os.utime(path, (number / 50, number / 50))
            return f"folder://{tmp_path}" + ("?pace=recorded&loop=true" if kind == "folder-recorded" else "")
        case "file":
            writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (96, 80))
            for number in range(FRAMES):
                writer.write(draw(number))
            writer.release()
            return f"file://{tmp_path / 'v.avi'}"
        case "synthetic":
            return f"synthetic://plate?size=96x80&frames={FRAMES}"
        case "synthetic-live":
            return "synthetic://plate?size=96x80&live=true&fps=100"
        case "gst" | "gige":
            return gstreamer_uri(kind, request)
        case _:
            given = request.config.getoption("--camera", default=None)
            if given is None:
                pytest.skip("no camera given: run with --camera URI to test a real one")
            return given


def gstreamer_uri(kind, request):
    if not has_gstreamer():
        pytest.skip("this OpenCV has no GStreamer: run `make gige`, or with JetPack's OpenCV, to test gst://")
    if kind == "gige":
        if os.getuid() == 0:
            pytest.skip("aravis needs an ordinary user: run `make gige`")
        request.getfixturevalue("gige_camera")
        source = "aravissrc ! video/x-raw,format=GRAY8,width=96,height=80,framerate=20/1 ! videoconvert"
        return f"gst://{source} ! video/x-raw,format=BGR ! {SINK}"
    caps = "video/x-raw,format=BGR,width=96,height=80,framerate=50/1"
    return f"gst://videotestsrc is-live=true ! {caps} ! {SINK}"


@pytest.fixture
def source(uri):
    source = open_camera(uri)
    yield source
    source.close()


@pytest.fixture
def camera(uri):
    source = open_camera(uri)
    shape = source.frame_shape
    source.close()
    ring = FrameRing.create(shape, 3)
    camera = CameraProcess(uri, ring, patience=Patience(first_retry_s=0.01))
    camera.start()
    assert isinstance(wait_event(camera), CameraOpened)
    yield camera
    camera.close()
    ring.close()


def test_the_shape_is_known_once_open(source, kind):
    height, width, channels = source.frame_shape
    if kind != "hardware":
        assert (height, width, channels) == SHAPE
    assert channels in {1, 3, 4}
    assert source.is_live is (kind not in ON_REQUEST)
    assert source.is_simulated is (kind not in {"gst", "gige", "hardware"})


def test_retrieve_fills_the_callers_memory_and_nothing_beside_it(source):
    memory = np.full((3, *source.frame_shape), CANARY, np.uint8)
    source.grab()
    source.retrieve(memory[1])
    assert (memory[1] != CANARY).any()
    assert (memory[0] == CANARY).all()
    assert (memory[2] == CANARY).all()


def test_the_source_prepares_the_same_frame_that_it_would_deliver_unprepared(uri, kind):
    if kind not in ON_REQUEST:
        pytest.skip("a live camera shows something else each time")
    pictures = []
    for prepares in (False, True):
        source = open_camera(uri)
        frame = np.zeros(source.frame_shape, np.uint8)
        for _ in range(3):
            if prepares:
                source.prepare()
                source.prepare()
            source.grab()
        source.retrieve(frame)
        pictures.append(frame)
        source.close()
    assert np.array_equal(*pictures)


def test_a_slot_of_another_size_is_refused_untouched_and_the_camera_goes_on(source):
    height, width, channels = source.frame_shape
    other = np.full((height, width + 8, channels), CANARY, np.uint8)
    source.grab()
    with pytest.raises(FrameError, match=f"{width} x {height} .*{width + 8} x {height}") as caught:
        source.retrieve(other)
    assert caught.value.reason == "frame_size"
    assert (other == CANARY).all()
    source.grab()
    source.retrieve(np.zeros(source.frame_shape, np.uint8))


def test_a_finite_source_ends_and_stays_ended(source, kind):
    if kind not in ON_REQUEST:
        pytest.skip("this camera has no end")
    for _ in range(FRAMES):
        source.grab()
    for _ in range(2):
        with pytest.raises(EndOfFrames):
            source.grab()


def test_skipped_frames_are_not_delivered_again(uri, kind):
    if kind not in ON_REQUEST:
        pytest.skip("a live camera has nothing to skip")
    names = []
    for skip in (0, 2):
        source = open_camera(uri, skip=skip)
        names.append([source.grab().source for _ in range(FRAMES - skip)])
        source.close()
    assert names[1] == names[0][2:]
    assert len(set(names[0])) == FRAMES


def test_close_is_harmless_in_every_state(source):
    source.close()
    source.close()


def test_every_request_is_answered_once_in_order_by_a_newer_frame(camera):
    asked = {}
    for slot in (0, 1, 2, 0):
        now_ns = time.monotonic_ns()
        asked[camera.request(slot, now_ns)] = slot, now_ns
    answers = [wait_event(camera) for _ in asked]
    assert [a.request for a in answers] == list(asked)
    assert [a.seq for a in answers] == [0, 1, 2, 3]
    for answer in answers:
        slot, now_ns = asked[answer.request]
        assert isinstance(answer, FrameCaptured)
        assert answer.slot == slot
        assert answer.grab_began_ns >= now_ns
        assert now_ns <= answer.captured_ns <= time.monotonic_ns()


def test_each_frame_is_written_once_into_its_slot_only(camera):
    ring = camera._ring
    for slot, expected in ((1, [0, 2, 0]), (1, [0, 4, 0]), (2, [0, 4, 2])):
        camera.request(slot)
        answer = wait_event(camera)
        assert answer.generation == ring.generation(slot)
        assert [ring.generation(index) for index in range(3)] == expected
        assert ring.slot(slot).any()


def test_after_kill_9_the_camera_comes_back_into_the_same_memory(camera, kind):
    ring = camera._ring
    addresses = [ring.slot(index).ctypes.data for index in range(3)]
    camera.request(0)
    first = wait_event(camera)
    os.kill(camera.pid, signal.SIGKILL)
    lost = wait_event(camera)
    assert isinstance(lost, CameraLost)
    assert not lost.is_final
    # A device that still holds itself for the one that was killed refuses the first tries.
    while isinstance(opened := wait_event(camera), CameraLost):
        assert not opened.is_final
    assert isinstance(opened, CameraOpened)
    camera.request(0)
    after = wait_event(camera)
    assert isinstance(after, FrameCaptured)
    assert after.seq == first.seq + 1
    assert [ring.slot(index).ctypes.data for index in range(3)] == addresses
    if kind in ON_REQUEST:
        assert after.source != first.source


def test_the_end_is_told_to_every_request(camera, kind):
    if kind not in ON_REQUEST:
        pytest.skip("frames of this camera do not wait, or have no end")
    for _ in range(FRAMES):
        camera.request(0)
        assert isinstance(wait_event(camera), FrameCaptured)
    numbers = [camera.request(slot) for slot in (0, 1)]
    assert [wait_event(camera) for _ in numbers] == [FramesEnded(number) for number in numbers]
    late = camera.request(2)
    assert wait_event(camera) == FramesEnded(late)
