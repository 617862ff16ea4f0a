"""The other way to a plan, on TensorRT 10: NVIDIA's torch2trt converts the core, in INT8 mode.

The parser reads the whole model, torch2trt puts the core's layers beside those that the parser has made, and what stood
behind the core is connected to them; nothing needs the old ones any more, and they are dropped. So the plan has the
frame as its input and the maps as its output as any other. Only the core may run in INT8. Its steps are those of the
recipe; what has none there is measured by torch2trt's calibrator on the recipe's golden frames. Both are what TensorRT
calls implicit quantisation, which TensorRT 11 no longer has.

torch2trt needs torch, and the one without CUDA will do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from engines.errors import EngineError
from engines.images import Frame
from engines.plans.builder import BuildOptions, Built, Progress, configure, draft_network, finish
from engines.plans.library import Library
from engines.runtime.cuda_memory import CudaMemory

_INSTEAD = "Leave out `--builder torch2trt`: the plan is then built from the model as it is."


class Torch2trtBuilder:
    """Takes the place of `engines.plans.builder.TensorRtBuilder`.

    Args:
        frames: Frames to calibrate with, (H, W, C) uint8: good ones and some with a defect.
        memory: CUDA, with its context current while a plan is built.
    """

    name = "torch2trt"

    def __init__(self, frames: Sequence[Frame], memory: CudaMemory) -> None:
        self._frames, self._memory = frames, memory

    def __call__(
        self, library: Library, model: bytes, options: BuildOptions, *, timing_cache: bytes = b"", progress: Progress
    ) -> Built:
        """Compile a model, `model.int8.onnx`; takes minutes.

        Raises:
            EngineError: It is TensorRT 11, torch2trt is missing or fails, or TensorRT refused the network.
        """
        torch2trt = _import_torch2trt(library)
        import onnx

        from engines.torch2trt_adapter.convert import convert_core
        from engines.torch2trt_adapter.quantisers import without_quantisers

        plain, steps = without_quantisers(onnx.load_model_from_string(model))
        draft = draft_network(library, plain.SerializeToString(), "weak")
        if isinstance(draft, str):
            raise EngineError(f"TensorRT {library.version}: {draft}.", fix=_INSTEAD)
        config = configure(library, draft, options, "weak")
        config.set_flag(library.trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        with _translated(library), self._calibration_frames() as dataset:
            convert_core(torch2trt, library.trt, draft.network, config, plain, steps)
            minmax = library.trt.CalibrationAlgoType.MINMAX_CALIBRATION
            config.int8_calibrator = torch2trt.DatasetCalibrator(dataset, algorithm=minmax, flattener=_Inputs())
            built = finish(library, draft, config, "weak", timing_cache, progress)
        if isinstance(built, str):
            raise EngineError(
                f"TensorRT {library.version} cannot build what torch2trt made: {built}.",
                fix=_INSTEAD,
            )
        return built

    @contextmanager
    def _calibration_frames(self) -> Iterator[list[list[Any]]]:
        """Lend the frames as what the calibrator takes: a list of inputs each."""
        from engines.torch2trt_adapter.convert import on_device

        mark = self._memory.mark()
        try:
            dataset = []
            for frame in self._frames:
                address = self._memory.device(frame.nbytes)
                self._memory.copy_in(address, frame.reshape(-1))
                dataset.append([on_device(address)])
            self._memory.synchronize()
            yield dataset
        finally:
            self._memory.release(mark)


class _Inputs:
    """Takes the inputs as they are: torch2trt's own flattener overlooks tensors of bytes."""

    def flatten(self, inputs: list[Any]) -> list[Any]:
        return inputs


def _import_torch2trt(library: Library) -> Any:
    if not library.has_weak_typing:
        raise EngineError(
            f"torch2trt needs the implicit INT8 of TensorRT 10, and TensorRT {library.version} has none.", fix=_INSTEAD
        )
    try:
        import torch2trt
    # With a TensorRT that it does not know, a name is missing.
    except (ImportError, AttributeError) as problem:
        raise EngineError(
            f"torch2trt cannot be imported: {problem}.", fix=f"Install it as docs/jetson.md says. {_INSTEAD}"
        ) from problem
    return torch2trt


@contextmanager
def _translated(library: Library) -> Iterator[None]:
    try:
        yield
    # What a converter raises is whatever its own code runs into.
    except (
        AssertionError,
        AttributeError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as problem:
        if isinstance(problem, EngineError):
            raise
        raise EngineError(
            f"torch2trt cannot convert the core for TensorRT {library.version}: {problem!r}.", fix=_INSTEAD
        ) from problem
