"""Identifiers: UUIDv7 for results and boots, the kernel's boot id for comparing monotonic times."""

from __future__ import annotations

import os
import time
from pathlib import Path


def uuid7(unix_ns: int | None = None) -> str:
    """Return a UUIDv7 (RFC 9562, section 5.7) that sorts by time.

    The 12 bits of `rand_a` hold the fraction of the millisecond (section 6.2, method 3), so ids of one process sort by
    creation down to 0.25 us as long as its clock is not stepped.

    Args:
        unix_ns: Wall time; None takes the present.
    """
    at_ns = time.time_ns() if unix_ns is None else unix_ns
    unix_ms, rest_ns = divmod(at_ns, 1_000_000)
    fraction = rest_ns * 4096 // 1_000_000
    tail = int.from_bytes(os.urandom(8), "big") & (1 << 62) - 1
    value = (unix_ms & (1 << 48) - 1) << 80 | 7 << 76 | fraction << 64 | 0b10 << 62 | tail
    digits = f"{value:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def new_boot_id() -> str:
    """Return the id of this start of the agent: another one at every start."""
    return uuid7()


def kernel_boot_id() -> str:
    """Return the id of this start of the operating system: CLOCK_MONOTONIC values compare only within it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
