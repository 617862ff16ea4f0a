"""A network camera whose decoder works on several frames at once holds some back."""

import os
import socket
import threading
import time

import cv2
import pytest
from rtsp_stream import SHAPE, RtspStream, number_of, numbered_frames

from edge_agent.camera.messages import Capture, decode, encode
from edge_agent.camera.process import AgentGone, CameraServer
from edge_agent.camera.rtsp import RtspCamera
from edge_agent.camera.uri import parse_uri
from edge_agent.ring import FrameRing

THREADS = 8


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return numbered_frames(tmp_path_factory.mktemp("video") / "numbered.avi")


@pytest.fixture
def stream(frames):
    stream = RtspStream(frames)
    yield stream
    stream.close()


def ages_ns(stream, times):
    """Return how long after its request each frame left the network camera."""
    camera = RtspCamera(parse_uri(stream.uri))
    camera.open()
    ring = FrameRing.create(SHAPE, 1)
    agent, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    agent.settimeout(10)

    def serve():
        with pytest.raises(AgentGone):
            CameraServer(theirs, camera, ring).serve()
        camera.close()

    server = threading.Thread(target=serve)
    server.start()
    found = []
    for number in range(times):
        asked_ns = time.monotonic_ns()
        agent.send(encode(Capture(number, 0, asked_ns)))
        decode(agent.recv(65536))
        found.append(stream.sent_ns[number_of(ring.slot(0))] - asked_ns)
    agent.close()
    server.join()
    theirs.close()
    ring.close()
    return found


@pytest.mark.parametrize("has_property", [True, False], ids=["of OpenCV 4.7 and newer", "before OpenCV 4.7"])
def test_no_frame_is_older_than_its_request_however_many_cores_decode(stream, monkeypatch, has_property):
    monkeypatch.setenv("OPENCV_FFMPEG_THREADS", str(THREADS))
    monkeypatch.setattr(os, "cpu_count", lambda: THREADS)
    if not has_property:
        monkeypatch.delattr(cv2, "CAP_PROP_N_THREADS", raising=False)
    found = ages_ns(stream, times=4)
    assert min(found) > 0
