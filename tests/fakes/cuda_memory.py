"""Memory of the simulated device: real bytes behind invented device addresses.

Device addresses are not host addresses, every block is 256-byte aligned, and a gap lies behind each, so that an
access beyond the end meets nothing. Addresses are never used twice: a stale one is recognised.
"""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fakes.cuda_codes import CudaError, CUresult

ALIGNMENT = 256
DEVICE_BASE = 0x7A00_0000_0000_0000
PAGE = mmap.PAGESIZE
READ_ONLY = 0x08
DEVICE_MAP = 0x02


def host_bytes(address: int, nbytes: int) -> np.ndarray:
    """View host memory as uint8; the caller answers for it being mapped."""
    if nbytes == 0:
        return np.zeros(0, np.uint8)
    return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))


def mapping_of(address: int, nbytes: int) -> str | None:
    """Return `r` or `rw` for host memory that is mapped as a whole, None for what is not."""
    at, writable = address, True
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights = line.split()[:2]
        start, end = (int(part, 16) for part in span.split("-"))
        if start <= at < end and rights[0] == "r":
            at, writable = end, writable and rights[1] == "w"
        if at >= address + nbytes:
            return "rw" if writable else "r"
    return None


@dataclass(eq=False)
class Block:
    """One allocation or registration.

    `device` is the first address for the device, `host` that for the CPU (None for device memory), `backing` what
    keeps the bytes alive where the fake owns them.
    """

    kind: str
    device: int
    nbytes: int
    host: int | None
    flags: int
    context: object
    backing: np.ndarray | None = None
    alive: bool = True
    where: str = field(default="", repr=False)

    def bytes_at(self, address: int, nbytes: int) -> np.ndarray:
        """View a part by its device address."""
        offset = address - self.device
        if self.backing is not None:
            return self.backing[offset : offset + nbytes]
        return host_bytes(self.host + offset, nbytes)


class Memory:
    """Every block that was ever made, alive or not."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.blocks: list[Block] = []
        self._next = DEVICE_BASE

    @property
    def used_bytes(self) -> int:
        return sum(block.nbytes for block in self.alive())

    def alive(self, *kinds: str) -> list[Block]:
        return [block for block in self.blocks if block.alive and (not kinds or block.kind in kinds)]

    def allocate(self, kind: str, nbytes: int, *, flags: int, context: object, same_address: bool = False) -> Block:
        """Make a block of `device`, `pinned` or `managed` memory, filled with a pattern that is no valid map."""
        if nbytes <= 0:
            raise CudaError(CUresult.CUDA_ERROR_INVALID_VALUE, "bounds", "0 bytes")
        if self.used_bytes + nbytes > self.total_bytes:
            detail = f"{nbytes} bytes, {self.total_bytes - self.used_bytes} are free"
            raise CudaError(CUresult.CUDA_ERROR_OUT_OF_MEMORY, "out-of-memory", detail)
        backing = _page_aligned(nbytes)
        host = None if kind == "device" else backing.ctypes.data
        device = host if same_address else self._invent(nbytes)
        return self._add(Block(kind, device, nbytes, host, flags, context, backing))

    def register(self, address: int, nbytes: int, *, flags: int, context: object, same_address: bool) -> Block:
        """Make a block of the caller's memory."""
        device = address if same_address else self._invent(nbytes)
        return self._add(Block("registered", device, nbytes, address, flags, context))

    def by_device(self, address: int) -> Block | None:
        """Find the block that an address of the device lies in; a dead one where no living one does."""
        return _find(self.blocks, lambda block: block.device <= address < block.device + block.nbytes)

    def by_host(self, address: int) -> Block | None:
        """Find the living block that a CPU address lies in."""
        living = [block for block in self.alive() if block.host is not None]
        return _find(living, lambda block: block.host <= address < block.host + block.nbytes)

    def _invent(self, nbytes: int) -> int:
        address = self._next
        self._next += (nbytes // ALIGNMENT + 17) * ALIGNMENT
        return address

    def _add(self, block: Block) -> Block:
        self.blocks.append(block)
        return block


def _find(blocks, fits):
    found = [block for block in blocks if fits(block)]
    return next((block for block in found if block.alive), found[-1] if found else None)


def _page_aligned(nbytes: int) -> np.ndarray:
    pages = np.full(nbytes + PAGE, 0xCD, np.uint8)
    start = -pages.ctypes.data % PAGE
    return pages[start : start + nbytes]
