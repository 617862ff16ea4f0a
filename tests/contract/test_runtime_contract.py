"""What every runtime promises; a runtime is done when it passes this unchanged."""

import gc
from contextlib import closing

import numpy as np
import pytest
from device import simulated_device

from engines.errors import EngineError
from engines.images import read_image
from engines.recipe import MODEL_FILES
from engines.runtime import open_runtime

CPU = [("cpu", kind, None) for kind in ("cpu", "tensorrt", "fp32")]
GPU = [
    ("tensorrt", version, binding)
    for version in ("10.3.0", "10.13.3.9", "10.16.1.11", "11.4.0.106")
    for binding in ("cuda-python", "pycuda")
]


@pytest.fixture(params=CPU + GPU, ids=lambda p: "-".join(word for word in p if word))
def runtime(request, tiny_recipe, tmp_path, monkeypatch):
    name, kind, binding = request.param
    if name == "cpu":
        with closing(open_runtime(name, tiny_recipe / MODEL_FILES[kind], threads=1)) as opened:
            yield opened
        return
    with simulated_device(tmp_path, monkeypatch, tensorrt=kind, binding=binding):
        with closing(open_runtime(name, tiny_recipe / MODEL_FILES[name], threads=1, cuda=binding)) as opened:
            yield opened
        del opened
        gc.collect()


@pytest.fixture
def frames(good_frames_folder):
    return [read_image(good_frames_folder / f"{index:03d}.png") for index in range(3)]


def test_it_says_what_it_takes_and_gives(runtime):
    assert runtime.frame_shape == (80, 96, 3)
    assert runtime.maps_shape == (2, 64, 64)
    assert len(runtime.model_sha256) == 64


def test_maps_are_finite_and_not_negative(runtime, frames):
    runtime.bind(frames)
    for slot in range(len(frames)):
        maps = runtime.infer(slot)
        assert maps.shape == runtime.maps_shape
        assert maps.dtype == np.float32
        assert np.isfinite(maps).all()
        assert (maps >= 0).all()


def test_it_reads_the_slot_in_place(runtime, frames):
    runtime.bind(frames)
    before = runtime.infer(1).copy()
    frames[1][40, 48, 0] ^= 0xFF
    after = runtime.infer(1).copy()
    assert (before != after).any()
    frames[1][40, 48, 0] ^= 0xFF
    np.testing.assert_array_equal(runtime.infer(1), before)


def test_slots_do_not_disturb_each_other(runtime, frames):
    runtime.bind(frames)
    first = runtime.infer(0)
    kept = first.copy()
    assert (runtime.infer(1) != kept).any()
    np.testing.assert_array_equal(first, kept)


def test_it_never_writes_the_frame(runtime, frames):
    copies = [frame.copy() for frame in frames]
    for frame in frames:
        frame.flags.writeable = False
    runtime.bind(frames)
    for slot, copy in enumerate(copies):
        runtime.infer(slot)
        np.testing.assert_array_equal(frames[slot], copy)


def test_binding_again_replaces_the_slots(runtime, frames):
    runtime.bind(frames[:1])
    first = runtime.infer(0).copy()
    runtime.bind(frames[1:])
    assert (runtime.infer(0) != first).any()


@pytest.mark.parametrize(
    "slot",
    [
        np.zeros((80, 192, 3), np.uint8)[:, ::2],
        np.zeros((160, 96, 3), np.uint8)[::2],
        np.zeros((3, 80, 96), np.uint8).transpose(1, 2, 0),
        np.zeros((80, 96, 4), np.uint8)[:, :, :3],
        np.zeros((80, 96, 3), np.uint8)[:, :, ::-1],
    ],
    ids=["columns", "rows", "planes", "channels", "reversed"],
)
def test_a_slot_that_is_not_contiguous_is_refused(runtime, slot):
    with pytest.raises(EngineError, match="contiguous"):
        runtime.bind([slot])


@pytest.mark.parametrize(
    "slot",
    [
        np.zeros((96, 80, 3), np.uint8),
        np.zeros((80, 96, 1), np.uint8),
        np.zeros((80, 96, 3), np.int8),
        np.zeros((80, 96, 3), np.float32),
    ],
    ids=["turned", "grey", "signed", "float"],
)
def test_a_slot_of_another_shape_or_type_is_refused(runtime, slot):
    with pytest.raises(EngineError, match="frame size"):
        runtime.bind([slot])


def test_close_twice_and_nothing_afterwards(runtime, frames):
    runtime.bind(frames)
    runtime.close()
    runtime.close()
    with pytest.raises(EngineError, match="closed"):
        runtime.infer(0)
    with pytest.raises(EngineError, match="closed"):
        runtime.bind(frames)


def test_a_slot_that_was_not_bound_is_refused(runtime, frames):
    with pytest.raises(EngineError, match="slot"):
        runtime.infer(0)
    runtime.bind(frames)
    for slot in (3, -1):
        with pytest.raises(EngineError, match="slot"):
            runtime.infer(slot)


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(EngineError, match="edge-engines verify"):
        open_runtime("cpu", path, threads=1)


def test_a_truncated_model_is_refused(tmp_path, tiny_recipe):
    content = (tiny_recipe / MODEL_FILES["cpu"]).read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(EngineError):
        open_runtime("cpu", path, threads=1)


def test_an_unknown_runtime_is_refused(tiny_recipe):
    with pytest.raises(EngineError, match="`cpu`"):
        open_runtime("gpu", tiny_recipe / MODEL_FILES["cpu"], threads=1)


class Silent:
    """A vendor session that runs and writes nothing, or fails."""

    def __init__(self, session, problem=None):
        self._session, self._problem = session, problem

    def io_binding(self):
        return self._session.io_binding()

    def run_with_iobinding(self, binding):
        if self._problem is not None:
            raise self._problem


@pytest.mark.parametrize("problem", [None, RuntimeError("no memory")])
def test_a_run_that_wrote_nothing_leaves_nan_and_not_the_previous_part(tiny_recipe, frames, problem):
    runtime = open_runtime("cpu", tiny_recipe / MODEL_FILES["cpu"], threads=1)
    runtime.bind(frames)
    maps = runtime.infer(0)
    assert np.isfinite(maps).all()
    session = runtime._session
    runtime._session = Silent(session, problem)
    if problem is None:
        assert np.isnan(runtime.infer(0)).all()
    else:
        with pytest.raises(EngineError, match="no memory"):
            runtime.infer(0)
        assert np.isnan(maps).all()
    runtime._session = session
    assert np.isfinite(runtime.infer(0)).all()
    runtime.close()
