"""What a V4L2 driver makes of the mode that it is asked for; the driver is a stand-in."""

import cv2
import numpy as np
import pytest

from edge_agent.camera.uri import parse_uri
from edge_agent.camera.v4l2 import V4l2Camera
from engines.errors import CameraError

# A device that is there for everybody.
DEVICE = "/dev/null"


class Driver:
    """Says yes to everything, and has what it likes: the values in `keeps`, else what it was asked for."""

    def __init__(self, **keeps):
        self.has = {getattr(cv2, f"CAP_PROP_{name.upper()}"): value for name, value in keeps.items()}
        self.keeps = frozenset(self.has)
        self.is_released = False

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return True

    def set(self, prop, value):
        if prop not in self.keeps:
            self.has[prop] = value
        return True

    def get(self, prop):
        return self.has[prop]

    def grab(self):
        return True

    def retrieve(self):
        return True, np.zeros((80, 96, 3), np.uint8)

    def release(self):
        self.is_released = True


@pytest.fixture
def opened(monkeypatch):
    """Open a camera on a driver."""

    def open_on(driver, options):
        monkeypatch.setattr(cv2, "VideoCapture", lambda target, backend: driver)
        camera = V4l2Camera(parse_uri(f"v4l2://{DEVICE}?{options}"))
        camera.open()
        return camera

    return open_on


@pytest.mark.parametrize(
    ("options", "keeps", "refused"),
    [
        ("width=1920&height=1080", {"frame_width": 640, "frame_height": 480}, "width=1920"),
        ("width=640&height=1080", {"frame_height": 480}, "height=1080"),
        ("fps=30", {"fps": 29.6}, "fps=30"),
        ("fourcc=MJPG", {"fourcc": float(cv2.VideoWriter.fourcc(*"YUYV"))}, "fourcc=MJPG"),
    ],
)
def test_a_mode_that_the_driver_replaces_is_refused_with_the_option_named(opened, options, keeps, refused):
    driver = Driver(**keeps)
    with pytest.raises(CameraError, match=f"does not take {refused}. Choose .* `v4l2-ctl --list-formats-ext`"):
        opened(driver, options)
    assert driver.is_released


def test_a_mode_that_the_driver_takes_opens_the_camera(opened):
    driver = Driver(fps=29.97)
    assert opened(driver, "fourcc=MJPG&width=1280&height=720&fps=30").frame_shape == (80, 96, 3)
    assert not driver.is_released


def test_the_pixel_format_comes_before_the_size_which_depends_on_it(opened):
    driver = Driver()
    opened(driver, "width=1280&fps=30&fourcc=MJPG")
    assert [*driver.has] == [cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FPS]
