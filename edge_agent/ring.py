"""The shared memory that a frame is written into once, by the camera process, and read from everywhere else.

The agent makes the ring and owns it; a camera process only borrows it. When that process dies the memory and its
addresses stay, so a device registration of the slots stays valid too.

A slot has a generation: odd while it is being written, even and larger afterwards. Who reads a slot compares the
generation before and after; a change means that the frame was torn. The message that announces a frame orders the
pixels before it (a socket is a barrier on every CPU); the generation is the second net, for a writer that breaks the
protocol.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from engines.errors import DeviceError
from engines.images import Frame

FrameShape: TypeAlias = tuple[int, int, int]


class FrameRing:
    """Page-aligned slots of one frame each, in memory that two processes share.

    Made by `create` (the agent, which owns the memory) or `attach` (the camera process, which borrows it).
    """

    def __init__(self, fd: int, frame_shape: FrameShape, slots: int, *, prefault: bool) -> None:
        self._fd = fd
        self._header_bytes, self._slot_bytes, size = _layout(frame_shape, slots)
        flags = mmap.MAP_SHARED | (mmap.MAP_POPULATE if prefault else 0)
        self._memory = mmap.mmap(fd, size, flags=flags)
        self._generations: npt.NDArray[np.uint64] | None = np.frombuffer(self._memory, np.uint64, slots)
        self._slots = [self._view(index, frame_shape) for index in range(slots)]
        self.frame_shape = frame_shape

    @classmethod
    def create(cls, frame_shape: FrameShape, slots: int) -> FrameRing:
        """Make the memory; all generations are 0, all pixels black.

        Args:
            frame_shape: (H, W, C) of every frame, uint8.
            slots: How many frames there is room for.

        Raises:
            DeviceError: There is not enough memory.
        """
        _, _, size = _layout(frame_shape, slots)
        available = _available_bytes()
        # Asked first: the kernel would rather kill processes than refuse the last page.
        if size > available:
            raise DeviceError(
                f"A ring of {slots} frames needs {size / 1e6:.0f} MB of memory, {available / 1e6:.0f} MB are available.",
                fix="Free memory, or use fewer slots or a smaller frame.",
            )
        fd = os.memfd_create("frame-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.posix_fallocate(fd, 0, size)
            # Nobody can shrink the file: a reader of a page that is gone dies of SIGBUS.
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            return cls(fd, frame_shape, slots, prefault=True)
        except OSError as problem:
            os.close(fd)
            raise DeviceError(
                f"The memory for a ring of {slots} frames ({size / 1e6:.0f} MB) cannot be had: {problem.strerror}.",
                fix="Raise the memory limit of the service, or use fewer slots or a smaller frame.",
            ) from problem

    @classmethod
    def attach(cls, fd: int, frame_shape: FrameShape, slots: int) -> FrameRing:
        """Map a ring that another process made; the descriptor belongs to the ring from here on.

        Raises:
            DeviceError: The memory is smaller than such a ring.
        """
        _, _, size = _layout(frame_shape, slots)
        found = os.fstat(fd).st_size
        if found != size:
            raise DeviceError(
                f"The frame ring has {found} bytes, but {slots} frames of shape {frame_shape} need {size}.",
                fix="Start agent and camera process from the same installation.",
            )
        return cls(fd, frame_shape, slots, prefault=False)

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def fd(self) -> int:
        """Descriptor of the memory, to be inherited by the camera process; -1 once closed."""
        return self._fd

    def slot(self, index: int) -> Frame:
        """Return a slot's pixels.

        Returns:
            The same array at every call: (H, W, C) uint8, C-contiguous, page-aligned, a view of the shared memory.
            It stays valid until the last reference to it is gone, also after `close`.
        """
        return self._slots[index]

    def generation(self, index: int) -> int:
        """Return a slot's generation: odd while it is written, or when its writer died in the middle."""
        return int(self._counters()[index])

    def begin_write(self, index: int) -> None:
        """Mark a slot as being written; also takes over a slot whose last writer died."""
        counters = self._counters()
        counters[index] += np.uint64(2 if int(counters[index]) % 2 else 1)

    def end_write(self, index: int) -> None:
        """Mark a slot as whole again."""
        self._counters()[index] += np.uint64(1)

    def close(self) -> bool:
        """Let go of the memory; calling it twice is harmless.

        Returns:
            Whether this process has unmapped the memory now. False when somebody still holds a slot's array: then it
            is unmapped with the last of them, because a pointer into unmapped memory would crash the process.
        """
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._slots = []
        self._generations = None
        try:
            self._memory.close()
        except BufferError:
            return False
        return True

    def _view(self, index: int, frame_shape: FrameShape) -> Frame:
        offset = self._header_bytes + index * self._slot_bytes
        height, width, channels = frame_shape
        return np.frombuffer(self._memory, np.uint8, height * width * channels, offset).reshape(frame_shape)

    def _counters(self) -> npt.NDArray[np.uint64]:
        if self._generations is None:
            raise ValueError("The frame ring is closed; make another one.")
        return self._generations


def _layout(frame_shape: FrameShape, slots: int) -> tuple[int, int, int]:
    """Return the bytes of the header, of one slot, and of the whole, each a multiple of the page size."""
    height, width, channels = frame_shape
    if min(height, width, channels, slots) < 1:
        raise ValueError(f"A ring needs sizes of at least 1, not {slots} frames of shape {frame_shape}.")
    header = _pages(slots * np.dtype(np.uint64).itemsize)
    slot = _pages(height * width * channels)
    return header, slot, header + slots * slot


def _available_bytes() -> int:
    """Return what /proc/meminfo calls MemAvailable: free, or free as soon as somebody needs it."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def _pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
