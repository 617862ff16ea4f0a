"""What an image file's bytes say before OpenCV decodes them: is it whole, is it one picture, does it lie turned?

OpenCV returns a truncated file as a picture whose lower part is grey or black, a damaged JPEG as a picture with wrong
stripes, and the first of several pictures without a word.
"""

from __future__ import annotations

import re
import struct
import zlib

import simplejpeg

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_FOUR_COLOURS = frozenset({"CMYK", "YCCK"})
# Webcams leave a few bytes between the picture and its end marker.
_PADDING = re.compile(r"\b(\d+) extraneous bytes before marker 0xd9")
_MOST_PADDING_BYTES = 8
_TIFF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_BIG_TIFF_ORDERS = {b"II+\0": "<", b"MM\0+": ">"}

AGAIN = "Record it again, or remove it."
ONE_EACH = "Save each picture as a file of its own."


def find_fault(content: bytes) -> tuple[str, str] | None:
    """Return what is wrong with an encoded image, and the fix; None where its container shows no fault."""
    if content.startswith(_PNG):
        return _png_fault(content)
    if content.startswith(_JPEG):
        return _jpeg_fault(content)
    return ("holds more than one picture", ONE_EACH) if _has_second_page(content) else None


def may_be_turned(content: bytes) -> bool:
    """Tell whether the file can carry an EXIF orientation that OpenCV leaves out unless it is told to use it."""
    return content.startswith(_JPEG) or (content.startswith(_PNG) and b"eXIf" in content)


def _png_fault(content: bytes) -> tuple[str, str] | None:
    position = len(_PNG)
    while position + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 12 + length
        if end > len(content):
            break
        (stored,) = struct.unpack_from(">I", content, end - 4)
        if zlib.crc32(memoryview(content)[position + 4 : end - 4]) != stored:
            return "is damaged (a PNG checksum is wrong)", AGAIN
        if kind == b"acTL" and content[position + 8 : position + 12] != b"\0\0\0\1":
            return "is animated", ONE_EACH
        if kind == b"IEND":
            return None
        position = end
    return "ends too early (truncated PNG)", AGAIN


def _jpeg_fault(content: bytes) -> tuple[str, str] | None:
    try:
        *_, colours, _ = simplejpeg.decode_jpeg_header(content)
        # The smallest size has every byte of the file read, and takes half the time of the whole picture.
        simplejpeg.decode_jpeg(content, "CMYK" if colours in _FOUR_COLOURS else "GRAY", min_height=1, min_width=1)
    except ValueError as problem:
        padding = _PADDING.search(str(problem))
        if padding is None or int(padding[1]) > _MOST_PADDING_BYTES:
            return f"is damaged ({problem})", AGAIN
    return None


def _has_second_page(content: bytes) -> bool:
    # TIFF 6.0, section 2: a directory ends with the offset of the next one, or 0. BigTIFF has wider numbers.
    try:
        if order := _TIFF_ORDERS.get(content[:4]):
            (first,) = struct.unpack_from(f"{order}I", content, 4)
            (entries,) = struct.unpack_from(f"{order}H", content, first)
            (following,) = struct.unpack_from(f"{order}I", content, first + 2 + 12 * entries)
        elif order := _BIG_TIFF_ORDERS.get(content[:4]):
            (first,) = struct.unpack_from(f"{order}Q", content, 8)
            (entries,) = struct.unpack_from(f"{order}Q", content, first)
            (following,) = struct.unpack_from(f"{order}Q", content, first + 8 + 20 * entries)
        else:
            return False
    except (struct.error, OverflowError):
        # Truncated: the decoder says so.
        return False
    return bool(following)
