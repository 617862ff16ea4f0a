"""What the engine said of every frame, on disk: a few thousand frames are more than memory may be asked for."""

from __future__ import annotations

import tempfile
from types import TracebackType

import numpy as np

from edge_agent.decision import ZMap
from edge_agent.inspection import Mask


class MapFile:
    """z and defect mask of frames at map resolution, in a temporary file (in `TMPDIR`) that has no name.

    Written and read, not memory-mapped: a full disk must be an error, and not the end of the process.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        """Make the file, for maps of (h, w)."""
        self._shape = shape
        self._pixels = shape[0] * shape[1]
        self._mask_bytes = (self._pixels + 7) // 8
        self._file = tempfile.TemporaryFile(prefix="edge-calibrate-")  # noqa: SIM115, closed by __exit__
        self._count = 0

    def append(self, z: ZMap, defect_mask: Mask) -> int:
        """Write one frame's maps, both (h, w), and return their number.

        Raises:
            OSError: The disk is full; maps written before can still be read.
        """
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(z, np.float32).data)
        self._file.write(np.packbits(defect_mask).data)
        self._count += 1
        return self._count - 1

    def read(self, number: int) -> tuple[ZMap, Mask]:
        """Return z and defect mask, newly allocated."""
        self._file.seek(number * (4 * self._pixels + self._mask_bytes))
        z = np.frombuffer(self._file.read(4 * self._pixels), np.float32)
        bits = np.frombuffer(self._file.read(self._mask_bytes), np.uint8)
        mask = np.unpackbits(bits, count=self._pixels).view(np.bool_)
        return z.reshape(self._shape), mask.reshape(self._shape)

    def __enter__(self) -> MapFile:  # noqa: PYI034, typing.Self is newer than Python 3.10
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
