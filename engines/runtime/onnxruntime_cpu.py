"""ONNX Runtime on the CPU, reading frames where the camera wrote them.

Quirks: a NumPy array given to `run` is copied, so inputs and outputs are bound by address. Spinning workers would
take the camera's core. The memory arena never gives memory back, so it is off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime as ort

from engines.errors import EngineError
from engines.files import sha256_of
from engines.images import Frame
from engines.runtime import Maps, check_slots


class OnnxRuntime:
    """The `cpu` runtime; see `Runtime`."""

    name = "cpu"

    def __init__(self, model: Path, *, threads: int) -> None:
        self.model_sha256 = sha256_of(model)
        with _vendor_errors(f"{model} cannot be loaded"):
            self._session: ort.InferenceSession | None = ort.InferenceSession(
                str(model), session_options(threads), providers=["CPUExecutionProvider"]
            )
            frame, maps = self._session.get_inputs()[0], self._session.get_outputs()[0]
        if frame.type != "tensor(uint8)" or {len(frame.shape), len(maps.shape)} != {4}:
            raise EngineError(f"{model} is not an inspection graph.", fix="Use a model file of a recipe.")
        self.frame_shape: tuple[int, int, int] = tuple(frame.shape[1:])
        self.maps_shape: tuple[int, int, int] = tuple(maps.shape[1:])
        self._names = frame.name, maps.name
        self._slots: list[tuple[ort.IOBinding, Frame, Maps]] = []

    def bind(self, slots: Sequence[Frame]) -> None:
        session, (frame_name, maps_name) = self._open_session(), self._names
        check_slots(slots, self.frame_shape)
        bound = []
        for slot in slots:
            maps = np.full(self.maps_shape, np.nan, np.float32)
            binding = session.io_binding()
            binding.bind_input(frame_name, "cpu", 0, np.uint8, (1, *slot.shape), slot.ctypes.data)
            binding.bind_output(maps_name, "cpu", 0, np.float32, (1, *maps.shape), maps.ctypes.data)
            bound.append((binding, slot, maps))
        self._slots = bound

    def infer(self, slot: int) -> Maps:
        session = self._open_session()
        if not 0 <= slot < len(self._slots):
            raise EngineError(
                f"slot {slot} is not bound ({len(self._slots)} are).", fix="Bind the ring before inference."
            )
        binding, _, maps = self._slots[slot]
        maps.fill(np.nan)
        with _vendor_errors("the inference failed"):
            session.run_with_iobinding(binding)
        return maps

    def discard(self) -> bool:
        return False

    def close(self) -> None:
        self._slots.clear()
        self._session = None

    def _open_session(self) -> ort.InferenceSession:
        if self._session is None:
            raise EngineError("the runtime is closed.", fix="Open it again with `open_runtime`.")
        return self._session


def session_options(threads: int) -> ort.SessionOptions:
    """Return the options that every session of the product runs with."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # x86 without VNNI adds pairs of products in 16 bits and saturates; this takes the exact kernels there.
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    return options


@contextmanager
def _vendor_errors(what: str) -> Iterator[None]:
    # ONNX Runtime's exceptions share no base class but Exception.
    try:
        yield
    except Exception as problem:
        text = str(problem).strip().splitlines() or [type(problem).__name__]
        raise EngineError(
            f"{what}: {text[0]}.", fix="Check the recipe with `edge-engines verify`; if it fails, train it again."
        ) from problem
