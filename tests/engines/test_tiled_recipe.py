"""A recipe with tiles goes the whole way: trained on tiles, the same maps everywhere, fitted, and judged by the agent."""

import importlib.util
import json
import shutil
from contextlib import closing

import cv2
import numpy as np
import pytest
import yaml

from calibrate.cli import main as calibrate
from calibrate.fit import FitWish, fit
from calibrate.recipe_engine import RecipeEngine
from edge_agent.camera.messages import FrameCaptured
from edge_agent.live_recipe import open_live_recipe
from edge_agent.pipeline import Pipeline
from edge_agent.revisions import activate
from edge_agent.ring import FrameRing
from edge_agent.station import EnginePart
from engines.cli import main
from engines.corruptions import Corruptor
from engines.debug_graph import Reconstructor
from engines.golden import load_golden
from engines.images import read_image
from engines.map_choice import choose_maps
from engines.recipe import MODEL_FILES, load_recipe, save_recipe
from engines.runtime import open_runtime
from engines.structure import check_structure, count_gmac, load_model, shapes_of
from engines.tiling import plan_tiling

WORDS = ["--tiles", "2x2", "--size", "64", "--width", "16", "--batch", "4", "--steps", "60", "--errors", "l2,learned"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, good_frames_folder):
    """The generated parts, twice as large."""
    folder = tmp_path_factory.mktemp("large")
    for path in sorted(good_frames_folder.iterdir()):
        cv2.imwrite(str(folder / path.name), cv2.resize(cv2.imread(str(path)), (192, 160)))
    return folder


def ring_of(slots):
    return FrameRing.create((160, 192, 3), slots)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, folder):
    recipe = tmp_path_factory.mktemp("recipes") / "tiled"
    board = ["--tensorboard", str(recipe.parent / "board")] if importlib.util.find_spec("tensorboard") else []
    assert main(["train", str(folder), "--recipe", str(recipe), *WORDS, *board]) == 0
    return recipe


def test_the_network_learns_single_tiles(recipe):
    pytest.importorskip("tensorboard", reason="it is not installed: pip install 'edge-agent[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(recipe.parent / "board"))
    events.Reload()
    (picture, *_) = events.Images("frame, shown, reconstruction, error")
    assert (picture.width, picture.height) == (4 * 64, 4 * 64)


def test_the_recipe_says_how_it_is_tiled(recipe):
    content = load_recipe(recipe)
    assert content.tiles == [2, 2]
    # Two tiles of 64 that share 16.
    assert content.maps_shape == (2, 112, 112)
    figures = json.loads((recipe / "training.json").read_text())
    assert figures["gmac"] == pytest.approx(4 * figures["gmac_per_tile"], abs=0.003)
    assert figures["gmac"] == pytest.approx(count_gmac(load_model(recipe / "model.onnx")), abs=0.001)


def test_an_older_recipe_has_one_tile(tiny_recipe, tmp_path):
    recipe = shutil.copytree(tiny_recipe, tmp_path / "recipe")
    path = recipe / "recipe.yaml"
    content = yaml.safe_load(path.read_text())
    assert content.pop("tiles") == [1, 1]
    path.write_text(yaml.safe_dump(content))
    (recipe / "manifest.json").write_text(json.dumps({"sha256": {}}))
    assert load_recipe(recipe).tiles == [1, 1]
    save_recipe(recipe, load_recipe(recipe))
    assert yaml.safe_load(path.read_text())["tiles"] == [1, 1]


@pytest.mark.parametrize("kind", MODEL_FILES)
def test_every_model_runs_the_core_once_on_all_tiles(recipe, kind):
    model = load_model(recipe / MODEL_FILES[kind])
    check_structure(model, int8=kind == "tensorrt")
    shapes = shapes_of(model)
    assert shapes["core/reconstruction"][0] == (4, 3, 64, 64)
    assert shapes["core/logits"][0] == (4, 1, 64, 64)
    assert shapes["stitch/reconstruction"][0] == (1, 3, 112, 112)
    quantised = [n for n in model.graph.node if n.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    made_by = {name: node.name for node in model.graph.node for name in node.output}
    assert bool(quantised) == (kind != "fp32")
    # What is outside the core stays in float32.
    outside = ("front/", "cut/", "stitch/", "tail/")
    for node in quantised:
        assert not any(made_by.get(name, "").startswith(("front/", "stitch/", "tail/")) for name in node.input)
        assert not node.name.startswith(outside)


def test_the_three_models_give_the_same_maps(recipe, folder):
    frame = read_image(folder / "000.png")
    maps = {}
    for kind, name in MODEL_FILES.items():
        with closing(open_runtime("cpu", recipe / name, threads=1)) as runtime:
            runtime.bind([frame])
            maps[kind] = runtime.infer(0).copy()
    for kind in ("tensorrt", "cpu"):
        assert np.abs(maps[kind] - maps["fp32"]).mean() < 0.1 * maps["fp32"].mean()
    picture = Reconstructor(recipe / MODEL_FILES["cpu"], threads=1).reconstruct(frame)
    assert picture.shape == (112, 112, 3)
    assert np.abs(picture - cv2.resize(frame, (112, 112)).astype(float)).mean() < 40


def test_it_is_verified_and_timed(recipe, tmp_path):
    assert main(["verify", str(recipe), "--json", str(tmp_path / "v.json")]) == 0
    figures = json.loads((tmp_path / "v.json").read_text())
    assert figures["passed"]
    assert figures["gmac_per_tile"] == pytest.approx(figures["gmac"] / 4, abs=0.001)
    assert main(["bench", str(recipe), "--runs", "1"]) == 0


def test_it_is_fitted_and_judges(recipe, folder, tmp_path):
    fitted = shutil.copytree(recipe, tmp_path / "fitted")
    with closing(RecipeEngine(fitted)) as engine:
        revision = fit(engine, folder, FitWish(0.1, confident=False, min_area_px=None, note="test"))
    activate(fitted, revision.name)
    data = tmp_path / "data" / "test"
    (data / "odd").mkdir(parents=True)
    shutil.copytree(folder, data / "good")
    for golden in load_golden(fitted):
        if golden.kind == "defect":
            shutil.copy(golden.path, data / "odd" / golden.path.name)
    assert calibrate(["evaluate", str(fitted), str(tmp_path / "data"), "--json", str(tmp_path / "e.json")]) == 0
    figures = json.loads((tmp_path / "e.json").read_text())
    assert figures["recall"] == 1
    with closing(open_live_recipe(fitted, EnginePart(threads=1))) as live, closing(ring_of(2)) as ring:
        pipeline = Pipeline(live, ring)
        for name, verdict in ((folder / "000.png", "PASS"), (next((data / "odd").iterdir()), "FAIL")):
            ring.begin_write(0)
            ring.slot(0)[...] = read_image(name)
            ring.end_write(0)
            judged = pipeline.judge(FrameCaptured(0, 0, ring.generation(0), 1, 2, 3, "frame", 0))
            assert judged.decision.verdict == verdict
            assert judged.decision.defect_mask.any() == (verdict == "FAIL")


@pytest.mark.parametrize("rotates", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_training_sees_tiles_near_where_the_graph_cuts_them(rotates, channels):
    tiling = plan_tiling((112, 208), (2, 3))
    frames = np.zeros((3, 112, 208, channels), np.uint8)
    frames[..., 0] = np.arange(208) + np.arange(112)[:, None] // 4
    frames[...] = frames[..., :1]
    corruptor = Corruptor(frames, rotates=rotates, tiling=tiling)
    corrupted, clean = corruptor.batch((0,), 60)
    assert corrupted.shape == clean.shape == (60, 64, 80, channels)
    assert (corrupted != clean).any()
    if rotates:
        return
    lefts = {int(tile[0, 0, 0]) for tile in clean}
    tops = tiling.rows.starts
    near = {
        left + shift + (top + down) // 4
        for left in tiling.columns.starts
        for shift in range(-8, 9)
        for top in tops
        for down in range(-8, 9)
    }
    assert lefts <= near
    assert len(lefts) > 20
    # It never leaves the frame.
    assert min(lefts) == 0
    assert max(tile[-1, -1, 0] for tile in clean) <= 207 + 111 // 4


def test_every_tile_is_trained():
    tiling = plan_tiling((112, 160), (2, 2))
    frames = np.zeros((1, 112, 160, 1), np.uint8)
    for number, (down, across) in enumerate(tiling.windows):
        frames[0, (down.start + down.stop) // 2, (across.start + across.stop) // 2] = 50 * (number + 1)
    corruptor = Corruptor(frames, rotates=False, tiling=tiling)
    seen = [int(corruptor.pick(np.random.default_rng(seed)).max()) for seed in range(200)]
    assert all(30 < seen.count(50 * (number + 1)) < 70 for number in range(4))


def test_tiles_turn_with_the_frame():
    """A turned frame cut into a tile is the tile of the turned frame, so that parts at any angle cost no more."""
    frames = np.random.default_rng(0).integers(0, 256, (1, 112, 160, 3), np.uint8)
    tiling = plan_tiling((112, 160), (1, 2))
    tile = Corruptor(frames, rotates=True, tiling=tiling).pick(np.random.default_rng(5))
    # The same chances in the same order.
    random = np.random.default_rng(5)
    random.integers(len(frames))
    random.choice(tiling.rows.starts), random.integers(-8, 9)
    left = int(np.clip(random.choice(tiling.columns.starts) + random.integers(-8, 9), 0, 160 - tile.shape[1]))
    turn = cv2.getRotationMatrix2D((80, 56), random.uniform(0, 360), 1.0)
    turn[:, 2] += random.uniform(-0.02, 0.02, 2) * (160, 112)
    whole = cv2.warpAffine(frames[0], turn, (160, 112), borderMode=cv2.BORDER_REFLECT_101)
    apart = np.abs(tile.astype(int) - whole[:, left : left + tile.shape[1]])
    # OpenCV rounds places to 1/32 pixel.
    assert apart.mean() < 3


def test_maps_are_chosen_by_defects_as_large_as_a_tile_makes_them():
    shown = {}

    def maps_of(kind):
        def maps_of(frames):
            shown.setdefault(kind, []).extend(frames)
            for frame in frames:
                yield np.abs(frame.astype(np.float32) - 128).mean(2)[None]

        return maps_of

    frames = np.full((6, 256, 256, 3), 128, np.uint8)
    frames[:, ::7] = 120
    for kind, tiles in (("whole", (1, 1)), ("tiles", (4, 4))):
        tiling = plan_tiling((256, 256), tiles)
        choose_maps(maps_of(kind), ["l2"], [["l2"]], trained=frames, tuning=frames, seed=0, tiling=tiling)
    sizes = {
        kind: np.median([(frame != frames[0]).any(2).sum() for frame in several if (frame != frames[0]).any()])
        for kind, several in shown.items()
    }
    assert 4 < sizes["whole"] / sizes["tiles"] < 40


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tiles", "3"], "Give rows x columns, such as 2x3."),
        (["--tiles", "0x2"], "up to 64 tiles, such as 2x3."),
        (["--tiles", "9x9"], "up to 64 tiles, such as 2x3."),
        (["--tiles", "2x2", "--size", "80x80"], "Give --size 96x96 or larger, or fewer --tiles."),
        (["--tiles", "8x1"], "Give fewer --tiles, or inspect at least 192 x 288 camera pixels."),
    ],
)
def test_tiles_that_cannot_be_are_refused_with_a_way_out(folder, tmp_path, capsys, words, message):
    assert main(["train", str(folder), "--recipe", str(tmp_path / "recipe"), *words]) == 64
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
