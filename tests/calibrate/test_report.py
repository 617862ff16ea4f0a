import base64
import json

import cv2
import numpy as np
import pytest

from calibrate.cli import main
from edge_agent.masks import encode_png, encode_rle
from engines.files import sha256_of


@pytest.fixture
def known(tmp_path, good_frames_folder):
    """Two good parts and two with a bar: test/bar comes first in the order of paths."""
    root = tmp_path / "known"
    for folder in ("test/good", "test/bar", "ground_truth/bar"):
        (root / folder).mkdir(parents=True)
    mask = np.zeros((80, 96), np.uint8)
    mask[30:46, 30:50] = 255
    for name in ("000.png", "001.png"):
        frame = cv2.imread(str(good_frames_folder / name))
        cv2.imwrite(str(root / "test/good" / name), frame)
        frame[mask > 0] = 0
        cv2.imwrite(str(root / "test/bar" / name), frame)
        cv2.imwrite(str(root / "ground_truth/bar" / f"{name[:3]}_mask.png"), mask)
    return root


def line(frame_seq, verdict, *, mask=None, mask_png=None, reasons=(), **origin):
    content = {
        "frame_seq": frame_seq,
        "verdict": verdict,
        "score": 5.0,
        "limit": 4.0,
        "mask": mask,
        "reasons": reasons,
        "station": "cell",
        "decided_at": "2026-01-01T00:00:00Z",
        "model_sha256": MODEL,
        "threshold_rev": "r0001",
        **origin,
    }
    return json.dumps({"verdict": content, "mask_png": mask_png}) + "\n"


MODEL = "model of the recipe"


def report(recipe, known, verdicts, tmp_path, *more):
    model = sha256_of(recipe / "model.cpu.onnx")[:12]
    (tmp_path / "verdicts.jsonl").write_text("".join(verdicts).replace(MODEL, model))
    page = tmp_path / "report.html"
    words = ["report", recipe, known, "--verdicts", tmp_path / "verdicts.jsonl", "--html", page, *more]
    return main([str(word) for word in words]), page


@pytest.mark.parametrize("option", ["--html", "--picture"])
def test_a_page_or_picture_that_cannot_be_written_is_refused_before_the_work(
    fitted_recipe, known, tmp_path, capsys, option
):
    code, _ = report(fitted_recipe, known, [], tmp_path, option, tmp_path / "nowhere" / "file")
    assert code == 64
    assert f"{option}: " in capsys.readouterr().err


def test_the_page_needs_no_other_file_and_counts_the_verdicts(fitted_recipe, known, tmp_path, capsys):
    mask = np.zeros((80, 96), bool)
    mask[30:46, 30:50] = True
    rle = {"encoding": "coco_rle", "size_wh": [96, 80], "data": encode_rle(mask).decode()}
    png = {"encoding": "png", "size_wh": [96, 80], "topic": "mask/x"}
    verdicts = [
        line(0, "FAIL", mask=rle),
        line(1, "FAIL", mask=png, mask_png=base64.b64encode(encode_png(mask)).decode()),
        line(2, "PASS"),
        line(3, "INVALID", reasons=["no_frame"]),
    ]
    code, page = report(fitted_recipe, known, verdicts, tmp_path, "--picture", tmp_path / "one.png")
    assert code == 0
    text = page.read_text()
    assert 'src="data:image/jpeg;base64,' in text
    assert "http" not in text
    assert "<tr><th>bar</th><td>0</td><td>2</td><td>0</td></tr>" in text
    assert "<tr><th>good</th><td>1</td><td>0</td><td>1</td></tr>" in text
    assert "2 defective parts: 2 caught, 0 passed. 2 good parts: 1 rejected." in text
    assert "INVALID: no_frame" in text
    picture = cv2.imread(str(tmp_path / "one.png"))
    assert picture.shape == (200, 4 * 240 + 3 * 8, 3)
    last = picture[:, -240:].astype(int)
    red = (last[:, :, 2] - last[:, :, 1] > 60).nonzero()
    assert 70 <= np.median(red[0]) <= 120
    assert 70 <= np.median(red[1]) <= 130


def test_frame_and_reconstruction_lie_alike_and_missing_verdicts_are_said(fitted_recipe, known, tmp_path, capsys):
    mask = {"encoding": "coco_rle", "size_wh": [96, 80], "data": encode_rle(np.ones((80, 96), bool)).decode()}
    verdicts = [line(0, "FAIL", mask=mask), line(0, "FAIL", mask=mask), line(2, "PASS")]
    code, page = report(fitted_recipe, known, verdicts, tmp_path, "--picture", tmp_path / "one.png")
    assert code == 0
    assert "Only 2 of 4 frames have a verdict." in page.read_text()
    assert "Only 2 of 4 frames have a verdict." in capsys.readouterr().out
    picture = cv2.imread(str(tmp_path / "one.png")).astype(float)
    # A plate is bright on dark, and in the middle of the frame.
    middles = [np.argwhere(panel.mean(axis=2) > 110).mean(axis=0) for panel in (picture[:, :240], picture[:, 248:488])]
    assert np.abs(middles[0] - middles[1]).max() < 8


@pytest.mark.parametrize("text", ["{}\n", "no json\n", line(99, "PASS")])
def test_verdicts_of_something_else_are_refused(fitted_recipe, known, tmp_path, capsys, text):
    code, _ = report(fitted_recipe, known, [text], tmp_path)
    assert code == 65
    assert "verdicts.jsonl:1 is not a verdict on a frame" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no verdict in the file"),
        (line(0, "FAIL", model_sha256="0" * 12), "a verdict is of model 000000000000"),
        (line(0, "FAIL", threshold_rev="r0009"), "thresholds r0009"),
    ],
)
def test_verdicts_of_another_recipe_are_refused(fitted_recipe, known, tmp_path, capsys, text, said):
    code, page = report(fitted_recipe, known, [text], tmp_path)
    assert code == 65
    assert said in capsys.readouterr().err
    assert not page.exists()
