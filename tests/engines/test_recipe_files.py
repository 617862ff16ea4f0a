import csv
import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from engines.cli import main
from engines.errors import EngineError, RecipeError
from engines.golden import GOLDEN_FILE, load_golden, map_difference, verify_engine
from engines.recipe import MANIFEST, MODEL_FILES, load_recipe, write_manifest
from engines.runtime import open_runtime


@pytest.fixture
def recipe(tmp_path, tiny_recipe):
    return shutil.copytree(tiny_recipe, tmp_path / "recipe")


class Answers:
    """A runtime whose maps are given."""

    def __init__(self, runtime, change):
        self._runtime, self._change = runtime, change
        self.name, self.model_sha256 = runtime.name, runtime.model_sha256
        self.frame_shape, self.maps_shape = runtime.frame_shape, runtime.maps_shape
        self.bind, self.close = runtime.bind, runtime.close

    def infer(self, slot):
        return self._change(self._runtime.infer(slot).copy())


@pytest.fixture(params=["cpu", "tensorrt"])
def runtime(request, recipe):
    opened = open_runtime("cpu", recipe / MODEL_FILES[request.param], threads=1)
    yield opened
    opened.close()


def test_a_recipe_is_whole(tiny_recipe):
    recipe = load_recipe(tiny_recipe)
    assert recipe.frame_shape == (80, 96, 3)
    assert recipe.maps_shape == (2, 64, 64)
    assert recipe.box_map_px in {5, 11, 21}
    assert not [path.name for path in tiny_recipe.parent.iterdir() if path != tiny_recipe]
    named = set(json.loads((tiny_recipe / MANIFEST).read_text())["sha256"])
    assert named == {str(p.relative_to(tiny_recipe)) for p in tiny_recipe.rglob("*") if p.is_file()} - {MANIFEST}


def test_images_csv_tells_what_each_image_is_for(tiny_recipe):
    with (tiny_recipe / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    uses = [row["use"] for row in rows]
    assert [uses.count(use) for use in ("trained", "tuning", "set_aside")] == [18, 2, 20]
    assert all(len(row["sha256"]) == 64 for row in rows)


def test_no_file_names_the_machine(tiny_recipe, good_frames_folder):
    for path in tiny_recipe.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(good_frames_folder).encode() not in content, path
            assert b"site-packages" not in content, path


@pytest.mark.parametrize("name", ["model.cpu.onnx", "recipe.yaml", "golden/good-0.png", "golden/golden.yaml", MANIFEST])
@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_a_damaged_file_is_named(recipe, name, damage):
    path = recipe / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:-2] + b"#" + content[-1:])
    with pytest.raises(RecipeError, match=r"again|folder") as caught:
        load_recipe(recipe)
    assert name in str(caught.value)


def test_golden_frames_are_good_and_defective(tiny_recipe):
    golden = load_golden(tiny_recipe)
    assert [frame.kind for frame in golden] == ["good"] * 4 + ["defect"] * 3
    assert all(frame.frame.shape == (80, 96, 3) for frame in golden)
    assert all(frame.tolerance == 0.02 for frame in golden)


def test_the_defects_stand_out(tiny_recipe):
    good, defect = [], []
    for frame in load_golden(tiny_recipe):
        (good if frame.kind == "good" else defect).append(frame.expected_maps("cpu").max(axis=(1, 2)))
    assert (np.min(defect, axis=0) > np.max(good, axis=0)).all()


def test_a_sound_engine_is_verified(runtime, recipe):
    slot = np.zeros(runtime.frame_shape, np.uint8)
    runtime.bind([np.zeros(runtime.frame_shape, np.uint8), slot])
    results = verify_engine(runtime, recipe, slot, slot=1)
    assert len(results) == 7
    assert max(result.difference for result in results) < 1e-3
    assert verify_engine(runtime, recipe)


@pytest.mark.parametrize(
    "change",
    [
        lambda maps: maps * 1.03,
        np.zeros_like,
        lambda maps: np.full_like(maps, np.nan),
        lambda maps: maps[:, ::-1],
    ],
)
def test_a_wrong_engine_is_refused(runtime, recipe, change):
    with pytest.raises(EngineError, match=r"golden maps .*good-0\.png"):
        verify_engine(Answers(runtime, change), recipe)


def test_a_small_difference_is_tolerated(runtime, recipe):
    assert verify_engine(Answers(runtime, lambda maps: maps * 1.015), recipe)


def test_the_engine_of_another_recipe_is_refused(runtime, recipe):
    for kind in ("cpu", "tensorrt"):
        path = recipe / MODEL_FILES[kind]
        path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(EngineError, match="not an INT8 file"):
        verify_engine(runtime, recipe)


def test_golden_without_a_defect_is_refused(recipe):
    path = recipe / "golden" / GOLDEN_FILE
    path.write_text(path.read_text().replace("kind: defect", "kind: good"))
    with pytest.raises(RecipeError, match="with a defect"):
        load_golden(recipe)


def test_map_difference():
    maps = np.full((1, 4, 4), 2.0, np.float32)
    assert map_difference(maps * 1.5, maps) == pytest.approx(0.5)
    assert map_difference(maps * 0, maps * 0) == 0
    assert np.isnan(map_difference(maps * np.nan, maps))
    with pytest.raises(EngineError, match=r"\(1, 4, 4\)"):
        map_difference(maps[:, :2], maps)


def test_verify_and_bench(tiny_recipe, tmp_path, capsys):
    assert main(["verify", str(tiny_recipe), "--json", str(tmp_path / "v.json")]) == 0
    assert json.loads((tmp_path / "v.json").read_text())["passed"] is True
    assert main(["bench", str(tiny_recipe), "--runs", "3", "--json", str(tmp_path / "b.json")]) == 0
    assert set(json.loads((tmp_path / "b.json").read_text())["models"]) == set(MODEL_FILES)
    assert "load average" in capsys.readouterr().out


def test_verify_fails_on_golden_maps_that_differ(recipe, capsys):
    path = recipe / "golden" / "good-1.cpu.npy"
    np.save(path, np.load(path) * 1.5)
    manifest = recipe / MANIFEST
    content = json.loads(manifest.read_text())
    del content["sha256"]["golden/good-1.cpu.npy"]
    manifest.write_text(json.dumps(content))
    assert main(["verify", str(recipe)]) == 69
    assert "DIFFERS" in capsys.readouterr().out


def test_verify_looks_at_every_threshold_revision(recipe, capsys):
    revision = recipe / "thresholds" / "r0001"
    revision.mkdir(parents=True)
    (revision / "scale.npy").write_bytes(b"12")
    (recipe / "thresholds" / ".new").mkdir()
    assert main(["verify", str(recipe)]) == 78
    assert "r0001 has no manifest.json: it is incomplete" in capsys.readouterr().err
    write_manifest(revision, versions={})
    assert main(["verify", str(recipe)]) == 0
    (revision / "scale.npy").write_bytes(b"1")
    assert main(["verify", str(recipe)]) == 78
    assert "r0001 is damaged: scale.npy was altered or truncated" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--size", "100"], 64, "divisible by 16"),
        (["--size", "huge"], 64, "--size"),
        (["--roi", "1,2,3"], 64, "--roi"),
        (["--roi", "50,0,64,64"], 64, "leaves the frame"),
        (["--errors", "mse"], 64, "l2, ssim, msgms"),
        (["--steps", "0"], 64, "--steps"),
        (["--minutes", "nan"], 64, "--minutes"),
        (["--minutes", "inf"], 64, "at most 525600"),
        (["--seed", str(2**64), "--steps", "1", "--size", "64"], 64, "--seed"),
        (["--json", "none/t.json", "--steps", "1", "--size", "64"], 64, "--json: none/t.json cannot be written"),
        (["--width", "20"], 64, "multiple of 16"),
        (["--name", "../x"], 64, "--name"),
        (["--steps", "3", "--minutes", "1"], 64, ""),
    ],
)
def test_train_refuses_a_wrong_command_line(good_frames_folder, tmp_path, capsys, *, words, code, message):
    recipe = tmp_path / "recipe"
    assert main(["train", str(good_frames_folder), "--recipe", str(recipe), *words]) == code
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_train_never_overwrites_a_recipe(good_frames_folder, recipe, capsys):
    assert main(["train", str(good_frames_folder), "--recipe", str(recipe)]) == 64
    assert "never overwritten" in capsys.readouterr().err


def test_train_on_bad_images_leaves_nothing_behind(tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    (images / "text.png").write_text("no image")
    assert main(["train", str(images), "--recipe", str(tmp_path / "recipe")]) == 65
    assert "text.png" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_verification_needs_neither_torch_nor_onnx():
    program = (
        "import sys, engines.golden, engines.runtime, engines.runtime.onnxruntime_cpu, engines.recipe, engines.dataset;"
        "print([n for n in ('torch', 'onnx', 'onnxscript') if n in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_letterboxed_recipe_is_made_and_verified(tmp_path, good_frames_folder, capsys):
    images = tmp_path / "images"
    shutil.copytree(good_frames_folder, images)
    for path in sorted(images.iterdir())[:12]:
        frame = cv2.imread(str(path))
        cv2.imwrite(str(path), cv2.resize(frame, (120, 80)))
    target = tmp_path / "recipe"
    words = ["--size", "64", "--steps", "5", "--width", "16", "--errors", "l2", "--resize", "letterbox", "--rotates"]
    assert main(["train", str(images), "--recipe", str(target), *words, "--json", str(tmp_path / "t.json")]) == 0
    recipe = load_recipe(target)
    assert (recipe.resize, recipe.frame_shape, recipe.maps_shape) == ("letterbox", (80, 96, 3), (1, 64, 64))
    assert json.loads((tmp_path / "t.json").read_text())["steps"] == 5
    assert "a live station takes one size" in capsys.readouterr().out
    assert main(["verify", str(target)]) == 0


def test_a_wide_grey_recipe_skips_a_damaged_image(tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    random = np.random.default_rng(0)
    for index in range(100):
        cv2.imwrite(str(images / f"{index:03d}.png"), random.integers(90, 110, (70, 130), np.uint8))
    shutil.copy(images / "007.png", images / "again.png")
    (images / "damaged.png").write_bytes((images / "007.png").read_bytes()[:99])
    target = tmp_path / "recipe"
    words = ["--size", "96", "--steps", "1", "--width", "16", "--errors", "l2"]
    assert main(["train", str(images), "--recipe", str(target), *words]) == 0
    output = capsys.readouterr()
    assert "files that cannot be used and are skipped: 1\n" in output.err
    assert "damaged.png ends too early (truncated PNG)" in output.err
    assert "again.png shows the pixels of 007.png" in output.err
    assert "a live station" not in output.out
    assert load_recipe(target).maps_shape == (1, 64, 128)
    figures = json.loads((target / "training.json").read_text())
    assert figures["skipped"] == 1
    assert sum(figures["images"].values()) == 100
    assert "damaged" not in (target / "images.csv").read_text()
    assert main(["verify", str(target)]) == 0
