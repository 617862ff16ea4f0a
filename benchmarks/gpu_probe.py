"""Whether a binding has a way of a frame at all, tried in a process of its own.

python gpu_probe.py BINDING WAY

A fault in a binding's native code ends that process and not the run: PyCUDA since 2024.1.1 dies where it registers
memory (https://github.com/inducer/pycuda/issues/459).
"""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import closing
from typing import cast

from gpu_driver import child_environment
from gpu_kernel import BoxMean, open_launcher
from gpu_lanes import Device, open_lane

from edge_agent.ring import FrameRing
from engines.runtime.cuda_memory import open_cuda
from engines.runtime.tensorrt import FrameMemory

_END_S = 120.0
_WORK = BoxMean((64, 64, 1), box=8)


def why_not(binding: str, way: FrameMemory) -> str | None:
    """Try a way with a small frame; returns why it cannot be had."""
    words = [sys.executable, __file__, binding, way]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=_END_S, env=child_environment()
        )
    except subprocess.TimeoutExpired:
        return f"nothing came of it in {_END_S:.0f} s"
    if done.returncode < 0:
        return f"the process that tried it died of {signal.Signals(-done.returncode).name}"
    return (done.stderr.strip().splitlines() or ["no reason was given"])[-1] if done.returncode else None


def try_way(binding: str, way: FrameMemory) -> None:
    """Open a lane, and let it run once.

    Raises:
        EngineError: It cannot be had.
    """
    with closing(open_cuda(binding)) as memory, closing(FrameRing.create(_WORK.frame_shape, 1)) as ring:
        with memory.current():
            launcher = open_launcher(memory)
            lane = open_lane(Device(memory, launcher, [way]), ring, 0, _WORK, way, "stream")
        if lane:
            lane.run()
        with memory.current():
            memory.release(0)
            launcher.close()


if __name__ == "__main__":
    try_way(sys.argv[1], cast("FrameMemory", sys.argv[2]))
