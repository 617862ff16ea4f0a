"""What the tests of weakly typed networks share: a draft of one, and maps computed by a plan on the device."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from fakes.cuda_memory import host_bytes
from fakes.models import SHAPE, inspection_model
from fakes.test_tensorrt_build import heard

NBYTES = int(np.prod(SHAPE))
FRAME = (np.arange(NBYTES) % 251).astype(np.uint8)


class Draft:
    """A parsed float model in a weakly typed network, with a configuration and a current context."""

    def __init__(self, trt: ModuleType, model: bytes | None = None, *, strongly: bool = False) -> None:
        self.trt, self.machine, self.logger = trt, trt.machine, heard(trt)
        self.builder = trt.Builder(self.logger)
        flag = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self.network = self.builder.create_network(flag if strongly else 0)
        self.parser = trt.OnnxParser(self.network, self.logger)
        assert self.parser.parse(model or inspection_model(quantised=False))
        self.config = self.builder.create_builder_config()
        self.config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if not self.machine.initialised:
            self.machine.init()
            self.machine.push(self.machine.retain_primary())

    def flag(self, *names: str) -> None:
        for name in names:
            self.config.set_flag(getattr(self.trt.BuilderFlag, name))

    def tensor(self, name: str) -> object:
        """Find a tensor of the parsed model by its name."""
        outputs = [layer.get_output(i) for layer in self.network for i in range(layer.num_outputs)]
        inputs = [self.network.get_input(i) for i in range(self.network.num_inputs)]
        return next(tensor for tensor in (*inputs, *outputs) if tensor.name == name)

    def layer(self, name: str) -> object:
        return next(layer for layer in self.network if layer.name == name)

    def readers(self, name: str) -> list[tuple[object, int]]:
        """List the layers that read a tensor, each with the index of the input."""
        return [
            (layer, index)
            for layer in self.network
            for index in range(layer.num_inputs)
            if layer.get_input(index).name == name
        ]

    def build(self) -> bytes | None:
        plan = self.builder.build_serialized_network(self.network, self.config)
        return None if plan is None else bytes(plan)

    def engine(self) -> object:
        plan = self.build()
        assert plan is not None, self.logger.messages
        return self.trt.Runtime(self.logger).deserialize_cuda_engine(plan)

    def maps(self) -> np.ndarray:
        """Build, and run FRAME through the plan."""
        engine, machine = self.engine(), self.machine
        context = engine.create_execution_context()
        frame, maps = (machine.alloc_host(size, 2) for size in (NBYTES, 4 * NBYTES))
        host_bytes(frame.host, NBYTES)[:] = FRAME
        for name, block in (("frame", frame), ("anomaly_maps", maps)):
            assert context.set_tensor_address(name, machine.device_pointer(block.host))
        stream = machine.create_stream(1).handle
        assert context.execute_async_v3(stream)
        machine.synchronize_stream(stream)
        return host_bytes(maps.host, 4 * NBYTES).view(np.float32).copy()

    def error(self) -> float:
        """Return the largest difference between the maps of the model as it is, and what the plan makes of it."""
        return float(np.abs(self.maps() - FRAME.astype(np.float32) / 255).max())

    def refusal(self) -> str:
        """Return the rule for which the network is not built."""
        assert self.build() is None
        return self.machine.refused[-1]

    def calibrator(self, frames: list[np.ndarray] | None = None, base: str = "IInt8EntropyCalibrator2") -> object:
        """Make a calibrator that hands out copies of frames in device memory."""
        machine = self.machine

        class Calibrator(getattr(self.trt, base)):
            def __init__(self) -> None:
                super().__init__()
                self.frames = list(frames if frames is not None else [FRAME])
                self.blocks, self.cache, self.written, self.batch_size = [], None, None, 1

            def get_batch_size(self) -> int:
                return self.batch_size

            def get_batch(self, names: list[str]) -> list[int]:
                assert names == ["frame"]
                if not self.frames:
                    return []
                self.blocks.append(machine.alloc_device(NBYTES))
                self.blocks[-1].backing[:] = self.frames.pop(0)
                return [self.blocks[-1].device]

            def read_calibration_cache(self) -> bytes | None:
                return self.cache

            def write_calibration_cache(self, cache: memoryview) -> None:
                self.written = bytes(cache)

        return Calibrator()
