"""The camera process dies, hangs and lies; the client must not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from camera_events import wait_event

from edge_agent.camera.client import CameraProcess, Patience
from edge_agent.camera.messages import BadFrame, CameraLost, CameraOpened, FrameCaptured
from edge_agent.camera.opencv import has_gstreamer
from edge_agent.camera.probe import probe_camera
from edge_agent.camera.uri import describe_uri
from edge_agent.ring import FrameRing
from engines.errors import CameraError, ConfigError, NoInputError

SHAPE = (80, 96, 3)
SMALL = "synthetic://plate?size=96x80"
QUICK = Patience(answer_timeout_s=0.4, first_retry_s=0.01)


@pytest.fixture
def ring():
    ring = FrameRing.create(SHAPE, 3)
    yield ring
    ring.close()


@pytest.fixture
def start(ring):
    cameras = []

    def make(uri, **options):
        camera = CameraProcess(uri, ring, **{"patience": QUICK, **options})
        cameras.append(camera)
        camera.start()
        return camera

    yield make
    for camera in cameras:
        camera.close()


def wait_gone(pid, limit_s=10.0):
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        status = Path(f"/proc/{pid}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            return
        time.sleep(0.01)
    pytest.fail(f"process {pid} is still there after {limit_s} s")


def capture(camera, slot=0, newer_than_ns=0):
    camera.request(slot, newer_than_ns)
    return wait_event(camera)


@pytest.mark.parametrize(
    ("fault", "says"), [("hang", "has not answered for 0.4 s"), ("crash", "died"), ("lost", "unplugged")]
)
def test_a_broken_camera_loses_its_requests_once_and_comes_back(start, fault, says):
    camera = start(f"{SMALL}&fault={fault}&fault_at=1")
    assert wait_event(camera) == CameraOpened(SHAPE, is_live=False, is_simulated=True)
    assert capture(camera).source == "0"
    pid = camera.pid
    numbers = [camera.request(slot) for slot in (0, 1)]
    lost = wait_event(camera)
    assert isinstance(lost, CameraLost)
    assert lost.requests == tuple(numbers)
    assert isinstance(lost.error, CameraError)
    assert says in str(lost.error)
    assert not lost.is_final
    wait_gone(pid)
    assert isinstance(wait_event(camera), CameraOpened)
    after = capture(camera)
    assert (after.source, after.seq) == ("3", 1)


def test_a_camera_that_does_not_open_in_time_is_ended_and_tried_again(start):
    camera = start(SMALL, patience=Patience(open_timeout_s=0.0, first_retry_s=0.01))
    pid = camera.pid
    lost = wait_event(camera)
    assert isinstance(lost, CameraLost)
    assert "did not open for 0 s" in str(lost.error)
    assert not lost.is_final
    wait_gone(pid)
    assert isinstance(wait_event(camera), CameraLost)


def test_a_request_without_a_camera_is_answered_at_once(start):
    camera = start(f"{SMALL}&fault=lost", patience=Patience(first_retry_s=60, longest_retry_s=60))
    assert isinstance(wait_event(camera), CameraOpened)
    assert isinstance(capture(camera), CameraLost)
    assert not camera.is_open
    number = camera.request(1)
    lost = camera.next_event(0)
    assert lost.requests == (number,)


def test_retries_wait_longer_and_longer_up_to_a_limit(start):
    clock = [0]
    waits = []
    camera = start(
        "v4l2:///dev/video-that-is-not-there",
        patience=Patience(first_retry_s=0.2, longest_retry_s=5.0),
        now_ns=lambda: clock[0],
        jitter=lambda: 0.5,
    )
    for _ in range(7):
        lost = wait_event(camera)
        assert isinstance(lost, CameraLost)
        assert "v4l2-ctl --list-devices" in str(lost.error)
        waits.append((camera._deadline_ns - clock[0]) / 1e9)
        clock[0] = camera._deadline_ns - 1
        assert camera.next_event(0) is None
        assert camera.pid is None
        clock[0] += 1
    assert waits == pytest.approx([0.15, 0.3, 0.6, 1.2, 2.4, 3.75, 3.75])


def test_what_only_a_person_can_mend_is_not_tried_again(start, tmp_path):
    camera = start(f"folder://{tmp_path / 'nothing'}")
    lost = wait_event(camera)
    assert lost.is_final
    assert isinstance(lost.error, NoInputError)
    assert camera.next_event(0) is None
    assert capture(camera).is_final


def test_a_folder_that_is_unmounted_for_a_while_is_opened_again(start, tmp_path):
    folder, away = tmp_path / "frames", tmp_path / "away"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), np.zeros(SHAPE, np.uint8))
    camera = start(f"folder://{folder}?loop=true")
    assert isinstance(wait_event(camera), CameraOpened)
    folder.rename(away)
    os.kill(camera.pid, signal.SIGKILL)
    assert "died" in str(wait_event(camera).error)
    for _ in range(2):
        lost = wait_event(camera)
        assert isinstance(lost.error, NoInputError)
        assert not lost.is_final
    assert not capture(camera).is_final
    away.rename(folder)
    while isinstance(event := wait_event(camera), CameraLost):
        assert not event.is_final
    assert isinstance(event, CameraOpened)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://u:pa/ss@h", "rtsp://***@h"),
        ("rtsp://u:pa/s@s w@h:554/s?channel=1", "rtsp://***@h:554/s?channel=1"),
        ("rtsp://h/s?user=anna&password=secret", "rtsp://h/s?user=***"),
        ("gst://rtspsrc location=rtsp://u:pa/ss@h/s ! appsink", "gst://rtspsrc location=rtsp://***@h/s ! appsink"),
        ("gst://rtspsrc user-id=anna user-pw=secret ! appsink", "gst://rtspsrc user-id=*** user-pw=*** ! appsink"),
        ('gst://rtspsrc user-pw = "my \\" secret" ! appsink', "gst://rtspsrc user-pw = *** ! appsink"),
        ("gst://rtspsrc user-pw=(string)'my secret' ! appsink", "gst://rtspsrc user-pw=*** ! appsink"),
        ("gst://rtspsrc%20user-pw%3Dsecret%20!%20appsink", "gst://rtspsrc user-pw=*** ! appsink"),
        ("gst://srtsrc passphrase=secret ! appsink", "gst://srtsrc passphrase=*** ! appsink"),
        ("folder:///data/line@2/a?fps=5", "folder:///data/line@2/a?fps=5"),
        ("gst://v4l2src device=/dev/video0 ! appsink", "gst://v4l2src device=/dev/video0 ! appsink"),
    ],
)
def test_a_description_hides_passwords_and_little_else(text, shown):
    assert describe_uri(text) == shown


def test_a_wrong_uri_is_refused_before_anything_starts(ring):
    with pytest.raises(ConfigError, match="Did you mean 'seed'"):
        CameraProcess("synthetic://plate?sed=1", ring)


def test_bad_frames_are_told_and_the_camera_goes_on(start):
    camera = start(f"{SMALL}&fault=size&fault_at=1")
    wait_event(camera)
    kinds = [capture(camera) for _ in range(3)]
    assert [type(kind) for kind in kinds] == [FrameCaptured, BadFrame, FrameCaptured]
    assert kinds[1].reason == "frame_size"
    assert "48 x 40 colour" in kinds[1].message
    assert "96 x 80 colour" in kinds[1].message
    assert [kind.seq for kind in kinds] == [0, 1, 2]


def test_the_ring_decides_the_frame_size(start):
    camera = start("synthetic://plate?size=128x80")
    assert wait_event(camera).frame_shape == (80, 128, 3)
    assert capture(camera).reason == "frame_size"
    assert capture(camera).reason == "frame_size"


def test_the_descriptor_to_wait_on_stays_the_same_after_a_restart(start):
    camera = start(f"{SMALL}&fault=crash&fault_at=0")
    descriptor = camera.fileno()
    wait_event(camera)
    assert isinstance(capture(camera), CameraLost)
    wait_event(camera)
    assert isinstance(capture(camera), FrameCaptured)
    assert camera.fileno() == descriptor


def test_ctrl_c_does_not_end_the_camera_and_close_does(start):
    camera = start(SMALL)
    wait_event(camera)
    pid = camera.pid
    os.kill(pid, signal.SIGINT)
    assert isinstance(capture(camera), FrameCaptured)
    assert camera.pid == pid
    camera.close()
    wait_gone(pid)


@pytest.mark.parametrize("fault", ["", "&fault=hang"])
def test_the_camera_process_ends_with_the_agent_even_while_it_hangs(fault):
    agent = (
        "import sys, time\n"
        "from edge_agent.camera.client import CameraProcess\n"
        "from edge_agent.ring import FrameRing\n"
        f"camera = CameraProcess({SMALL + fault!r}, FrameRing.create({SHAPE!r}, 1))\n"
        "camera.start()\n"
        "camera.next_event(10)\n"
        "camera.request(0)\n"
        "print(camera.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", agent], stdout=subprocess.PIPE, text=True) as process:
        pid = int(process.stdout.readline())
        process.kill()
    wait_gone(pid)


def test_the_camera_process_is_small_and_loads_nothing_heavy(start):
    camera = start(SMALL)
    wait_event(camera)
    for _ in range(30):
        capture(camera)
    status = Path(f"/proc/{camera.pid}/status").read_text()
    resident_mb = int(status.split("VmRSS:")[1].split()[0]) / 1024
    # Distributions link OpenCV with GStreamer, Qt and VTK.
    assert resident_mb < (200 if has_gstreamer() else 100)
    maps = Path(f"/proc/{camera.pid}/maps").read_text()
    assert not [name for name in ("torch", "onnxruntime", "pydantic") if f"/{name}/" in maps]


def test_the_camera_process_imports_no_heavy_library():
    code = (
        "import sys, edge_agent.camera.process, edge_agent.camera.folder, edge_agent.camera.synthetic\n"
        "import edge_agent.camera.video_file, edge_agent.camera.v4l2, edge_agent.camera.gstreamer\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("torch", "onnxruntime", "pydantic", "paho", "yaml", "rich") if f"'{name}'" in out]


def test_a_password_is_neither_in_messages_nor_in_the_process_list(start):
    camera = start("rtsp://anna:secret@127.0.0.1:1/stream", patience=Patience())
    command = Path(f"/proc/{camera.pid}/cmdline").read_bytes()
    lost = wait_event(camera)
    assert b"secret" not in command
    assert "secret" not in str(lost.error)
    assert "secret" not in repr(lost)
    assert "127.0.0.1" in str(lost.error)


def test_probing_tells_the_shape_and_leaves_no_process(tmp_path):
    assert probe_camera(SMALL).frame_shape == SHAPE
    with pytest.raises(NoInputError):
        probe_camera(f"folder://{tmp_path}")
    with pytest.raises(CameraError, match="did not open"):
        probe_camera(SMALL, timeout_s=0)
