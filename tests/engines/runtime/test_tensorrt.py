"""What the TensorRT runtime does beyond the contract: where frames lie, what it keeps, and how it fails."""

import gc
import threading
from contextlib import closing, contextmanager

import numpy as np
import pytest
from device import simulated_device
from fakes.cuda_device import DeviceSettings, discrete_device

from edge_agent.ring import FrameRing
from engines.errors import EngineError
from engines.golden import verify_engine
from engines.images import read_image
from engines.plans.store import default_store
from engines.recipe import MODEL_FILES
from engines.runtime import open_runtime
from engines.runtime.tensorrt import FRAME_MEMORIES, TensorRtRuntime


@pytest.fixture
def model(tiny_recipe):
    return tiny_recipe / MODEL_FILES["tensorrt"]


@pytest.fixture
def frames(good_frames_folder):
    return [read_image(good_frames_folder / f"{index:03d}.png") for index in range(3)]


@pytest.fixture
def ring():
    with closing(FrameRing.create((80, 96, 3), 3)) as created:
        yield created


@pytest.fixture
def expected(model, frames):
    """What ONNX Runtime makes of the same file."""
    with closing(open_runtime("cpu", model, threads=1)) as oracle:
        oracle.bind(frames)
        return [oracle.infer(slot).copy() for slot in range(len(frames))]


@pytest.fixture
def on_device(tmp_path, monkeypatch):
    @contextmanager
    def on_device(**choices):
        with simulated_device(tmp_path, monkeypatch, **choices) as machine:
            yield machine
            gc.collect()

    return on_device


def fill(ring, frames):
    for slot, frame in enumerate(frames):
        ring.slot(slot)[...] = frame
    return [ring.slot(slot) for slot in range(len(frames))]


@pytest.mark.parametrize("binding", ["cuda-python", "pycuda"])
def test_the_ring_is_read_where_the_camera_wrote_it(on_device, model, ring, frames, expected, binding):
    with on_device(binding=binding) as machine, closing(TensorRtRuntime(model, binding=binding)) as runtime:
        assert runtime.frame_memory == "registered"
        runtime.bind(fill(ring, frames))
        assert len(machine.memory.alive("registered")) == 3
        for slot, maps in enumerate(expected):
            np.testing.assert_allclose(runtime.infer(slot), maps, rtol=1e-5, atol=1e-6)
        ring.slot(0)[...] = frames[2]
        np.testing.assert_allclose(runtime.infer(0), expected[2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", FRAME_MEMORIES)
@pytest.mark.parametrize("binding", ["cuda-python", "pycuda"])
def test_every_way_of_a_frame_gives_the_same_maps(on_device, model, ring, frames, expected, binding, kind):
    with on_device(binding=binding), closing(TensorRtRuntime(model, binding=binding, frame_memory=kind)) as runtime:
        runtime.bind(fill(ring, frames))
        for slot, maps in enumerate(expected):
            np.testing.assert_allclose(runtime.infer(slot), maps, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "settings", [DeviceSettings(host_register_supported=False), discrete_device()], ids=["cannot register", "card"]
)
def test_a_device_that_cannot_read_the_ring_gets_a_copy_and_the_log_says_so(
    on_device, model, ring, frames, expected, settings, caplog
):
    with on_device(settings=settings) as machine, closing(TensorRtRuntime(model)) as runtime:
        assert runtime.frame_memory == "device"
        assert "every frame is copied" in caplog.text
        runtime.bind(fill(ring, frames))
        assert not machine.memory.alive("registered")
        np.testing.assert_allclose(runtime.infer(1), expected[1], rtol=1e-5, atol=1e-6)


def test_a_slot_that_does_not_begin_at_a_page_is_copied(on_device, model, ring, frames, expected):
    """The agent's own slot for the test piece is no part of the ring."""
    private = np.zeros(80 * 96 * 3 + 1, np.uint8)[1:].reshape(80, 96, 3)
    private[...] = frames[1]
    with on_device() as machine, closing(TensorRtRuntime(model)) as runtime:
        runtime.bind([ring.slot(0), private])
        assert len(machine.memory.alive("registered")) == 1
        np.testing.assert_allclose(runtime.infer(1), expected[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("binding", ["cuda-python", "pycuda"])
def test_the_same_ring_may_be_bound_again(on_device, model, ring, frames, expected, binding):
    with on_device(binding=binding) as machine, closing(TensorRtRuntime(model, binding=binding)) as runtime:
        slots = fill(ring, frames)
        runtime.bind(slots)
        runtime.bind(slots[:2])
        assert len(machine.memory.alive("registered")) == 2
        np.testing.assert_allclose(runtime.infer(1), expected[1], rtol=1e-5, atol=1e-6)


def test_a_launch_that_writes_nothing_leaves_no_old_map(on_device, model, frames):
    with on_device() as machine, closing(TensorRtRuntime(model)) as runtime:
        runtime.bind(frames)
        assert np.isfinite(runtime.infer(0)).all()
        machine.faults.executes_nothing = True
        assert np.isnan(runtime.infer(0)).all()


def test_a_failed_launch_is_an_engine_error(on_device, model, frames):
    with on_device(binding="pycuda") as machine, closing(TensorRtRuntime(model, binding="pycuda")) as runtime:
        runtime.bind(frames)
        machine.faults.next_execute = "no kernel image"
        with pytest.raises(EngineError, match="no kernel image"):
            runtime.infer(0)
        assert np.isfinite(runtime.infer(0)).all()


def test_a_failed_device_is_an_engine_error_with_its_code(on_device, model, frames):
    with on_device() as machine, closing(TensorRtRuntime(model)) as runtime:
        runtime.bind(frames)
        machine.fail_next("cuStreamSynchronize", "CUDA_ERROR_ILLEGAL_ADDRESS")
        with pytest.raises(EngineError, match="cuStreamSynchronize failed with CUDA_ERROR_ILLEGAL_ADDRESS"):
            runtime.infer(0)


@pytest.mark.parametrize("binding", ["cuda-python", "pycuda"])
def test_without_memory_it_says_so_and_leaves_nothing(on_device, model, frames, binding):
    with on_device(binding=binding) as machine, closing(TensorRtRuntime(model, binding=binding)) as runtime:
        machine.fail_next("cuMemHostAlloc", "CUDA_ERROR_OUT_OF_MEMORY")
        with pytest.raises(EngineError, match=r"(?i)out.of.memory"):
            runtime.bind(frames)
        runtime.bind(frames)
        assert np.isfinite(runtime.infer(0)).all()


@pytest.mark.parametrize("binding", ["cuda-python", "pycuda"])
def test_another_thread_may_infer(on_device, model, frames, expected, binding):
    with on_device(binding=binding), closing(TensorRtRuntime(model, binding=binding)) as runtime:
        runtime.bind(frames)
        found = []
        thread = threading.Thread(target=lambda: found.append(runtime.infer(1).copy()))
        thread.start()
        thread.join()
        np.testing.assert_allclose(found[0], expected[1], rtol=1e-5, atol=1e-6)


def test_the_plan_is_built_once(on_device, model):
    for built_now in (True, False, False):
        with on_device(), closing(TensorRtRuntime(model)) as runtime:
            assert runtime.plan.built_now == built_now


@pytest.mark.parametrize(
    "change",
    [{"tensorrt": "10.13.3.9"}, {"settings": DeviceSettings(driver_version=13000)}, {"settings": DeviceSettings(name="Thor")}],
    ids=["TensorRT", "driver", "board"],
)  # fmt: skip
def test_another_machine_builds_its_own_plan(on_device, model, tmp_path, change):
    with on_device():
        TensorRtRuntime(model).close()
    with on_device(**change):
        TensorRtRuntime(model).close()
    assert len(list((tmp_path / "cache" / "plans").glob("*.plan"))) == 2


def test_a_damaged_plan_is_never_loaded_but_built_again(on_device, model, tmp_path, frames, expected):
    with on_device():
        TensorRtRuntime(model).close()
    (path,) = (tmp_path / "cache" / "plans").glob("*.plan")
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with on_device(), closing(TensorRtRuntime(model)) as runtime:
        assert path.read_bytes() == sound
        runtime.bind(frames)
        np.testing.assert_allclose(runtime.infer(0), expected[0], rtol=1e-5, atol=1e-6)


def test_the_engine_gives_the_golden_maps(on_device, tiny_recipe, model):
    with on_device(), closing(TensorRtRuntime(model)) as runtime:
        verify_engine(runtime, tiny_recipe)


def test_an_old_version_that_refuses_strong_typing_is_asked_the_older_way(on_device, model):
    with on_device(tensorrt="10.3.0") as machine:
        machine.faults.next_build = "strong typing is not for me"
        TensorRtRuntime(model).close()
        (side,) = default_store()._folder.glob("*.json")
        assert '"typing": "weak"' in side.read_text()


def test_version_11_is_not_asked_the_older_way(on_device, model):
    with on_device(tensorrt="11.4.0.106") as machine:
        machine.faults.next_build = "out of tactics"
        with pytest.raises(EngineError, match=r"TensorRT 11\.4.*strongly typed, out of tactics"):
            TensorRtRuntime(model)


def test_a_plan_that_cannot_be_loaded_is_an_error_and_leaves_nothing(on_device, model):
    with on_device():
        TensorRtRuntime(model).close()
    with on_device() as machine:
        machine.faults.next_deserialize = "version mismatch"
        with pytest.raises(EngineError, match="version mismatch"):
            TensorRtRuntime(model)


def test_a_file_that_is_no_model_is_refused(on_device, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with on_device(), pytest.raises(EngineError, match="is not understood"):
        TensorRtRuntime(path)


def test_without_tensorrt_the_fix_is_named(on_device, model):
    with on_device(tensorrt=None), pytest.raises(EngineError, match="--system-site-packages"):
        TensorRtRuntime(model)


def test_another_binding_than_the_installed_one_is_named(on_device, model):
    with on_device(binding="pycuda"), pytest.raises(EngineError, match="pip install cuda-python"):
        TensorRtRuntime(model, binding="cuda-python")
