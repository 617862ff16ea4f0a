"""Image files on disk, decoded strictly: a damaged or unusual file is an error, never a guess."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from engines.errors import FrameError, NoInputError
from engines.image_containers import AGAIN, find_fault, may_be_turned

Frame = npt.NDArray[np.uint8]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
SMALLEST_SIDE_PX = 64
CHANNELS = {1: "grey", 3: "colour", 4: "colour with a fourth channel"}
# Level 1 takes a third of the time of the default and a tenth more space.
_FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1)


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Return the image files of a folder by name; hidden files and folders are left out.

    A link that leads nowhere is among them: it is an image that cannot be read.

    Raises:
        NoInputError: The folder does not exist or holds no image.
    """
    if not folder.is_dir():
        raise NoInputError(f"{folder} is not a folder.", fix="Check the path: it must be a folder of images.")
    found = folder.rglob("*") if recursive else folder.iterdir()
    images = sorted(p for p in found if p.suffix.lower() in SUFFIXES and not _is_hidden(p, folder) and _is_file(p))
    if not images:
        raise NoInputError(
            f"{folder} holds no image ({', '.join(sorted(SUFFIXES))}).",
            fix="Point to the folder that holds the images.",
        )
    return images


def read_image(path: Path) -> Frame:
    """Decode an image file; one that its camera marked as turned (EXIF) is turned upright, as viewers show it.

    Returns:
        Frame, (H, W, C) uint8, C-contiguous, C = 1 (grey), 3 (BGR) or 4 (BGRx), newly allocated.

    Raises:
        FrameError: The file cannot be read, is damaged, is not 8-bit, holds several pictures, or is smaller than
            64 x 64.
    """
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise _unreadable(
            path, f"cannot be read: {problem.strerror}", "Check the disk and the permissions."
        ) from problem
    if fault := find_fault(content):
        raise _unreadable(path, *fault)
    # Only without IMREAD_UNCHANGED is EXIF heeded; with it, a fourth channel is kept.
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH if may_be_turned(content) else cv2.IMREAD_UNCHANGED
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as problem:
        raise _unreadable(path, "cannot be decoded", AGAIN) from problem
    if pixels is None:
        raise _unreadable(path, "is not an image", "Remove it, or save it again as PNG.")
    if pixels.dtype != np.uint8:
        raise _unreadable(
            path,
            f"has {pixels.dtype} pixels; 8 bits a channel are needed",
            "Save it with 8 bits a channel, as the camera delivers it.",
        )
    frame = np.atleast_3d(pixels)
    if frame.shape[2] not in CHANNELS:
        raise _unreadable(path, f"has {frame.shape[2]} channels", "Save it as grey or colour.")
    if min(frame.shape[:2]) < SMALLEST_SIDE_PX:
        size = f"{frame.shape[1]} x {frame.shape[0]}"
        raise _unreadable(
            path, f"is {size} pixels; at least 64 x 64 is needed", "Remove it, or record it in full size."
        )
    return np.ascontiguousarray(frame)


def encode_png(frame: Frame) -> bytes:
    """Return a frame, (H, W, C) uint8, or a mask, (H, W) uint8, as the content of a PNG file."""
    _, encoded = cv2.imencode(".png", frame, _FAST)
    return encoded.tobytes()


def pixel_sha256(frame: Frame) -> str:
    """Return the SHA-256 of a frame's shape and pixels: the same picture in another file format has the same one."""
    digest = hashlib.sha256(struct.pack("<3I", *frame.shape))
    digest.update(np.ascontiguousarray(frame).data)
    return digest.hexdigest()


def describe_size(shape: Sequence[int]) -> str:
    """Say a frame's shape (H, W, C) as people do: width x height and channels."""
    return f"{shape[1]} x {shape[0]} {CHANNELS.get(shape[2], f'{shape[2]} channels')}"


def _is_file(path: Path) -> bool:
    return path.is_file() or (path.is_symlink() and not path.exists())


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _unreadable(path: Path, what: str, fix: str) -> FrameError:
    return FrameError(f"{path} {what}.", reason="unreadable_frame", fix=fix)
