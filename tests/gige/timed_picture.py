"""A picture that shows when it was taken: CLOCK_MONOTONIC in ms as bars, the highest bit on the left.

The system's Python draws it, ours reads it; so it imports nothing that only one of them has.
"""

import time

BITS, BAR_PX, HEIGHT_PX = 12, 8, 80
FPS = 20
WIDTH_PX = BITS * BAR_PX
SHAPE = (HEIGHT_PX, WIDTH_PX, 3)


def picture():
    """Draw the time: 8 bits a pixel, grey."""
    now_ms = time.monotonic_ns() // 1_000_000
    bars = (b"\xff" if now_ms >> bit & 1 else b"\0" for bit in reversed(range(BITS)))
    return b"".join(bar * BAR_PX for bar in bars) * HEIGHT_PX


def time_of(frame):
    """Return when a picture was taken, CLOCK_MONOTONIC in ns: the latest time that ends in the bits that it shows."""
    bars = frame[:, :, 0].reshape(HEIGHT_PX, BITS, BAR_PX).mean(axis=(0, 2)) > 127
    shown_ms = int("".join("1" if bar else "0" for bar in bars), 2)
    now_ms = time.monotonic_ns() // 1_000_000
    return (now_ms - (now_ms - shown_ms) % (1 << BITS)) * 1_000_000
