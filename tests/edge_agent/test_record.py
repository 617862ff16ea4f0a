import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from edge_agent.cli import main
from edge_agent.synthetic import SyntheticPart
from engines.images import read_image

SMALL = "synthetic://plate?size=96x80&seed=5"


def record(*words):
    return main(["record", *map(str, words)])


def test_frames_become_numbered_png_files_without_loss(tmp_path):
    folder, counts = tmp_path / "new" / "frames", tmp_path / "counts.json"
    assert record("--camera", SMALL, folder, "--frames", 12, "--json", counts) == 0
    files = sorted(folder.iterdir())
    assert [f.name for f in files] == [f"{number:06}.png" for number in range(12)]
    part = SyntheticPart(5, (96, 80))
    assert all(np.array_equal(read_image(f), part.render(n).frame) for n, f in enumerate(files))
    assert json.loads(counts.read_text())["frames"] == 12


def test_labelled_frames_have_the_layout_of_mvtec(tmp_path):
    assert record("--camera", f"{SMALL}&defects=0.5", tmp_path, "--frames", 20, "--labelled") == 0
    part = SyntheticPart(5, (96, 80), defect_share=0.5)
    for number in range(20):
        scene = part.render(number)
        assert np.array_equal(read_image(tmp_path / "test" / scene.label / f"{number:06}.png"), scene.frame)
        mask = tmp_path / "ground_truth" / scene.label / f"{number:06}_mask.png"
        assert mask.exists() == (scene.label != "good")
        if mask.exists():
            assert np.array_equal(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED) > 0, scene.mask)


def test_labels_need_a_camera_that_knows_the_truth(tmp_path, capsys):
    assert record("--camera", f"folder://{tmp_path}", tmp_path / "out", "--labelled") == 64
    assert "Leave out --labelled" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_earlier_recording_is_never_overwritten(tmp_path, capsys):
    assert record("--camera", SMALL, tmp_path, "--frames", 2) == 0
    before = (tmp_path / "000000.png").stat().st_mtime_ns
    assert record("--camera", SMALL, tmp_path, "--frames", 2) == 65
    assert "new folder" in capsys.readouterr().err
    assert (tmp_path / "000000.png").stat().st_mtime_ns == before


def test_a_finite_camera_is_recorded_to_its_end_and_bad_frames_are_left_out(tmp_path, capsys):
    assert record("--camera", f"{SMALL}&frames=5&fault=unreadable&fault_at=2", tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 4
    assert "Left out: Frame 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("uri", "code", "says"),
    [
        ("plate", 78, "not a camera URI"),
        ("folder://does/not/exist", 66, "is not a folder"),
        ("v4l2:///dev/video-that-is-not-there", 69, "v4l2-ctl"),
        (f"{SMALL}&fault=lost", 69, "unplugged"),
        (f"{SMALL}&frames=1&fault=unreadable", 66, "delivered no frame"),
    ],
)
def test_a_camera_that_fails_is_an_exit_code_and_a_message(uri, code, says, tmp_path, capsys):
    assert record("--camera", uri, tmp_path / "out", "--frames", 3) == code
    assert says in capsys.readouterr().err


def test_frames_must_be_at_least_one(tmp_path):
    assert record("--camera", SMALL, tmp_path, "--frames", 0) == 64


@pytest.mark.parametrize(("limit", "code"), [([], 0), (["--frames", "100000"], 130)])
def test_ctrl_c_keeps_what_was_recorded(tmp_path, limit, code):
    # A shell that started the tests in the background has told them to ignore Ctrl-C.
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program += "from edge_agent.cli import main; sys.exit(main())"
    live = f"{SMALL}&live=true&fps=50"
    command = [sys.executable, "-c", program, "record", "--camera", live, str(tmp_path / "out"), *limit]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 20
            while len(list((tmp_path / "out").glob("*.png"))) < 3:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == code, err
    assert "Traceback" not in err
    files = sorted((tmp_path / "out").iterdir())
    assert f"{len(files)} frames" in out
    assert all(read_image(f).shape == (80, 96, 3) for f in files)
