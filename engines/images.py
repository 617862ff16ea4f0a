"""Image files on disk, decoded strictly: a damaged or unusual file is an error, never a guess."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from engines.errors import FrameError, NoInputError

Frame = npt.NDArray[np.uint8]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
SMALLEST_SIDE_PX = 64
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = 0xDA
# Cameras append metadata behind the picture.
_JPEG_TAIL_BYTES = 65_536


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Return the image files of a folder by name; hidden files are left out.

    Raises:
        NoInputError: The folder does not exist or holds no image.
    """
    if not folder.is_dir():
        raise NoInputError(f"{folder} is not a folder.", fix="Check the path: it must be a folder of images.")
    found = folder.rglob("*") if recursive else folder.iterdir()
    images = sorted(p for p in found if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file())
    if not images:
        raise NoInputError(
            f"{folder} holds no image ({', '.join(sorted(SUFFIXES))}).",
            fix="Point to the folder that holds the images.",
        )
    return images


def read_image(path: Path) -> Frame:
    """Decode an image file.

    Returns:
        Frame, (H, W, C) uint8, C-contiguous, C = 1 (grey), 3 (BGR) or 4 (BGRx), newly allocated.

    Raises:
        FrameError: The file cannot be read, is damaged, is not 8-bit, or is smaller than 64 x 64.
    """
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise _unreadable(
            path, f"cannot be read: {problem.strerror}", "Check the disk and the permissions."
        ) from problem
    _check_complete(path, content)
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as problem:
        raise _unreadable(path, "cannot be decoded", "Record it again, or remove it.") from problem
    if pixels is None:
        raise _unreadable(path, "is not an image", "Remove it, or save it again as PNG.")
    if pixels.dtype != np.uint8:
        raise _unreadable(
            path, f"has {pixels.dtype} pixels", "Save it with 8 bits a channel, as the camera delivers it."
        )
    frame = np.atleast_3d(pixels)
    if min(frame.shape[:2]) < SMALLEST_SIDE_PX:
        size = f"{frame.shape[1]} x {frame.shape[0]}"
        raise _unreadable(
            path, f"is {size} pixels; at least 64 x 64 is needed", "Remove it, or record it in full size."
        )
    return np.ascontiguousarray(frame)


def pixel_sha256(frame: Frame) -> str:
    """Return the SHA-256 of a frame's shape and pixels: the same picture in another file format has the same one."""
    digest = hashlib.sha256(struct.pack("<3I", *frame.shape))
    digest.update(np.ascontiguousarray(frame).data)
    return digest.hexdigest()


def describe_size(shape: Sequence[int]) -> str:
    """Say a frame's shape (H, W, C) as people do: width x height and channels."""
    kinds = {1: "grey", 3: "colour", 4: "colour with a fourth channel"}
    return f"{shape[1]} x {shape[0]} {kinds.get(shape[2], f'{shape[2]} channels')}"


def _check_complete(path: Path, content: bytes) -> None:
    # OpenCV returns a truncated file as a picture whose lower part is grey or black.
    if content.startswith(_PNG):
        position = len(_PNG)
        while position + 12 <= len(content):
            length, kind = struct.unpack_from(">I4s", content, position)
            end = position + 12 + length
            if end > len(content):
                break
            (stored,) = struct.unpack_from(">I", content, end - 4)
            if zlib.crc32(memoryview(content)[position + 4 : end - 4]) != stored:
                raise _unreadable(path, "is damaged (a PNG checksum is wrong)", "Record it again, or remove it.")
            if kind == b"IEND":
                return
            position = end
        raise _unreadable(path, "ends too early (truncated PNG)", "Record it again, or remove it.")
    if content.startswith(_JPEG):
        start = max(_jpeg_scan_position(content), len(content) - _JPEG_TAIL_BYTES)
        if content.find(_JPEG_END, start) < 0:
            raise _unreadable(path, "ends too early (truncated JPEG)", "Record it again, or remove it.")


def _jpeg_scan_position(content: bytes) -> int:
    # A thumbnail in the header has an end marker of its own, which says nothing about the picture.
    position = len(_JPEG)
    while position + 4 <= len(content) and content[position] == 0xFF and content[position + 1] != _JPEG_SCAN:
        is_fill = content[position + 1] == 0xFF
        position += 1 if is_fill else 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return position


def _unreadable(path: Path, what: str, fix: str) -> FrameError:
    return FrameError(f"{path} {what}.", reason="unreadable_frame", fix=fix)
