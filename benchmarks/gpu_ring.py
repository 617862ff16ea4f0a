"""The other process: it writes frames into a ring that it only borrows, as the camera process does.

python gpu_ring.py FD HEIGHT WIDTH CHANNELS SLOTS

Each line of its input is one order, and is answered with the slot's generation once the frame is whole:
`draw SLOT SEED` writes a frame, `flip SLOT BYTE` inverts one byte of the frame that is there.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from gpu_driver import child_environment

from edge_agent.ring import FrameRing
from engines.errors import DeviceError
from engines.images import Frame

_END_S = 10.0


def frame_of(seed: int, frame_shape: tuple[int, int, int]) -> Frame:
    """Return the frame of a seed, (H, W, C) uint8: the same in every process."""
    return np.random.default_rng(seed).integers(0, 256, frame_shape, np.uint8)


class Writer:
    """The handle of that process.

    Args:
        ring: Stays the caller's.
    """

    def __init__(self, ring: FrameRing) -> None:
        words = [str(word) for word in (ring.fd, *ring.frame_shape, len(ring))]
        self._process = subprocess.Popen(
            [sys.executable, __file__, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[ring.fd],
            env=child_environment(),
        )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def draw(self, slot: int, seed: int) -> int:
        """Let it write `frame_of(seed)`; returns the generation afterwards."""
        return self._order(f"draw {slot} {seed}")

    def flip(self, slot: int, byte: int) -> int:
        """Let it invert one byte; returns the generation afterwards."""
        return self._order(f"flip {slot} {byte}")

    def close(self) -> None:
        """End it."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _order(self, order: str) -> int:
        answer = ""
        if self._process.stdin and self._process.stdout:
            try:
                print(order, file=self._process.stdin, flush=True)
                answer = self._process.stdout.readline()
            except BrokenPipeError:
                answer = ""
        if not answer:
            raise DeviceError("the process that writes the frames has ended.", fix="See its message above.")
        return int(answer)


def write(fd: int, frame_shape: tuple[int, int, int], slots: int) -> None:
    """Obey until the input ends."""
    ring = FrameRing.attach(fd, frame_shape, slots)
    for line in sys.stdin:
        order, slot, number = line.split()[0], *map(int, line.split()[1:])
        pixels = ring.slot(slot)
        ring.begin_write(slot)
        if order == "draw":
            pixels[...] = frame_of(number, frame_shape)
        else:
            pixels.reshape(-1)[number] ^= 0xFF
        ring.end_write(slot)
        print(ring.generation(slot), flush=True)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    write(numbers[0], (numbers[1], numbers[2], numbers[3]), numbers[4])
