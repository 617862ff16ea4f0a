"""Recordings at the pace at which they were taken."""

import os
import time

import cv2
import numpy as np
import pytest

from edge_agent.camera.client import CameraProcess, Patience
from edge_agent.camera.messages import CameraOpened, FrameCaptured, FramesEnded
from edge_agent.camera.source import EndOfFrames, check_camera_uri, open_camera
from edge_agent.ring import FrameRing
from engines.errors import ConfigError

SHAPE = (80, 96, 3)
FRAMES = 12
APART_S = 0.1


def draw(number):
    return np.random.default_rng(number).integers(0, 255, SHAPE, np.uint8)


@pytest.fixture(params=["folder", "file"])
def recording(request, tmp_path):
    """The URI of frames that were taken 0.1 s apart."""
    if request.param == "folder":
        for number in range(FRAMES):
            path = tmp_path / f"{number:02}.png"
            cv2.imwrite(str(path), draw(number))
            os.utime(path, (number * APART_S, number * APART_S))
        return f"folder://{tmp_path}"
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 1 / APART_S, SHAPE[1::-1])
    for number in range(FRAMES):
        writer.write(draw(number))
    writer.release()
    return f"file://{path}"


def seconds_for_all(uri):
    source = open_camera(uri)
    source.grab()
    began_s = time.monotonic()
    for _ in range(FRAMES - 1):
        source.grab()
    took_s = time.monotonic() - began_s
    with pytest.raises(EndOfFrames):
        source.grab()
    source.close()
    return took_s


def test_frames_come_as_far_apart_as_they_were_taken(recording):
    whole_s = (FRAMES - 1) * APART_S
    assert whole_s - 0.02 <= seconds_for_all(f"{recording}?pace=recorded") < whole_s + 5
    assert seconds_for_all(recording) < whole_s - 0.1


def test_frames_that_nobody_takes_are_lost_and_counted(recording):
    ring = FrameRing.create(SHAPE, 1)
    camera = CameraProcess(f"{recording}?pace=recorded", ring, patience=Patience(answer_timeout_s=15))
    camera.start()
    try:
        opened = camera.next_event(15)
        assert isinstance(opened, CameraOpened)
        assert (opened.is_live, opened.is_simulated) == (True, True)
        camera.request(0)
        first = camera.next_event(15)
        assert camera.next_event(4.5 * APART_S) is None
        camera.request(0)
        second = camera.next_event(15)
        assert isinstance(second, FrameCaptured)
        number = [int(answer.source.partition(".")[0]) for answer in (first, second)]
        assert number[1] - number[0] >= 4
        assert camera.skipped - first.skipped == second.skipped >= 3
        for _ in range(FRAMES):
            camera.request(0)
            if isinstance(camera.next_event(15), FramesEnded):
                return
        pytest.fail("the recording did not end")
    finally:
        camera.close()
        ring.close()


def test_a_pace_that_a_video_does_not_have_is_refused():
    with pytest.raises(ConfigError, match="must be request or recorded"):
        check_camera_uri("file://a.mp4?pace=25")
