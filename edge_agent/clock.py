"""Can the wall clock be trusted?"""

from __future__ import annotations

import ctypes
from functools import cache

_TIME_ERROR = 5
_TIMEX_BYTES = 512


def clock_is_synced() -> bool:
    """Return whether the kernel says that the wall clock follows a time server (ntp_adjtime(3))."""
    return _libc().ntp_adjtime(ctypes.create_string_buffer(_TIMEX_BYTES)) not in {-1, _TIME_ERROR}


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
