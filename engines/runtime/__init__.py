"""Runtimes: what runs a model file over the frame ring. One protocol, one file for each vendor library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engines.errors import EngineError
from engines.images import Frame
from engines.plans.builder import Progress
from engines.service_manager import ask_for_patience

Maps = npt.NDArray[np.float32]


class Runtime(Protocol):
    """One loaded model, bound to the slots in which the camera writes its frames.

    Not thread-safe: one thread binds, infers and closes.
    """

    name: str
    model_sha256: str
    frame_shape: tuple[int, int, int]
    maps_shape: tuple[int, int, int]

    def bind(self, slots: Sequence[Frame]) -> None:
        """Bind the input to the caller's memory; a later call replaces all slots.

        Args:
            slots: Frames, (H, W, C) uint8, C-contiguous. The caller keeps the memory alive and in place until
                `close`; it is read in place by `infer` and never copied or written.

        Raises:
            EngineError: A slot has another shape or type, or is not contiguous (it would be copied silently).
        """

    def infer(self, slot: int) -> Maps:
        """Run the model on what the slot holds now.

        The outputs are NaN before every run, so that a run that wrote nothing cannot leave the maps of the
        previous part. After a failure the runtime can be used again; the maps of that slot are NaN.

        Returns:
            Anomaly maps, (K, h, w) float32, >= 0, owned by the runtime and valid until the next `infer` of the
            same slot or `close`.

        Raises:
            EngineError: The vendor library reported a failure.
        """

    def discard(self) -> bool:
        """Forget what was compiled from the model: it gives wrong maps. Returns whether compiling anew may help."""

    def close(self) -> None:
        """Release the model and every binding; a second call does nothing."""


def check_slots(slots: Sequence[Frame], frame_shape: tuple[int, int, int]) -> None:
    """Refuse slots that a runtime could not read in place.

    Raises:
        EngineError: One has another shape or type, or is not contiguous.
    """
    for slot in slots:
        if slot.shape != frame_shape or slot.dtype != np.uint8:
            raise EngineError(
                f"a slot holds {slot.dtype} {slot.shape} but the model takes uint8 {frame_shape}.",
                fix="Make the ring with the recipe's frame size.",
            )
        if not slot.flags.c_contiguous:
            raise EngineError(
                "a slot is not contiguous: the runtime would copy it and miss the camera's writes.",
                fix="Bind whole slots of the ring, not crops or steps of them.",
            )


def open_runtime(
    name: str, model: Path, *, threads: int, cuda: str = "auto", progress: Progress = ask_for_patience
) -> Runtime:
    """Load a model file with the named runtime.

    Args:
        name: `cpu`: ONNX Runtime. `tensorrt`: the GPU; where no plan is in the cache, one is built, in minutes.
        model: The ONNX file made for that runtime.
        threads: CPU threads of one inference.
        cuda: The CUDA binding, see `engines.runtime.cuda_memory`.
        progress: Called while a plan is built; where not given, a service manager is told to wait.

    Raises:
        EngineError: The name is unknown, the runtime is not installed, or the file cannot be loaded.
    """
    match name:
        case "cpu":
            from engines.runtime.onnxruntime_cpu import OnnxRuntime

            return OnnxRuntime(model, threads=threads)
        case "tensorrt":
            from engines.runtime.tensorrt import TensorRtRuntime

            return TensorRtRuntime(model, binding=cuda, progress=progress)
        case _:
            raise EngineError(f"runtime `{name}` is not known.", fix="Use `cpu` or `tensorrt`.")
