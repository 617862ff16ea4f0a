"""One run on one GPU: every binding opened at once, every lane checked, all of them timed in turn, then TensorRT."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gpu_case import Timing, run_case
from gpu_kernel import BoxMean, Launcher, open_launcher
from gpu_lanes import Device
from gpu_probe import why_not
from gpu_tensorrt import examine_in_child
from origin import code_commit, load_average, machine, today

from engines.errors import EngineError
from engines.runtime.cuda_memory import CudaMemory, open_cuda
from engines.runtime.tensorrt import FRAME_MEMORIES, FrameMemory

Row = dict[str, Any]
BINDINGS = ("cuda-python", "pycuda")
CASES = {"1920 x 1200, grey": BoxMean((1200, 1920, 1), box=4), "640 x 480, colour": BoxMean((480, 640, 3), box=2)}
_PACKAGES = ("cuda-bindings", "pycuda", "numpy", "onnxruntime")


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
        command: As it is written into the document.
        recipe: For TensorRT; None leaves it out.
        rounds: How often each lane is timed.
        budget_s: Most seconds of timing for each case.
        cases: What is computed, by name.
        launcher: Opens the kernel with a memory.
        why_not: Says why a binding cannot have a way of a frame.
        tensorrt: Examines TensorRT, with the arguments of `examine_tensorrt`.
    """

    command: str
    recipe: Path | None = None
    rounds: int = 300
    budget_s: float = 40.0
    cases: Mapping[str, BoxMean] = field(default_factory=lambda: CASES)
    launcher: Callable[[CudaMemory], Launcher] = open_launcher
    why_not: Callable[[str, FrameMemory], str | None] = why_not
    tensorrt: Callable[..., Row] = examine_in_child


def measure(plan: Plan, left_out: list[str]) -> Row:
    """Make all checks and timings.

    Args:
        plan: What to do.
        left_out: What is known to be missing.

    Returns:
        The row of the document; `failed` lists what did not hold.

    Raises:
        EngineError: No binding can use the GPU, or the GPU failed.
    """
    missing, load, timing = list(left_out), load_average(), Timing(plan.rounds, plan.budget_s)
    with opened_devices(plan, missing) as devices:
        ways = {device.memory.binding: device.ways for device in devices}
        compilers = {device.memory.binding: device.launcher.compiler for device in devices}
        facts = devices[0].memory.facts
        cases = [run_case(name, work, devices, timing) for name, work in plan.cases.items()]
    tensorrt = plan.tensorrt(plan.recipe, ways, rounds=plan.rounds, budget_s=plan.budget_s)
    failed = [
        f"{case['case']}: {check['binding']}, {check['way']}, {check['launch']}: {failure}"
        for case in cases
        for check in case["checks"]
        for failure in check["failures"]
    ]
    return {
        "command": plan.command,
        "commit": code_commit(),
        "date": today(),
        "machine": machine(),
        "load": [load, load_average()],
        "gpu": str(facts),
        "integrated": facts.integrated,
        "driver": driver_version(),
        "cuda": f"{facts.driver // 1000}.{facts.driver % 1000 // 10}",
        "versions": {name: version_of(name) for name in _PACKAGES},
        "compilers": compilers,
        "cases": cases,
        "tensorrt": tensorrt,
        "left_out": missing,
        "failed": failed + [f"TensorRT: {failure}" for failure in tensorrt["failures"]],
    }


@contextmanager
def opened_devices(plan: Plan, missing: list[str]) -> Iterator[list[Device]]:
    """Open the GPU with each binding that works; what another, or one of its ways, lacks is added to `missing`."""
    devices: list[Device] = []
    try:
        for binding in BINDINGS:
            opened = _open(binding, plan, missing)
            if isinstance(opened, Device):
                devices.append(opened)
            else:
                missing.append(f"{binding}: {opened}")
        if not devices:
            raise EngineError(
                f"no CUDA binding works here: {'; '.join(missing)}.",
                fix="Carry the packages: `python benchmarks/gpu.py --carry DIR`, and give them with `--wheels DIR`.",
            )
        yield devices
    finally:
        for device in reversed(devices):
            _close(device)


def _open(binding: str, plan: Plan, missing: list[str]) -> Device | EngineError:
    """Open the GPU with a binding; returns why that cannot be."""
    try:
        memory = open_cuda(binding)
    except EngineError as problem:
        return problem
    try:
        with memory.current():
            launcher = plan.launcher(memory)
    except EngineError as problem:
        memory.close()
        return problem
    ways = []
    for way in FRAME_MEMORIES:
        supported = way != "registered" or memory.facts.can_register
        reason = plan.why_not(binding, way) if supported else "the GPU cannot read memory that others have allocated"
        if reason is None:
            ways.append(way)
        else:
            missing.append(f"{binding}, {way}: {reason}")
    device = Device(memory, launcher, ways)
    if ways:
        return device
    _close(device)
    return EngineError("no way of a frame works with it.", fix="See the reasons before this line.")


def _close(device: Device) -> None:
    with device.memory.current():
        device.launcher.close()
    device.memory.close()


def version_of(package: str) -> str | None:
    """Return a package's version; None where it is not installed as one."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def driver_version() -> str | None:
    """Return the driver's own version; None where `nvidia-smi` is missing."""
    if shutil.which("nvidia-smi") is None:
        return None
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()
    return said[0] if said else None
