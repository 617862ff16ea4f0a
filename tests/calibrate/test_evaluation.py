import csv
import json
import math
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibrate.cli import main
from calibrate.conformal import chance_of_at_least
from calibrate.evaluation import evaluate
from calibrate.known_frames import read_known_frames
from calibrate.recipe_engine import RecipeEngine
from engines.images import pixel_sha256, read_image

COMMANDS = Path(__file__).parents[2] / "docs" / "commands.md"
OLD_KEYS = {
    *("image_auroc", "pixel_auroc", "aupro", "recall", "precision", "f1", "false_reject_rate"),
    *("caught", "false_passes", "false_rejects", "passed", "promised_false_reject_rate", "promised_bound_95"),
    *("frames", "by_label", "recipe", "model_sha256", "threshold_rev"),
}
BY_DEFECT_KEYS = {
    *("image_auroc", "image_auroc_interval_95", "average_precision", "f1", "precision", "recall", "accuracy"),
    *("confusion", "pixel_auroc", "aupro", "aupro_005", "iou", "dice", "frames"),
}


def add_defects(root, label, frames, value, *, masks=True):
    for folder in (root / "test" / label, root / "ground_truth" / label):
        folder.mkdir(parents=True)
    for index, path in enumerate(frames):
        frame = cv2.imread(str(path))
        mask = np.zeros(frame.shape[:2], np.uint8)
        mask[30:46, 20 + 5 * index : 40 + 5 * index] = 255
        frame[mask > 0] = value
        cv2.imwrite(str(root / "test" / label / path.name), frame)
        cv2.imwrite(str(root / "ground_truth" / label / f"{path.stem}_mask.png"), mask)
    if not masks:
        shutil.rmtree(root / "ground_truth" / label)


@pytest.fixture
def dataset(tmp_path, good_frames_folder):
    root = tmp_path / "known"
    frames = sorted(good_frames_folder.glob("*.png"))[:6]
    (root / "test/good").mkdir(parents=True)
    for path in frames:
        shutil.copy(path, root / "test/good" / path.name)
    add_defects(root, "bar", frames, 0)
    return root


def figures_of(recipe, dataset):
    target = dataset.parent / "figures.json"
    assert main(["evaluate", str(recipe), str(dataset), "--json", str(target)]) == 0
    return json.loads(target.read_text())


def test_evaluation_finds_plain_defects_and_writes_the_figures(fitted_recipe, dataset):
    figures = figures_of(fitted_recipe, dataset)
    assert set(figures) >= OLD_KEYS
    assert figures["image_auroc"] == 1.0
    assert figures["image_auroc_interval_95"] == [1.0, 1.0]
    assert figures["recall"] == 1.0
    assert figures["pixel_auroc"] > 0.9
    assert 0 < figures["aupro_005"] < figures["aupro"] <= 1
    assert figures["dice"] == pytest.approx(2 * figures["iou"] / (1 + figures["iou"]))
    assert figures["by_label"]["bar"] == {"frames": 6, "rejected": 6}
    assert set(figures["by_defect"]["bar"]) >= BY_DEFECT_KEYS
    assert {k: v for k, v in figures["by_defect"]["bar"].items() if k != "frames"}.items() <= figures.items()
    assert (figures["frames"], figures["pixel_frames"], figures["good_parts"]) == (12, 12, 6)
    assert figures["seconds_per_1000_frames"] > 0


def test_every_figure_is_documented(fitted_recipe, dataset):
    figures = figures_of(fitted_recipe, dataset)
    section = COMMANDS.read_text(encoding="utf-8").split("## `edge-calibrate evaluate`\n")[1].split("\n## ")[0]
    first_cells = re.findall(r"^\| ([^|]*) \|", section.split("| figure | meaning |")[1], re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(first_cells))) == set(figures)


def test_good_frames_that_taught_the_network_are_counted_and_it_is_said(fitted_recipe, dataset, capsys):
    uses = {row["file"]: row["use"] for row in csv.DictReader((fitted_recipe / "images.csv").read_text().splitlines())}
    taught = sum(uses[path.name] != "set_aside" for path in (dataset / "test/good").iterdir())
    assert taught
    page = dataset.parent / "page.html"
    assert main(["evaluate", str(fitted_recipe), str(dataset), "--html", str(page)]) == 0
    said = f"{taught} of the 6 good frames taught the network"
    assert said in capsys.readouterr().out
    assert said in page.read_text(encoding="utf-8")
    for path in (dataset / "test/good").iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path)) ^ 1)
    assert figures_of(fitted_recipe, dataset)["good_frames_taught"] == 0
    assert "taught the network" not in capsys.readouterr().out


def test_frames_that_made_the_thresholds_do_not_say_whether_the_promise_holds(
    fitted_recipe, good_frames_folder, dataset, tmp_path, capsys
):
    uses = read_known_frames(fitted_recipe).uses
    for old in (dataset / "test/good").iterdir():
        old.unlink()
    aside = [p for p in sorted(good_frames_folder.glob("*.png")) if uses[pixel_sha256(read_image(p))] == "set_aside"]
    for path in aside[:6]:
        shutil.copy(path, dataset / "test/good")
    assert figures_of(fitted_recipe, dataset)["good_frames_fitted"] == 6
    said = capsys.readouterr().out
    assert "That says nothing of the promise" in said
    assert "held" not in said
    for path in (dataset / "test/good").iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path)) ^ 1)
    assert figures_of(fitted_recipe, dataset)["good_frames_fitted"] == 0
    assert "says nothing of the promise" not in capsys.readouterr().out


def test_energy_is_a_figure_or_null_with_a_reason(fitted_recipe, dataset):
    figures = figures_of(fitted_recipe, dataset)
    if figures["energy_wh_per_1000_frames"] is None:
        assert figures["energy_note"].startswith("Not measured: ")
    else:
        assert figures["energy_wh_per_1000_frames"] > 0


def test_the_pixels_are_those_of_maps_and_masks_at_the_size_of_the_file(fitted_recipe, dataset):
    sklearn = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn: pip install scikit-learn")
    figures = figures_of(fitted_recipe, dataset)
    engine = RecipeEngine(fitted_recipe)
    _, judged = evaluate(engine, dataset)
    from calibrate.evaluation import revision_in_force
    from edge_agent.decision import decide, z_map

    thresholds = revision_in_force(engine)
    z, marked, truth = [], [], []
    for item in judged:
        maps = engine.maps(engine.load(item.frame.path).pixels)
        z.append(cv2.resize(z_map(maps, thresholds), (96, 80)))
        defect_mask = decide(maps, thresholds, roi_size_wh=(96, 80)).defect_mask
        rows, columns = ((2 * np.arange(size) + 1) * 64 // (2 * size) for size in (80, 96))
        marked.append(defect_mask[rows][:, columns])
        mask = np.zeros((80, 96), bool)
        if item.frame.mask_path:
            mask = cv2.imread(str(item.frame.mask_path), cv2.IMREAD_GRAYSCALE) > 127
        truth.append(mask)
    engine.close()
    z, marked, truth = (np.stack(part).ravel() for part in (z, marked, truth))
    assert figures["pixel_auroc"] == pytest.approx(sklearn.roc_auc_score(truth, z))
    assert figures["iou"] == pytest.approx(sklearn.jaccard_score(truth, marked))
    assert figures["dice"] == pytest.approx(sklearn.f1_score(truth, marked))


def test_without_masks_the_pixel_metrics_are_null(fitted_recipe, dataset):
    shutil.rmtree(dataset / "ground_truth")
    figures = figures_of(fitted_recipe, dataset)
    for part in (figures, figures["by_defect"]["bar"]):
        assert [part[n] for n in ("pixel_auroc", "aupro", "aupro_005", "iou", "dice")] == [None] * 5
    assert figures["image_auroc"] == 1.0
    assert figures["pixel_frames"] == 0


def test_what_is_never_inspected_is_said_with_the_pixel_figures(
    fitted_recipe, dataset, good_frames_folder, tmp_path, capsys
):
    recipe, ignored = shutil.copytree(fitted_recipe, tmp_path / "recipe"), np.zeros((80, 96), np.uint8)
    ignored[:, 48:] = 255
    cv2.imwrite(str(tmp_path / "ignored.png"), ignored)
    assert "Never inspected" not in (figures_of(recipe, dataset), capsys.readouterr().out)[1]
    words = ["--images", str(good_frames_folder), "--ignore", str(tmp_path / "ignored.png"), "--sensitivity", "4"]
    assert main(["fit", str(recipe), "--false-reject-rate", "0.1", *words]) == 0
    assert main(["evaluate", str(recipe), str(dataset), "--html", str(tmp_path / "page.html")]) == 0
    said = "Never inspected are 50 % of their pixels and 31.7 % of the defective ones"
    assert said in capsys.readouterr().out
    assert said in (tmp_path / "page.html").read_text(encoding="utf-8")
    figures = figures_of(recipe, dataset)
    # Bars of 20 columns from column 20, 25 and so on to 45, of which those below 48 are inspected.
    assert figures["defective_inspected_share"] == (20 + 20 + 18 + 13 + 8 + 3) / 120
    assert figures["by_defect"]["bar"]["inspected_share"] == figures["inspected_share"] == 0.5
    assert figures["aupro"] <= figures["defective_inspected_share"]


def test_a_type_without_masks_counts_for_the_images_only(fitted_recipe, dataset, good_frames_folder, capsys):
    before = figures_of(fitted_recipe, dataset)
    add_defects(dataset, "dot", sorted(good_frames_folder.glob("*.png"))[10:13], 255, masks=False)
    figures = figures_of(fitted_recipe, dataset)
    assert figures["by_defect"]["dot"]["aupro"] is None
    assert figures["by_defect"]["dot"]["recall"] == 1.0
    assert figures["by_defect"]["bar"] == before["by_defect"]["bar"]
    names = ("pixel_auroc", "aupro", "aupro_005", "iou", "dice")
    assert [figures[n] for n in names] == [before[n] for n in names]
    assert (figures["frames"], figures["pixel_frames"]) == (15, 12)
    assert "Pixel figures are of the 12 frames" in capsys.readouterr().out


def test_types_are_measured_apart_against_the_same_good_frames(fitted_recipe, dataset, good_frames_folder):
    alone = figures_of(fitted_recipe, dataset)["by_defect"]["bar"]
    add_defects(dataset, "faint", sorted(good_frames_folder.glob("*.png"))[10:13], (95, 112, 142))
    figures = figures_of(fitted_recipe, dataset)
    assert figures["by_defect"]["bar"] == alone
    assert figures["aupro"] != alone["aupro"]
    shutil.rmtree(dataset / "test/bar")
    faint = figures["by_defect"]["faint"]
    assert {k: v for k, v in faint.items() if k != "frames"}.items() <= figures_of(fitted_recipe, dataset).items()


def test_an_invalid_frame_is_a_reject_without_a_map(fitted_recipe, dataset):
    black = np.zeros((80, 96, 3), np.uint8)
    cv2.imwrite(str(dataset / "test/good/black.png"), black)
    cv2.imwrite(str(dataset / "test/bar/black.png"), black)
    cv2.imwrite(str(dataset / "ground_truth/bar/black_mask.png"), np.full((80, 96), 255, np.uint8))
    figures = figures_of(fitted_recipe, dataset)
    assert figures["confusion"]["good"]["INVALID"] == figures["confusion"]["defective"]["INVALID"] == 1
    assert figures["invalid_reasons"] == {"black_frame": 2}
    assert figures["by_label"] == {"bar": {"frames": 7, "rejected": 7}, "good": {"frames": 7, "rejected": 1}}
    assert (figures["caught"], figures["false_rejects"]) == (7, 1)
    # Of 49 pairs, the six plain defects lose against the INVALID good frame, and the two INVALID ones tie.
    assert figures["image_auroc"] == pytest.approx((49 - 6 - 0.5) / 49)
    assert (figures["frames"], figures["pixel_frames"]) == (14, 12)


def test_good_frames_alone_have_a_rate_and_no_ranking(fitted_recipe, dataset):
    shutil.rmtree(dataset / "test/bar")
    figures = figures_of(fitted_recipe, dataset)
    assert figures["by_defect"] == {}
    assert [figures[n] for n in ("image_auroc", "recall", "aupro", "iou")] == [None] * 4
    assert figures["false_reject_rate"] == 0


def test_groups_beside_the_images_are_the_parts(fitted_recipe, dataset):
    alone = figures_of(fitted_recipe, dataset)
    for label in ("good", "bar"):
        names = sorted(path.name for path in (dataset / "test" / label).glob("*.png"))
        rows = [f"{name},{'first' if index < 3 else 'second'}\n" for index, name in enumerate(names)]
        (dataset / "test" / label / "groups.csv").write_text("file,group\n" + "".join(rows))
    cv2.imwrite(str(dataset / "test/good/000.png"), np.zeros((80, 96, 3), np.uint8))
    figures = figures_of(fitted_recipe, dataset)
    assert (alone["good_parts"], alone["good_parts_rejected"]) == (6, 0)
    assert (figures["good_parts"], figures["good_parts_rejected"], figures["false_rejects"]) == (2, 1, 1)
    assert (alone["promised_unit"], alone["good_parts_unit"]) == ("frame", "frame")
    assert (figures["promised_unit"], figures["good_parts_unit"]) == ("frame", "part")
    # Four draws of two parts: the one with the black frame twice, once or not at all.
    assert figures["image_auroc_interval_95"] == [pytest.approx(2 / 3), 1.0]


def test_a_groups_file_that_leaves_images_out_is_refused(fitted_recipe, dataset, capsys):
    (dataset / "test/bar/groups.csv").write_text("file,group\n000.png,a\n")
    assert main(["evaluate", str(fitted_recipe), str(dataset)]) == 65
    assert "lacks 5 images of its folder" in capsys.readouterr().err


def test_a_frame_of_another_size_is_named(fitted_recipe, dataset, capsys):
    cv2.imwrite(str(dataset / "test/good/large.png"), np.zeros((200, 200, 3), np.uint8))
    assert main(["evaluate", str(fitted_recipe), str(dataset)]) == 65
    error = capsys.readouterr().err
    assert "large.png" in error
    assert "--resize" in error


def test_files_that_cannot_be_used_are_all_named_before_the_first_is_judged(fitted_recipe, dataset, capsys):
    frames, masks = dataset / "test", dataset / "ground_truth/bar"
    whole = (frames / "good/001.png").read_bytes()
    (frames / "good/001.png").write_bytes(whole[: len(whole) // 2])
    cv2.imwrite(str(frames / "bar/000.png"), np.zeros((200, 200, 3), np.uint8))
    cv2.imwrite(str(masks / "001_mask.png"), np.full((64, 64), 255, np.uint8))
    cv2.imwrite(str(masks / "002_mask.png"), cv2.imread(str(masks / "002_mask.png"), cv2.IMREAD_GRAYSCALE) // 255)
    (masks / "003_mask.png").write_bytes(b"no picture")
    assert main(["evaluate", str(fitted_recipe), str(dataset)]) == 65
    error = capsys.readouterr().err
    assert "5 frames and masks cannot be used" in error
    for name, fault in {
        "good/001.png": "ends too early",
        "bar/000.png": "a frame is 200 x 200",
        "001_mask.png": "is 64 x 64, its frame 96 x 80",
        "002_mask.png": "marks nothing of a defective frame: its largest value is 1",
        "003_mask.png": "is not an image",
    }.items():
        assert len(re.findall(rf"{name}:? {fault}", error)) == 1
    assert "judging" not in error


def test_of_many_files_that_cannot_be_used_ten_are_named(fitted_recipe, dataset, capsys):
    for path in dataset.glob("test/*/*.png"):
        path.write_bytes(b"no picture")
    assert main(["evaluate", str(fitted_recipe), str(dataset)]) == 65
    error = capsys.readouterr().err
    assert "12 frames and masks cannot be used" in error
    assert error.count("is not an image") == 10
    assert "and 2 more files" in error


def test_missing_masks_are_named_whatever_their_label(fitted_recipe, dataset, good_frames_folder, capsys):
    add_defects(dataset, "dot", sorted(good_frames_folder.glob("*.png"))[:6], 255)
    for name in ("bar/001_mask.png", "bar/004_mask.png", "dot/003_mask.png"):
        (dataset / "ground_truth" / name).unlink()
    assert main(["evaluate", str(fitted_recipe), str(dataset)]) == 65
    error = capsys.readouterr().err
    assert "lacks the mask of 3 frames: bar/001_mask.png, bar/004_mask.png, dot/003_mask.png. Add them" in error


def test_a_folder_without_test_good_is_no_data_set(fitted_recipe, tmp_path, capsys):
    assert main(["evaluate", str(fitted_recipe), str(tmp_path)]) == 66
    assert "has no test/good" in capsys.readouterr().err


@pytest.mark.parametrize(("rejected", "parts", "rate"), [(0, 20, 0.1), (2, 20, 0.1), (20, 20, 0.5), (1, 1, 0.3)])
def test_the_chance_of_as_many_rejects_is_binomial(rejected, parts, rate):
    terms = [math.comb(parts, k) * rate**k * (1 - rate) ** (parts - k) for k in range(rejected, parts + 1)]
    assert chance_of_at_least(rejected, parts, rate) == pytest.approx(sum(terms))
