import json
import re
from html.parser import HTMLParser
from itertools import product

import cv2
import numpy as np
import pytest

from calibrate.cli import main
from calibrate.dataset import LabelledFrame
from calibrate.evaluation import Judged
from calibrate.figures import percent, promise_lines, shown
from calibrate.original_pixels import Placement
from calibrate.worst_frames import worst_false_passes, worst_false_rejects

VOID = {"meta", "img", "rect", "polyline", "circle"}


class Page(HTMLParser):
    """Checks that what is opened is closed, and collects text and pictures."""

    def __init__(self, path):
        super().__init__()
        self.open, self.words, self.sources = [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attributes):
        self.sources += [value for name, value in attributes if name in {"src", "href"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.sources += [value for name, value in attributes if name in {"src", "href"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)


@pytest.fixture
def dataset(tmp_path, good_frames_folder):
    """Four good parts, one with a dark bar that nobody declared, one black, and two defective ones, one of them hidden."""
    root = tmp_path / "known"
    for folder in ("test/good", "test/bar", "ground_truth/bar"):
        (root / folder).mkdir(parents=True)
    mask = np.zeros((80, 96), np.uint8)
    mask[30:46, 30:50] = 255
    for number, name in enumerate(("000.png", "001.png", "002.png", "003.png")):
        frame = cv2.imread(str(good_frames_folder / name))
        dark = frame.copy()
        dark[mask > 0] = 0
        cv2.imwrite(str(root / "test/good" / name), {1: dark, 2: frame * 0}.get(number, frame))
        if number < 2:
            cv2.imwrite(str(root / "test/bar" / name), dark if number else frame)
            cv2.imwrite(str(root / "ground_truth/bar" / f"{name[:3]}_mask.png"), mask)
    return root


def write(recipe, dataset):
    page = dataset.parent / "page.html"
    assert main(["evaluate", str(recipe), str(dataset), "--html", str(page)]) == 0
    return Page(page)


def test_the_page_stands_alone_and_says_what_happened(fitted_recipe, dataset, capsys):
    page = write(fitted_recipe, dataset)
    assert len(page.sources) == 3 + 3 + 1
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert "2 defective: 1 caught, 1 passed. 4 good: 2 rejected." in page.text
    assert "Measured: 2 of 4 good frames, 50 %, with 95 % confidence no more than 90.2 %." in page.text
    assert "1: the frame is darker than any good one" in page.text
    for part in ("bar/000.png", "good/001.png", "good/002.png", "INVALID: the frame is darker"):
        assert part in page.text
    assert "bar/001.png" not in page.text
    assert "Measured: 2 of 4 good frames, 50 %, with 95 % confidence no more than 90.2 %." in capsys.readouterr().out


def test_without_masks_and_mistakes_the_page_says_so(fitted_recipe, dataset):
    for path in (dataset / "ground_truth/bar").iterdir():
        path.unlink()
    (dataset / "ground_truth/bar").rmdir()
    for name in ("good/001.png", "good/002.png", "bar/000.png"):
        (dataset / "test" / name).unlink()
    for path in (dataset / "test/good").iterdir():
        # Of frames that the recipe knows nothing would be said of the promise.
        cv2.imwrite(str(path), cv2.imread(str(path)) ^ 1)
    page = write(fitted_recipe, dataset)
    assert page.sources == []
    for words in (
        "takes masks of defective frames",
        "Every defective frame was rejected.",
        "Every good frame passed.",
        "The promise held.",
    ):
        assert words in page.text


def test_good_frames_alone_give_a_page(fitted_recipe, dataset):
    for path in (dataset / "test/bar").iterdir():
        path.unlink()
    (dataset / "test/bar").rmdir()
    page = write(fitted_recipe, dataset)
    assert "The data set has no defective frames." in page.text
    assert "AUROC 0" not in page.text


def test_a_page_that_cannot_be_written_takes_no_figures_with_it(fitted_recipe, dataset, capsys):
    figures = dataset.parent / "figures.json"
    # Legal itself, but too long for the temporary file beside it.
    page = dataset.parent / f"{'a' * 248}.html"
    words = ["evaluate", str(fitted_recipe), str(dataset), "--json", str(figures), "--html", str(page)]
    assert main(words) == 74
    said = capsys.readouterr()
    assert "File name too long" in said.err
    assert "Measured: 2 of 4 good" in said.out
    assert json.loads(figures.read_text())["caught"] == 1


@pytest.mark.parametrize("option", ["--html", "--json"])
@pytest.mark.parametrize("name", ["missing/file", "known"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(fitted_recipe, dataset, capsys, option, name):
    assert main(["evaluate", str(fitted_recipe), str(dataset), option, str(dataset.parent / name)]) == 64
    said = capsys.readouterr().err
    assert f"{option}: {dataset.parent / name} cannot be written." in said
    assert "judging" not in said


def judged(label, score, verdict="PASS"):
    frame = LabelledFrame(path=None, label=label, mask_path=None, group="")
    return Judged(frame, verdict, score, None, None, Placement((0, 0, 1, 1), (1, 1)))


def test_the_worst_come_first():
    items = [judged("bar", 3.0), judged("bar", 1.0), judged("bar", 9.0, "FAIL"), judged("good", 2.0)]
    items += [judged("good", 5.0, "FAIL"), judged("good", 8.0, "FAIL"), judged("good", None, "INVALID")]
    assert [item.score for item in worst_false_passes(items)] == [1.0, 3.0]
    assert [item.score for item in worst_false_rejects(items)] == [None, 8.0, 5.0]


def promised_figures(rejected, promised, measured):
    return {
        "good_parts": 50,
        "good_parts_rejected": rejected,
        "good_parts_unit": measured,
        "promised_false_reject_rate": 0.04,
        "promised_bound_95": 0.09,
        "promised_unit": promised,
        "good_frames_taught": 0,
        "good_frames_fitted": 0,
    }


@pytest.mark.parametrize(
    ("rejected", "verdict"),
    [(0, "The promise held."), (2, "The promise held."), (3, "no more than chance explains"), (12, "hardly chance")],
)
def test_the_promise_is_compared_as_chance_would(rejected, verdict):
    lines = promise_lines(promised_figures(rejected, "part", "part"))
    assert "about 4 % are rejected, with 95 % confidence no more than 9 %" in lines[0]
    assert f"{rejected} of 50 good parts" in lines[1]
    assert verdict in lines[1]


@pytest.mark.parametrize(
    ("rejected", "of", "at_most"), [(0, 1, "95 %"), (0, 12, "22.1 %"), (2, 50, "12.1 %"), (12, 12, "100 %")]
)
def test_few_frames_show_little_and_the_measured_rate_says_so(rejected, of, at_most):
    (said,) = promise_lines({**promised_figures(rejected, "part", "part"), "good_parts": of})[1:]
    assert f"{rejected} of {of} good parts" in said
    assert f"with 95 % confidence no more than {at_most}. " in said


@pytest.mark.parametrize("known", ["good_frames_taught", "good_frames_fitted"])
def test_frames_that_the_recipe_knows_say_nothing_of_the_promise(known):
    said = promise_lines({**promised_figures(0, "part", "part"), known: 1})[1]
    assert "says nothing of the promise" in said
    assert "held" not in said


UNITS = ("part", "block", "frame")


@pytest.mark.parametrize(
    ("promised", "measured"), [pair for pair in product((*UNITS, None), UNITS) if len({*pair}) == 2]
)
@pytest.mark.parametrize("rejected", [0, 12])
def test_a_promise_of_something_else_is_not_judged(promised, measured, rejected):
    said = promise_lines(promised_figures(rejected, promised, measured))[1]
    assert "The promise held" not in said
    assert "light or the camera" not in said
    assert "whether " in said
    assert "cannot be said" in said
    assert "fit again" in said


def test_figures_as_text():
    figures = {"image_auroc": 0.98765, "image_auroc_interval_95": [0.95, 0.9991], "aupro": None}
    assert shown(figures, "image_auroc") == "0.9877 (0.950 to 0.999)"
    assert shown(figures, "aupro") == "-"
    assert [percent(share) for share in (0, 0.0455, 0.5, 1)] == ["0 %", "4.55 %", "50 %", "100 %"]
