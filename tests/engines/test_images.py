"""A JPEG is whole if its picture ends: what a camera writes before and after it says nothing."""

import cv2
import numpy as np
import pytest

from engines.errors import FrameError
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
    with pytest.raises(FrameError, match="truncated JPEG"):
        read_image(tmp_path / "a.jpg")
