"""Settings of this process with which a processor trains faster. To be made before torch is imported."""

from __future__ import annotations

import ctypes
import os

# Numbers of glibc's malloc.h; 32 MiB is the largest threshold that it takes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 * 1024 * 1024
_NEVER = 2**31 - 1


def prepare_processor() -> None:
    """Let waiting threads sleep, and keep the memory of one step for the next.

    OpenMP's threads spin while they wait for each other. Where another program wants the same core, that made a step
    two to five times slower. Who sets the variable himself is not overruled.

    glibc gives large blocks back to the kernel as soon as they are free; then every step of training has its 110 MB
    zeroed again, page by page: a tenth of its time. Other C libraries are left as they are.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        library.mallopt(_M_TRIM_THRESHOLD, _NEVER)
