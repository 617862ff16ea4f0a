"""Cameras through the real GStreamer and the real GigE Vision protocol, without hardware: `make gige`."""

import os
import signal
import socket
import threading
import time

import numpy as np
import pytest
from camera_events import wait_event, wait_for
from gige.fake_camera import SHAPE, SINK, URI

from edge_agent.camera.client import CameraProcess, Patience
from edge_agent.camera.messages import CameraLost, CameraOpened, FrameCaptured
from edge_agent.camera.opencv import has_gstreamer
from edge_agent.ring import FrameRing

pytestmark = [
    pytest.mark.skipif(not has_gstreamer(), reason="this OpenCV has no GStreamer: run `make gige`"),
    pytest.mark.skipif(os.getuid() == 0, reason="aravis needs an ordinary user: run `make gige`"),
]
INTERVAL_S = 0.03


@pytest.fixture
def ring():
    ring = FrameRing.create(SHAPE, 3)
    yield ring
    ring.close()


@pytest.fixture
def start(ring):
    cameras = []

    def make(uri, **options):
        cameras.append(CameraProcess(uri, ring, **options))
        cameras[-1].start()
        return cameras[-1]

    yield make
    for camera in cameras:
        camera.close()


def test_a_gige_camera_delivers_newer_and_newer_pictures(start, ring, gige_camera):
    camera = start(URI)
    opened = wait_event(camera, CameraOpened)
    assert (opened.frame_shape, opened.is_live, opened.is_simulated) == (SHAPE, True, False)
    counts = []
    for _ in range(20):
        camera.request(0, time.monotonic_ns())
        wait_event(camera, FrameCaptured)
        # The fake camera writes its frame counter into the first pixel.
        counts.append(int(ring.slot(0)[0, 0, 0]))
    steps = np.diff(counts) % 256
    assert (steps > 0).all()
    assert steps.sum() < 128


def test_an_unplugged_gige_camera_is_missed_within_2_s_and_comes_back(start, gige_camera, awake_s):
    camera = start(URI, patience=Patience(longest_retry_s=0.5))
    wait_event(camera, CameraOpened)
    camera.request(0)
    wait_event(camera, FrameCaptured)
    for slot in range(3):
        camera.request(slot)
    gige_camera.unplug()
    unplugged_s = awake_s()
    while isinstance(event := camera.next_event(0.25), FrameCaptured | None):
        assert awake_s() - unplugged_s < 2
        if event is not None:
            camera.request(event.slot)
    assert isinstance(event, CameraLost)
    assert awake_s() - unplugged_s < 2
    # Still away.
    wait_event(camera, CameraLost)
    gige_camera.plug_in()
    wait_for(camera, CameraOpened)
    camera.request(0, time.monotonic_ns())
    wait_event(camera, FrameCaptured)


def test_a_camera_process_that_is_killed_lets_the_next_one_have_the_gige_camera(start, gige_camera):
    camera = start(URI)
    wait_event(camera, CameraOpened)
    os.kill(camera.pid, signal.SIGKILL)
    wait_event(camera, CameraLost)
    wait_for(camera, CameraOpened)
    camera.request(0, time.monotonic_ns())
    wait_event(camera, FrameCaptured)


class DatagramCamera:
    """Each datagram is a frame, all pixels its number: so it is known when every picture was taken."""

    def __init__(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.taken_ns = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def uri(self):
        caps = f"video/x-raw,format=(string)GRAY8,width=(int){SHAPE[1]},height=(int){SHAPE[0]},framerate=(fraction)0/1"
        return f'gst://udpsrc address=127.0.0.1 port={self.port} caps="{caps}" ! {SINK}'

    def take(self):
        number = len(self.taken_ns) % 256
        self.taken_ns.append(time.monotonic_ns())
        self._socket.sendto(bytes([number]) * (SHAPE[0] * SHAPE[1]), ("127.0.0.1", self.port))

    def time_of(self, frame):
        """Return when a picture was taken, CLOCK_MONOTONIC."""
        number = int(frame[0, 0, 0])
        return next(t for n, t in reversed(list(enumerate(self.taken_ns))) if n % 256 == number)

    def run(self):
        self._thread.start()

    def _run(self):
        while not self._stopping.wait(INTERVAL_S):
            self.take()

    def stop(self):
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()


@pytest.fixture
def datagrams():
    camera = DatagramCamera()
    yield camera
    camera.stop()


def test_no_picture_of_a_pipeline_is_older_than_its_request(start, ring, datagrams):
    datagrams.run()
    camera = start(datagrams.uri)
    wait_event(camera, CameraOpened)
    for _ in range(30):
        asked_ns = time.monotonic_ns()
        camera.request(0, asked_ns)
        answer = wait_event(camera, FrameCaptured)
        assert asked_ns <= datagrams.time_of(ring.slot(0)) <= answer.captured_ns


def test_what_a_pipeline_holds_when_a_stalled_process_goes_on_is_not_delivered(start, ring, datagrams):
    camera = start(datagrams.uri)
    deadline = time.monotonic() + 30
    while not isinstance(camera.next_event(0.05), CameraOpened):
        datagrams.take()
        assert time.monotonic() < deadline
    for _ in range(5):
        os.kill(camera.pid, signal.SIGSTOP)
        for _ in range(2):
            datagrams.take()
        asked_ns = time.monotonic_ns()
        camera.request(0, asked_ns)
        os.kill(camera.pid, signal.SIGCONT)
        assert camera.next_event(0.3) is None
        while camera.next_event(0.05) is None:
            datagrams.take()
        assert datagrams.time_of(ring.slot(0)) >= asked_ns


def test_a_pipeline_that_nothing_has_fired_opens_and_every_frame_of_it_is_delivered(start, ring, datagrams):
    refused = wait_event(start(datagrams.uri, is_fired=True), CameraLost)
    assert refused.is_final
    assert "async=false" in str(refused.error)
    camera = start(f"{datagrams.uri} async=false", is_fired=True)
    assert wait_event(camera, CameraOpened).frame_shape is None
    for number in range(10):
        camera.request(number % 3)
        datagrams.take()
        answer = wait_event(camera, FrameCaptured)
        assert int(ring.slot(answer.slot)[0, 0, 0]) == number
        assert answer.written_ns >= datagrams.taken_ns[number]
