import base64
import json

import cv2
import numpy as np
import pytest

from calibrate.cli import main
from edge_agent.masks import encode_png, encode_rle


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


def line(frame_seq, verdict, *, mask=None, mask_png=None, reasons=()):
    content = {"frame_seq": frame_seq, "verdict": verdict, "score": 5.0, "limit": 4.0, "mask": mask, "reasons": reasons}
    return json.dumps({"verdict": content, "mask_png": mask_png}) + "\n"


def report(recipe, known, verdicts, tmp_path, *more):
    (tmp_path / "verdicts.jsonl").write_text("".join(verdicts))
    page = tmp_path / "report.html"
    words = ["report", recipe, known, "--verdicts", tmp_path / "verdicts.jsonl", "--html", page, *more]
    return main([str(word) for word in words]), page


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
    assert "<tr><th>bar</th><td></td><td>2</td><td></td></tr>" in text
    assert "<tr><th>good</th><td>1</td><td></td><td>1</td></tr>" in text
    assert "INVALID: no_frame" in text
    picture = cv2.imread(str(tmp_path / "one.png"))
    assert picture.shape == (200, 4 * 240 + 3 * 8, 3)
    last = picture[:, -240:].astype(int)
    red = (last[:, :, 2] - last[:, :, 1] > 60).nonzero()
    assert 70 <= np.median(red[0]) <= 120
    assert 70 <= np.median(red[1]) <= 130


@pytest.mark.parametrize("text", ["{}\n", "no json\n", line(99, "PASS")])
def test_verdicts_of_something_else_are_refused(fitted_recipe, known, tmp_path, capsys, text):
    code, _ = report(fitted_recipe, known, [text], tmp_path)
    assert code == 65
    assert "verdicts.jsonl:1 is not a verdict on a frame" in capsys.readouterr().err
