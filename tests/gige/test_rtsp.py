"""A network camera over the real RTSP and RTP, through the FFmpeg in OpenCV."""

import os
import signal
import time

import cv2
import pytest
from camera_events import wait_for
from gige.network_camera import NetworkCamera
from gige.timed_picture import FPS, SHAPE, time_of

from edge_agent.camera.client import CameraProcess, Patience
from edge_agent.camera.messages import CameraLost, CameraOpened, FrameCaptured
from edge_agent.ring import FrameRing

pytestmark = pytest.mark.skipif(
    not NetworkCamera.is_installed(), reason="needs GStreamer's RTSP server for the system's Python: run `make gige`"
)
needs_x264 = pytest.mark.skipif(not NetworkCamera.has_h264(), reason="needs x264enc: install gstreamer1.0-plugins-ugly")


@pytest.fixture
def network_camera(request):
    camera = NetworkCamera(getattr(request, "param", "jpeg"))
    camera.plug_in()
    yield camera
    camera.unplug()


@pytest.fixture
def ring():
    ring = FrameRing.create(SHAPE, 3)
    yield ring
    ring.close()


@pytest.fixture
def camera(network_camera, ring):
    camera = CameraProcess(network_camera.uri, ring, patience=Patience(longest_retry_s=0.5))
    camera.start()
    yield camera
    camera.close()


def ask(camera, ring, then=lambda: None):
    """Return how long after its request a picture was taken, in ns."""
    asked_ns = time.monotonic_ns()
    answer = camera.request(0, asked_ns)
    then()
    while True:
        event = wait_for(camera, FrameCaptured | CameraLost)
        if isinstance(event, CameraLost):
            # The machine stood still for longer than a camera may.
            wait_for(camera, CameraOpened)
            answer = camera.request(0, asked_ns)
        elif event.request == answer:
            return time_of(ring.slot(0)) - asked_ns


@pytest.mark.parametrize("network_camera", ["jpeg", pytest.param("h264", marks=needs_x264)], indirect=True)
def test_no_picture_is_older_than_its_request_from_the_first_one_on(camera, ring):
    opened = wait_for(camera, CameraOpened)
    assert (opened.frame_shape, opened.is_live, opened.is_simulated) == (SHAPE, True, False)
    assert ask(camera, ring) > 0
    for part_of_a_frame in range(10):
        time.sleep(part_of_a_frame / 10 / FPS)
        assert ask(camera, ring) > 0


@needs_x264
@pytest.mark.skipif(not hasattr(cv2, "CAP_PROP_FRAME_TYPE"), reason="OpenCV before 4.7 does not tell B-frames")
@pytest.mark.parametrize("network_camera", ["h264_b_frames"], indirect=True)
def test_a_camera_with_b_frames_is_refused_until_they_are_turned_off(camera, network_camera, ring):
    lost = wait_for(camera, CameraLost)
    assert "sends B-frames" in lost.error.problem
    assert "Turn them off in the camera" in lost.error.fix
    assert not lost.is_final
    network_camera.unplug()
    network_camera.codec = "h264"
    network_camera.plug_in()
    wait_for(camera, CameraOpened)
    assert ask(camera, ring) > 0


def test_what_the_network_held_while_the_process_stood_still_is_not_delivered(camera, ring):
    wait_for(camera, CameraOpened)
    ask(camera, ring)
    for _ in range(3):
        os.kill(camera.pid, signal.SIGSTOP)
        time.sleep(1.0)
        assert ask(camera, ring, then=lambda: os.kill(camera.pid, signal.SIGCONT)) > 0


@pytest.mark.parametrize("fails", ["freeze", "unplug"])
def test_a_camera_that_falls_silent_is_missed_within_2_s_and_comes_back(camera, ring, network_camera, awake_s, fails):
    wait_for(camera, CameraOpened)
    ask(camera, ring)
    camera.request(0)
    getattr(network_camera, fails)()
    failed_s = awake_s()
    for _ in range(2):
        camera.request(1)
    wait_for(camera, CameraLost)
    assert awake_s() - failed_s < 2
    network_camera.unplug()
    network_camera.plug_in()
    wait_for(camera, CameraOpened)
    assert ask(camera, ring) > 0
