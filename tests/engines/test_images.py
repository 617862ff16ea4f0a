"""A file is a frame, the right way up, or an error that names it."""

import base64
import struct
import zlib

import cv2
import numpy as np
import pytest

from engines.errors import FrameError
from engines.image_containers import find_fault
from engines.images import read_image


@pytest.fixture
def jpeg():
    pixels = np.random.default_rng(0).integers(0, 256, (100, 150, 3), np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def with_thumbnail(jpeg):
    thumbnail = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    segment = b"Exif\0\0" + thumbnail
    return jpeg[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[2:]


@pytest.mark.parametrize("metadata", [0, 257, 5000, 65_000])
def test_metadata_behind_a_jpeg_is_no_truncation(tmp_path, jpeg, metadata):
    (tmp_path / "a.jpg").write_bytes(with_thumbnail(jpeg) + bytes(metadata))
    assert read_image(tmp_path / "a.jpg").shape == (100, 150, 3)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.999])
@pytest.mark.parametrize("change", [lambda jpeg: jpeg, with_thumbnail], ids=["plain", "thumbnail"])
def test_a_truncated_jpeg_is_refused_even_with_a_whole_thumbnail(tmp_path, jpeg, change, kept):
    content = change(jpeg)
    assert len(content) < 65_536
    (tmp_path / "a.jpg").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(FrameError, match=r"is damaged \(.*\)\. Record it again"):
        read_image(tmp_path / "a.jpg")


def test_a_jpeg_with_an_empty_sector_is_refused(tmp_path, jpeg):
    content = bytearray(jpeg)
    content[2048:2560] = bytes(512)
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(FrameError, match="Corrupt JPEG data"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize(("padding", "is_read"), [(8, True), (40, False)])
def test_webcams_may_leave_a_few_bytes_before_the_end(tmp_path, jpeg, padding, is_read):
    (tmp_path / "a.jpg").write_bytes(jpeg[:-2] + bytes(padding) + jpeg[-2:])
    if is_read:
        assert read_image(tmp_path / "a.jpg").shape == (100, 150, 3)
    else:
        with pytest.raises(FrameError, match="extraneous"):
            read_image(tmp_path / "a.jpg")


def smooth(shape, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return cv2.GaussianBlur(pixels, (0, 0), 3).reshape(shape)


def exif(orientation):
    # TIFF 6.0: little endian, one entry: tag 0x112, type SHORT, one value.
    return b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x112, 3, 1, orientation, 0, 0)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def turned_jpeg(pixels, orientation):
    jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
    segment = b"Exif\0\0" + exif(orientation)
    return jpeg[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[2:]


def png_with(pixels, extra):
    png = cv2.imencode(".png", pixels)[1].tobytes()
    return png[:33] + extra + png[33:]


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_frame_that_lies_turned_is_turned_upright(tmp_path, orientation, turns, channels, suffix):
    pixels = smooth((72, 100, channels))
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(
        turned_jpeg(pixels, orientation) if suffix == "jpg" else png_with(pixels, chunk(b"eXIf", exif(orientation)))
    )
    frame = read_image(path)
    expected = np.rot90(pixels, turns)
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).mean() < (4 if suffix == "jpg" else 1e-9)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_a_fourth_channel_is_kept(tmp_path, suffix):
    pixels = smooth((64, 80, 4))
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), pixels)
    np.testing.assert_array_equal(read_image(path), pixels)


def test_grey_with_alpha_becomes_colour_with_a_fourth_channel(tmp_path):
    rows = b"".join(b"\0" + bytes([value, 255]) * 64 for value in range(64))
    header = struct.pack(">IIBBBBB", 64, 64, 8, 4, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    frame = read_image(tmp_path / "a.png")
    assert frame.shape == (64, 64, 4)
    assert (frame[10, :, :3] == 10).all()


def test_a_jpeg_in_printing_colours_is_read_in_camera_colours(tmp_path):
    # 64 x 64 pixels of red 200, green 40, blue 90, saved as CMYK.
    packed = (
        b"c-p1Ty%oYB00iJm1VJDO5t2NYF}{>B1ElrE+RBMsz!5AQ!k-;n0in~{?_G7*T)2lf^maP#515dI7dp)HJS8GAlv7Fw6^zZf5=u!SWuZ$`"
        b"Xse|(m9Z=5y;sY+sa#V!@4^+1qeV+Pi@{>F=q<txHL?ibI9tTQncp@&c|wy814i_~1{ZT)pLY0579Jl)N*Xx"
    )
    (tmp_path / "a.jpg").write_bytes(zlib.decompress(base64.b85decode(packed)))
    frame = read_image(tmp_path / "a.jpg")
    assert frame.shape == (64, 64, 3)
    assert np.abs(frame.astype(int) - (90, 40, 200)).max() <= 3


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [("a.png", np.uint16, "uint16"), ("a.tif", np.uint16, "uint16"), ("a.tif", np.float32, "float32")],
)
def test_more_than_8_bits_are_refused(tmp_path, name, kind, message):
    cv2.imwrite(str(tmp_path / name), smooth((64, 64)).astype(kind))
    with pytest.raises(FrameError, match=rf"{name} has {message} pixels; 8 bits a channel are needed\. Save it"):
        read_image(tmp_path / name)


def test_a_file_of_several_pictures_is_refused(tmp_path):
    pages = [smooth((64, 64, 3), seed) for seed in range(2)]
    cv2.imwritemulti(str(tmp_path / "a.tif"), pages)
    with pytest.raises(FrameError, match=r"a\.tif holds more than one picture. Save each picture"):
        read_image(tmp_path / "a.tif")
    (tmp_path / "b.png").write_bytes(png_with(pages[0], chunk(b"acTL", struct.pack(">II", 2, 0))))
    with pytest.raises(FrameError, match=r"b\.png is animated"):
        read_image(tmp_path / "b.png")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_a_second_tiff_directory_is_found_in_every_byte_order(order, big):
    magic = b"II" if order == "<" else b"MM"
    offset, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    start = magic + struct.pack(f"{order}HHH", 43, 8, 0) if big else magic + struct.pack(f"{order}H", 42)
    first = len(start) + struct.calcsize(f"<{offset}")
    for following in (0, 500):
        directory = struct.pack(f"{order}{count}", 3) + bytes(3 * entry) + struct.pack(f"{order}{offset}", following)
        content = start + struct.pack(f"{order}{offset}", first) + directory
        assert (find_fault(content) is not None) == bool(following)
        assert find_fault(content[:-2]) is None


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.3, 0.9])
def test_a_truncated_file_is_never_a_frame(tmp_path, suffix, kept):
    content = cv2.imencode(f".{suffix}", smooth((80, 100, 3)))[1].tobytes()
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(FrameError, match=rf"a\.{suffix} "):
        read_image(path)
