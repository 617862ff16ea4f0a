"""Calibrators, and what the builder does with one: ranges of all tensors, from batches that lie on the device.

Whatever the algorithm, a range is the largest magnitude that was met; entropy calibration would often choose less.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime

from fakes.cuda_codes import CudaError
from fakes.cuda_work import pending
from fakes.tensorrt_core import BaseInitialised, Environment, ILogger, nptype
from fakes.tensorrt_facts import InvalidNetworkError
from fakes.tensorrt_graph import write_model
from fakes.tensorrt_versions import Named

if TYPE_CHECKING:
    from fakes.tensorrt_layer import ILayer, ITensor
    from fakes.tensorrt_network import INetworkDefinition

NO_SCALES = (
    "Error Code 1: Internal Error (Calibration failure occurred with no scaling factors detected. This could be due to "
    "no int8 calibrator or insufficient custom scales for network layers. Please see int8 sample to setup calibration "
    "correctly.)"
)
ALGORITHMS = {
    "LEGACY_CALIBRATION": "LegacyCalibration",
    "ENTROPY_CALIBRATION": "EntropyCalibration",
    "ENTROPY_CALIBRATION_2": "EntropyCalibration2",
    "MINMAX_CALIBRATION": "MinMaxCalibration",
}


class IInt8Calibrator(BaseInitialised):
    """`tensorrt.IInt8Calibrator`: derive from it, call its `__init__`, and implement all five."""

    _algorithm: Named | None = None

    def get_batch_size(self) -> int:
        raise NotImplementedError('Tried to call pure virtual function "IInt8Calibrator::get_batch_size"')

    def get_batch(self, names: list[str]) -> list[int] | None:
        raise NotImplementedError('Tried to call pure virtual function "IInt8Calibrator::get_batch"')

    def read_calibration_cache(self) -> bytes | None:
        raise NotImplementedError('Tried to call pure virtual function "IInt8Calibrator::read_calibration_cache"')

    def write_calibration_cache(self, cache: memoryview) -> None:
        raise NotImplementedError('Tried to call pure virtual function "IInt8Calibrator::write_calibration_cache"')

    def get_algorithm(self) -> Named:
        if self._algorithm is None:
            raise NotImplementedError('Tried to call pure virtual function "IInt8Calibrator::get_algorithm"')
        return self._algorithm


def calibrators(algorithms: type[Named]) -> dict[str, type]:
    """Make the calibrator classes of a version that has them; all but the base know their algorithm."""
    kinds = {"LEGACY": "Legacy", "ENTROPY": "Entropy", "ENTROPY_2": "Entropy2", "MINMAX": "MinMax"}
    names = {"ENTROPY_2": "IInt8EntropyCalibrator2"}
    made = {
        names.get(kind, f"IInt8{spelling}Calibrator"): type(
            names.get(kind, f"IInt8{spelling}Calibrator"),
            (IInt8Calibrator,),
            {"_algorithm": algorithms[f"{kind.replace('_2', '')}_CALIBRATION{'_2' if kind.endswith('_2') else ''}"]},
        )
        for kind, spelling in kinds.items()
    }
    return {"IInt8Calibrator": IInt8Calibrator} | made


class Calibration:
    """One run of a calibrator."""

    def __init__(self, env: Environment, network: INetworkDefinition, logger: ILogger, calibrator: object) -> None:
        self._env, self._network, self._logger, self._calibrator = env, network, logger, calibrator

    def ranges(self, layers: list[ILayer]) -> dict[str, float]:
        """Return the largest magnitude of each float tensor, from the cache if there is one for this version.

        Raises:
            InvalidNetworkError: There is not one batch, or batches of a size that is not the network's.
            BrokenRuleError: The calibrator raised, or gave other than one address of the device for each input.
        """
        algorithm = self._call("get_algorithm")
        header = f"TRT-{''.join(f'{n:02d}' for n in self._env.version.numbers[:3])}-{ALGORITHMS[algorithm.name]}"
        batch = self._call("get_batch_size")
        wrong = [t.name for t in self._network._inputs if t.shape[:1] != (batch,)]
        if wrong:
            text = f"the calibrator's batch size {batch} is not that of {', '.join(wrong)}"
            raise InvalidNetworkError("trt-calibration-batch", f"Error Code 3: API Usage Error ({text})")
        cache = self._call("read_calibration_cache")
        known = None if cache is None else _read_cache(bytes(memoryview(cache)), header)
        if known is not None:
            return known
        found = self._measured(layers)
        self._call("write_calibration_cache", memoryview(_cache(found, header)))
        return found

    def _measured(self, layers: list[ILayer]) -> dict[str, float]:
        makers = [layer for layer in layers if layer._kind != "CONSTANT"]
        tensors = [t for layer in makers for t in layer._outputs if t._fact.dtype == "FLOAT"]
        names = [tensor.name for tensor in tensors]
        session = _session(write_model(self._network, layers, outputs=tensors))
        found: dict[str, float] = {}
        while True:
            feeds = self._next_batch()
            if feeds is None:
                break
            floats = [(name, value) for name, value in feeds.items() if value.dtype == np.float32]
            for name, value in (*floats, *zip(names, session.run(names, feeds), strict=True)):
                found[name] = max(found.get(name, 0.0), float(np.abs(value).max(initial=0.0)))
        if not found:
            raise InvalidNetworkError("trt-no-scales", NO_SCALES)
        return found

    def _next_batch(self) -> dict[str, np.ndarray] | None:
        inputs = self._network._inputs
        bindings = self._call("get_batch", [tensor.name for tensor in inputs])
        if bindings is None or len(bindings) == 0:
            return None
        if len(bindings) != len(inputs) or not all(isinstance(address, int) for address in bindings):
            text = f"{len(inputs)} addresses are copied out of {bindings!r}"
            raise self._env.machine.broke("trt-calibration-count", text)
        return {t.name: self._read(t, address) for t, address in zip(inputs, bindings, strict=True)}

    def _read(self, tensor: ITensor, address: int) -> np.ndarray:
        machine, dtype = self._env.machine, np.dtype(nptype(tensor.dtype))
        nbytes = int(np.prod(tensor.shape)) * dtype.itemsize
        try:
            use = machine.use(address, nbytes, writes=False)
        except CudaError as error:
            raise machine.broke("trt-calibration-device", f"{tensor.name}: {error}") from error
        if any(use.collides(other) for task in pending(machine.streams.values()) for other in task.work.uses):
            raise machine.broke("stream-race", f"{tensor.name}: the batch is still being written")
        return use.block.bytes_at(address, nbytes).view(dtype).reshape(tensor.shape).copy()

    def _call(self, name: str, *args: object) -> object:
        try:
            return getattr(self._calibrator, name)(*args)
        except Exception as problem:
            raise self._env.machine.broke("trt-calibrator-raises", f"{name}: {problem!r}") from problem


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _cache(ranges: dict[str, float], header: str) -> bytes:
    """Write a calibration table as TensorRT does: the step of each tensor as the bits of a float32."""
    lines = [f"{name}: {struct.pack('>f', value / 127).hex()}" for name, value in ranges.items()]
    return "\n".join([header, *lines, ""]).encode()


def _read_cache(content: bytes, header: str) -> dict[str, float] | None:
    first, *lines = content.decode(errors="replace").splitlines() or [""]
    if first != header:
        return None
    steps = (line.rpartition(": ") for line in lines if line)
    return {name: struct.unpack(">f", bytes.fromhex(bits))[0] * 127 for name, _, bits in steps}
