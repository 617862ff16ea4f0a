"""A camera that hangs, repeats itself, goes black, changes its size, or is unplugged."""

import os
import signal

import pytest

_AT = 3
_LIVE = "&live=true&fps=50"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (f"{_LIVE}&fault=frozen&fault_at=0&fault_frames=1000000", "frozen_frame"),
        (f"&fault=black&fault_at={_AT}&fault_frames=2", "black_frame"),
        (f"&fault=white&fault_at={_AT}&fault_frames=2", "blown_out_frame"),
        (f"&fault=size&fault_at={_AT}&fault_frames=2", "frame_size"),
        (f"&fault=unreadable&fault_at={_AT}&fault_frames=2", "unreadable_frame"),
    ],
    ids=["repeats", "black", "white", "size", "unreadable"],
)
def test_frames_that_show_nothing_are_invalid(make_line, options, reason):
    line = make_line(options).start()
    results = [line.plc.ask() for _ in range(8)]
    line.check()
    bad = [result for result in results if result.verdict and reason in result.verdict["reasons"]]
    assert len(bad) >= 2
    assert {(result.action, result.verdict["verdict"]) for result in bad} == {("reject", "INVALID")}


@pytest.mark.parametrize("fault", ["hang", "lost", "crash"])
def test_a_camera_that_goes_away_comes_back(make_line, fault):
    line = make_line(f"&fault={fault}&fault_at={_AT}").start()
    for _ in range(_AT):
        line.plc.ask()
    hit = line.plc.ask()
    line.converges("error", "camera_lost", after=f"camera: {fault}")
    line.wait_for_state("ready")
    assert hit.action == "reject"
    assert line.next_verdict()["reasons"] == []
    line.check()


def test_kill_9_of_the_camera_process_while_it_takes_a_frame(make_line):
    line = make_line(f"{_LIVE}").start()
    line.plc.ask()
    camera = line.camera_pid()
    os.kill(camera, signal.SIGSTOP)
    trigger = line.plc.send()
    line.wait_for_step(trigger.meas_id, "journalled")
    os.kill(camera, signal.SIGKILL)
    line.converges("error", "camera_lost", after="kill -9 of the camera")
    line.wait_for_state("ready")
    line.check()
    assert [verdict["verdict"] for verdict in line.plc.verdicts_of(trigger)] == ["INVALID"]
