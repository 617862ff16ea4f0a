"""The way of a frame through ring, engine and decision, without camera process and MQTT."""

import shutil
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.camera.messages import BadFrame, FrameCaptured
from edge_agent.live_recipe import open_live_recipe
from edge_agent.pipeline import Pipeline
from edge_agent.ring import FrameRing
from edge_agent.station import EnginePart
from edge_agent.thresholds import load_thresholds
from engines.errors import EngineError, RecipeError, ThresholdsError
from engines.files import sha256_of
from engines.recipe import load_recipe, write_manifest


@pytest.fixture
def ring():
    ring = FrameRing.create((80, 96, 3), 2)
    yield ring
    ring.close()


@pytest.fixture
def live(fitted_recipe):
    live = open_live_recipe(fitted_recipe, EnginePart(threads=1))
    yield live
    live.close()


class Engine:
    """Stands in front of the real engine."""

    def __init__(self, infer):
        self.infer = infer

    def close(self):
        pass


class Deaf:
    """The real engine, but it does not see what is written into one slot."""

    def __init__(self, engine, slot):
        self.engine, self.slot = engine, slot

    def bind(self, slots):
        self.engine.bind([frame.copy() if index == self.slot else frame for index, frame in enumerate(slots)])

    def __getattr__(self, name):
        return getattr(self.engine, name)


@pytest.fixture
def pipeline(live, ring):
    return Pipeline(live, ring)


@pytest.fixture
def frame(good_frames_folder):
    return cv2.imread(str(good_frames_folder / "000.png"))


def written(ring, frame, slot=0):
    ring.begin_write(slot)
    ring.slot(slot)[...] = frame
    ring.end_write(slot)
    return FrameCaptured(0, slot, ring.generation(slot), 1, 2, 3, "frame", 0)


def test_a_frame_is_judged_where_it_lies(pipeline, ring, frame):
    assert pipeline.judge(written(ring, frame)).decision.verdict == "PASS"
    frame[30:46, 30:50] = 0
    assert pipeline.judge(written(ring, frame, slot=1)).decision.verdict == "FAIL"


def test_an_engine_that_does_not_read_one_slot_of_the_ring_is_refused_before_the_first_part(live, ring):
    live.runtime = Deaf(live.runtime, slot=1)
    with pytest.raises(EngineError, match=r"slot 1 of the frame ring: .* differs from the golden maps"):
        Pipeline(live, ring)


def test_one_changed_byte_of_the_slot_changes_the_score(pipeline, ring, frame, live):
    event = written(ring, frame)
    before = live.runtime.infer(0).copy()
    ring.slot(0)[40, 48, 1] ^= 0x40
    after = live.runtime.infer(0)
    assert np.abs(after - before).max() > 0
    assert pipeline.judge(event).decision is not None


def test_a_frame_written_again_before_inference_is_torn(pipeline, ring, frame):
    event = written(ring, frame)
    written(ring, frame)
    assert pipeline.judge(event).reason == "torn_frame"


def test_a_frame_that_is_being_written_is_torn(pipeline, ring, frame):
    event = written(ring, frame)
    ring.begin_write(0)
    assert pipeline.judge(event).reason == "torn_frame"


def test_a_frame_written_during_inference_is_torn(pipeline, ring, frame, live):
    event = written(ring, frame)
    runtime = live.runtime

    def infer(slot):
        maps = runtime.infer(slot)
        written(ring, frame)
        return maps

    live.runtime = Engine(infer)
    judgement = pipeline.judge(event)
    assert (judgement.reason, judgement.decision) == ("torn_frame", None)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [(0, "black_frame"), (255, "blown_out_frame"), (128, "blown_out_frame")],
)
def test_a_frame_that_shows_nothing_is_invalid(pipeline, ring, frame, pixels, reason):
    assert pipeline.judge(written(ring, np.full_like(frame, pixels))).reason == reason


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (EngineError("it broke.", fix="Mend it."), "engine_error"),
        (ZeroDivisionError("surprise"), "internal_error"),
        (None, "non_finite"),
    ],
)
def test_a_failing_engine_is_invalid_never_pass(pipeline, ring, frame, live, fault, reason):
    def infer(slot):
        if fault is not None:
            raise fault
        return np.full((2, 64, 64), np.nan, np.float32)

    live.runtime = Engine(infer)
    judgement = pipeline.judge(written(ring, frame))
    assert (judgement.reason, judgement.decision) == (reason, None)


def test_a_frame_that_the_camera_could_not_read_keeps_its_reason(pipeline):
    assert pipeline.judge(BadFrame(0, 0, "frame_size", "too large", "x", 1, 2, 0)).reason == "frame_size"


def test_the_test_piece_must_be_rejected(live, ring):
    live.bind(ring)
    for _ in range(3):
        live.run_test_piece()
    object.__setattr__(live.thresholds.calibration, "factor", 1e9)
    with pytest.raises(EngineError, match="was not rejected"):
        live.run_test_piece()


def test_thresholds_of_another_model_are_refused(tmp_path, fitted_recipe):
    shutil.copytree(fitted_recipe, tmp_path / "recipe")
    folder = tmp_path / "recipe" / "thresholds" / "r0001"
    text = (folder / "calibration.yaml").read_text()
    digest = load_thresholds(fitted_recipe).calibration.model_sha256
    (folder / "calibration.yaml").write_text(text.replace(digest, "f" * 64))
    write_manifest(folder, versions={})
    with pytest.raises(ThresholdsError, match=r"was fitted on model.cpu.onnx ffffffffffff, but .* is running"):
        open_live_recipe(tmp_path / "recipe", EnginePart(threads=1))


def test_a_recipe_that_was_replaced_under_the_agent_asks_for_a_restart_and_not_for_a_fit(tmp_path, fitted_recipe):
    folder = shutil.copytree(fitted_recipe, tmp_path / "recipe")
    with closing(open_live_recipe(folder, EnginePart(threads=1))) as live:
        live.runtime.bind([live._private])
        before = live.thresholds
        model, calibration = folder / "model.cpu.onnx", folder / "thresholds" / "r0001" / "calibration.yaml"
        digest = sha256_of(model)
        with model.open("ab") as file:
            file.write(b"another")
        write_manifest(folder, versions={})
        calibration.write_text(calibration.read_text().replace(digest, sha256_of(model)))
        write_manifest(calibration.parent, versions={})
        with pytest.raises(ThresholdsError, match=r"The recipe itself has been replaced\.") as refused:
            live.reload_thresholds()
        assert "systemctl restart" in refused.value.fix
        assert live.thresholds is before


def test_files_that_may_not_be_read_are_not_to_be_made_anew(tmp_path, fitted_recipe, monkeypatch):
    folder = shutil.copytree(fitted_recipe, tmp_path / "recipe")
    opened = Path.open

    def refused(path, *words, **more):
        if path.name in {"model.cpu.onnx", "scale.npy"}:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *words, **more)

    monkeypatch.setattr(Path, "open", refused)
    for read, error in ((load_recipe, RecipeError), (load_thresholds, ThresholdsError)):
        with pytest.raises(error, match=r"may not be read: .*Permission denied") as caught:
            read(folder)
        assert caught.value.fix.startswith("Let every user of this machine read it: `sudo chmod -R a+rX ")


@pytest.mark.parametrize("file", ["model.cpu.onnx", "recipe.yaml", "images.csv", "golden/golden.yaml"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_a_damaged_recipe_is_refused_with_the_file_named(tmp_path, fitted_recipe, file, damage):
    shutil.copytree(fitted_recipe, tmp_path / "recipe")
    path = tmp_path / "recipe" / file
    content = path.read_bytes()
    match damage:
        case "missing":
            path.unlink()
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case _:
            path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(RecipeError, match=path.name):
        open_live_recipe(tmp_path / "recipe", EnginePart(threads=1))


def test_a_live_camera_that_repeats_a_frame_is_frozen(pipeline, ring, frame):
    pipeline.refuses_repeats = True
    assert pipeline.judge(written(ring, frame)).decision.verdict == "PASS"
    assert pipeline.judge(written(ring, frame, slot=1)).reason == "frozen_frame"
    assert pipeline.judge(written(ring, frame)).reason == "frozen_frame"
    frame[:, :, 0] ^= 1
    assert pipeline.judge(written(ring, frame)).decision is not None


def test_recorded_frames_may_repeat(pipeline, ring, frame):
    for _ in range(2):
        assert pipeline.judge(written(ring, frame)).decision is not None


@pytest.mark.parametrize("value", [0.0, -5.0])
def test_maps_that_no_engine_gives_are_invalid(pipeline, ring, frame, live, value):
    live.runtime = Engine(lambda _: np.full((2, 64, 64), value, np.float32))
    assert pipeline.judge(written(ring, frame)).reason == "engine_error"


def test_a_test_piece_on_a_broken_engine_is_an_engine_error(live, ring):
    live.bind(ring)
    live.runtime = Engine(lambda _: np.full((2, 64, 64), np.nan, np.float32))
    with pytest.raises(EngineError, match="the test piece"):
        live.run_test_piece()
