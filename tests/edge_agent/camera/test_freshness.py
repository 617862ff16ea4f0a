"""No frame that was exposed before its request, whatever the driver queued."""

import socket
import time

import numpy as np
import pytest

from edge_agent.camera.client import CameraProcess
from edge_agent.camera.messages import CameraOpened, Capture, FrameCaptured, decode, encode
from edge_agent.camera.process import CameraServer
from edge_agent.camera.source import FrameInfo
from edge_agent.ring import FrameRing
from engines.errors import CameraError

SHAPE = (80, 96, 3)


class ScriptedCamera:
    """A live camera whose grabs follow a list of (seconds it waits, age of the driver's time in ns or None)."""

    is_live = True
    is_simulated = False
    queued_frames = 2
    frame_shape = SHAPE

    def __init__(self, script):
        self.script = list(script)
        self.grabbed = -1

    def prepare(self):
        raise AssertionError

    def grab(self):
        self.grabbed += 1
        if self.grabbed >= len(self.script):
            raise CameraError("The script ended.", fix="Nothing.")
        waits_s, age_ns = self.script[self.grabbed]
        until = time.monotonic() + waits_s
        while time.monotonic() < until:
            pass
        return FrameInfo(str(self.grabbed), None if age_ns is None else time.monotonic_ns() - age_ns)

    def retrieve(self, into):
        into[...] = self.grabbed


def delivered(script, newer_than_ns=0):
    """Return which grab of the script answers a request that waits from the start, or None."""
    agent, camera = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ring = FrameRing.create(SHAPE, 1)
    with agent, camera:
        agent.send(encode(Capture(0, 0, newer_than_ns)))
        with pytest.raises(CameraError, match="script ended"):
            CameraServer(camera, ScriptedCamera(script), ring).serve()
        agent.settimeout(0)
        try:
            answer = decode(agent.recv(65536))
        except BlockingIOError:
            return None
    assert isinstance(answer, FrameCaptured)
    assert (ring.slot(0) == int(answer.source)).all()
    return int(answer.source)


WAITS, QUEUED = 0.003, 0.0
OLD, NEW = 60_000_000_000, 0


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param([(QUEUED, None)] * 3, 2, id="queued frames are drained"),
        pytest.param([(QUEUED, None)] * 2, None, id="2 may all be queued"),
        pytest.param([(WAITS, None)] * 2, None, id="a slow grab proves nothing: the CPU may have been busy"),
        pytest.param([(QUEUED, NEW)], 0, id="a driver's time needs no draining"),
        pytest.param([(WAITS, OLD), (WAITS, OLD), (QUEUED, NEW)], 2, id="the driver's time decides"),
        pytest.param([(WAITS, OLD)] * 20, None, id="old frames never count as new"),
    ],
)
def test_the_first_frame_exposed_after_the_request_answers_it(script, expected):
    assert delivered(script) == expected


@pytest.mark.parametrize("age_ns", [None, NEW])
def test_a_frame_older_than_asked_for_is_not_delivered(age_ns):
    later_ns = time.monotonic_ns() + 3600 * 10**9
    assert delivered([(WAITS, age_ns)] * 12, later_ns) is None


def test_requests_that_wait_are_served_by_consecutive_frames():
    agent, camera = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ring = FrameRing.create(SHAPE, 3)
    with agent, camera:
        for number in range(3):
            agent.send(encode(Capture(number, number, 0)))
        with pytest.raises(CameraError, match="script ended"):
            CameraServer(camera, ScriptedCamera([(QUEUED, None)] * 5), ring).serve()
        sources = [decode(agent.recv(65536)).source for _ in range(3)]
    assert sources == ["2", "3", "4"]


@pytest.mark.parametrize("stamps", ["true", "false"])
def test_a_live_camera_never_delivers_what_it_queued_while_it_was_slow(stamps):
    interval_ns = 10_000_000
    # Drawing a frame of this size takes longer than four exposures, so the driver's queue is full at every request.
    ring = FrameRing.create((1280, 1280, 1), 1)
    camera = CameraProcess(f"synthetic://plate?size=1280x1280&channels=1&live=true&fps=100&stamps={stamps}", ring)
    camera.start()
    try:
        assert isinstance(camera.next_event(15), CameraOpened)
        asked, exposed, captured = [], [], []
        for _ in range(12):
            asked.append(time.monotonic_ns())
            camera.request(0, asked[-1])
            answer = camera.next_event(15)
            exposed.append((int(answer.source) + 1) * interval_ns)
            captured.append(answer.captured_ns)
            assert answer.generation == ring.generation(0)
    finally:
        camera.close()
        ring.close()
    began_ns = min(np.array(captured) - np.array(exposed))
    assert max(np.diff(exposed)) > 4 * interval_ns
    assert (began_ns + np.array(exposed) >= np.array(asked) - 500_000).all()
