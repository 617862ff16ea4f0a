"""A camera that an electrical trigger fires: every frame is delivered or told as skipped, and silence is no fault."""

import os
import socket

import pytest

from edge_agent.camera.client import CameraProcess
from edge_agent.camera.messages import (
    BadFrame,
    CameraLost,
    CameraOpened,
    Capture,
    FrameCaptured,
    FrameSkipped,
    decode,
    encode,
)
from edge_agent.camera.opencv import OpenCvCamera
from edge_agent.camera.process import CameraServer
from edge_agent.camera.source import FrameInfo, GrabTimeout, check_camera_uri
from edge_agent.camera.uri import parse_uri
from edge_agent.ring import FrameRing
from engines.errors import CameraError, ConfigError

SHAPE = (80, 96, 3)


@pytest.fixture
def pipe(tmp_path):
    path = tmp_path / "fire"
    os.mkfifo(path)
    return path


@pytest.fixture
def fire(pipe):
    descriptor = os.open(pipe, os.O_RDWR)
    yield lambda times=1: os.write(descriptor, b"x" * times)
    os.close(descriptor)


@pytest.fixture
def start():
    ring = FrameRing.create(SHAPE, 2)
    cameras = []

    def make(uri, **options):
        cameras.append(CameraProcess(uri, ring, is_fired=True, **options))
        cameras[-1].start()
        return cameras[-1]

    yield make
    for camera in cameras:
        camera.close()
    ring.close()


def uri_of(pipe, **options):
    return f"synthetic://plate?size=96x80&fire={pipe}" + "".join(f"&{key}={value}" for key, value in options.items())


def test_every_pulse_answers_the_oldest_request_or_is_told_as_skipped(start, pipe, fire):
    camera = start(uri_of(pipe))
    assert camera.next_event(15) == CameraOpened(SHAPE, is_live=True, is_simulated=True)
    first, second = camera.request(0), camera.request(1)
    fire(3)
    answers = [camera.next_event(15) for _ in range(3)]
    assert [type(answer) for answer in answers] == [FrameCaptured, FrameCaptured, FrameSkipped]
    assert [(answers[0].request, answers[0].source), (answers[1].request, answers[1].source)] == [
        (first, "0"),
        (second, "1"),
    ]
    assert answers[1].written_ns < answers[2].written_ns
    assert camera.skipped == 1
    camera.request(0)
    fire()
    assert camera.next_event(15).source == "3"


def test_a_request_waits_for_its_pulse_without_a_limit(start, pipe, fire):
    hours = [0]
    camera = start(uri_of(pipe), now_ns=lambda: hours[0] * 3600 * 10**9)
    assert isinstance(camera.next_event(15), CameraOpened)
    camera.request(0)
    hours[0] = 9
    # Longer than the camera itself waits for a pulse.
    assert camera.next_event(0.8) is None
    fire()
    assert isinstance(camera.next_event(15), FrameCaptured)


def test_a_frame_that_cannot_be_used_is_one_of_them(start, pipe, fire):
    camera = start(uri_of(pipe, fault="unreadable"))
    camera.next_event(15)
    camera.request(0)
    fire()
    bad = camera.next_event(15)
    assert isinstance(bad, BadFrame)
    assert bad.written_ns >= bad.grab_began_ns


def test_whoever_knows_that_it_is_lost_can_say_so(start, pipe, fire):
    camera = start(uri_of(pipe))
    camera.next_event(15)
    number = camera.request(0)
    camera.give_up(CameraError("No frame came.", fix="Look at the cable."))
    lost = camera.next_event(15)
    assert isinstance(lost, CameraLost)
    assert (lost.requests, lost.is_final, str(lost.error)) == ((number,), False, "No frame came. Look at the cable.")
    assert isinstance(camera.next_event(15), CameraOpened)
    camera.request(0)
    fire()
    assert isinstance(camera.next_event(15), FrameCaptured)


@pytest.mark.parametrize("uri", ["synthetic://plate?size=96x80", "folder://{folder}"])
def test_what_delivers_on_request_cannot_be_fired(start, uri, good_frames_folder):
    lost = start(uri.format(folder=good_frames_folder)).next_event(15)
    assert lost.is_final
    assert isinstance(lost.error, ConfigError)
    assert "live camera" in str(lost.error)


def test_a_pipe_that_is_missing_is_named(start, tmp_path):
    check_camera_uri(uri_of(tmp_path / "nothing"))
    lost = start(uri_of(tmp_path / "nothing")).next_event(15)
    assert lost.is_final
    assert "mkfifo" in str(lost.error)


class ScriptedCamera:
    """Delivers frames with the driver times of a list, where None is a grab without a frame."""

    is_live = True
    is_simulated = False
    queued_frames = 4
    frame_shape = SHAPE

    def __init__(self, stamps_ns):
        self.stamps_ns = list(stamps_ns)
        self.grabbed = -1

    def grab(self):
        self.grabbed += 1
        if self.grabbed >= len(self.stamps_ns):
            raise CameraError("The script ended.", fix="Nothing.")
        if self.stamps_ns[self.grabbed] is None:
            raise GrabTimeout("Nothing came.", fix="Nothing.")
        return FrameInfo(str(self.grabbed), self.stamps_ns[self.grabbed])

    def retrieve(self, into):
        into[...] = self.grabbed


def test_neither_silence_nor_a_picture_that_comes_twice_is_a_frame():
    agent, camera = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ring = FrameRing.create(SHAPE, 3)
    with agent, camera:
        for number in range(3):
            agent.send(encode(Capture(number, number, 0)))
        with pytest.raises(CameraError, match="script ended"):
            CameraServer(camera, ScriptedCamera([None, 5, 5, None, 5, 7]), ring, is_fired=True).serve()
        assert [decode(agent.recv(65536)).source for _ in range(2)] == ["1", "5"]
        agent.settimeout(0)
        with pytest.raises(BlockingIOError):
            agent.recv(65536)


class SilentCapture:
    """A VideoCapture that never has a frame."""

    def grab(self):
        return False

    def release(self):
        pass


class SilentCamera(OpenCvCamera):
    def _connect(self):
        self._capture = SilentCapture()


@pytest.mark.parametrize(("shortest_timeout_s", "kind"), [(0, GrabTimeout), (60, CameraError)])
def test_silence_for_as_long_as_the_driver_waits_is_told_from_an_unplugged_camera(shortest_timeout_s, kind):
    camera = SilentCamera(parse_uri("v4l2:///dev/video0"))
    camera.shortest_timeout_s = shortest_timeout_s
    camera.open(is_fired=True)
    with pytest.raises(CameraError) as caught:
        camera.grab()
    assert type(caught.value) is kind


def test_only_a_fired_camera_may_open_without_a_frame():
    with pytest.raises(CameraError, match="opened but delivers no frame"):
        SilentCamera(parse_uri("v4l2:///dev/video0")).open()
