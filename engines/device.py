"""Where a training runs, and with how many bits: the processor or a CUDA device."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from engines.errors import EngineError

DeviceName = Literal["cpu", "cuda"]
_PIXELS_WORTH_THREADS = 8 * 128 * 128
_NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16", None: "fp32"}


@dataclass(frozen=True)
class Device:
    """A device and the narrow format in which its convolutions run; None where they run in float32."""

    name: DeviceName
    narrow: torch.dtype | None

    @property
    def precision(self) -> str:
        """`bf16`, `fp16` or `fp32`."""
        return _NAMES[self.narrow]


def choose_device(asked: Literal["auto", "cpu", "cuda"]) -> Device:
    """Return the device to train on.

    Raises:
        EngineError: A CUDA device was asked for and there is none that this torch can use.
    """
    has_cuda = torch.cuda.is_available()
    if asked == "cuda" and not has_cuda:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise EngineError(
            f"--device cuda: torch {torch.__version__} ({built}) finds no CUDA device.",
            fix="Give --device cpu, or install a driver and a torch with CUDA: see https://pytorch.org.",
        )
    if has_cuda and asked != "cpu":
        # Before Ampere, bfloat16 is emulated and float16 is fast.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Device("cuda", torch.bfloat16 if native else torch.float16)
    return Device("cpu", torch.bfloat16 if is_faster_in_bf16() else None)


def is_faster_in_bf16(described: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether this processor trains faster in bfloat16: one with AMX, or AMD's with AVX512-BF16.

    Intel's AVX512-BF16 multiplies as many numbers a cycle as its float32. Without AMX, which a hypervisor may hide, a
    step takes longer there (docs/results/first-light.md).
    """
    try:
        flags = described.read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "amx_bf16" in flags or ("avx512_bf16" in flags and "AuthenticAMD" in flags)


def set_threads(pixels_a_step: int) -> None:
    """Let torch use as many threads as pay off for batches of so many pixels."""
    # Threads wait for each other at every operator: with small maps on a busy machine, two are four times slower.
    torch.set_num_threads((os.cpu_count() or 1) if pixels_a_step >= _PIXELS_WORTH_THREADS else 1)
