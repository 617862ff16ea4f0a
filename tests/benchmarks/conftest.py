import cv2
import numpy as np
import pytest
from parts import FRAME_SHAPE, draw_part

GOOD_TEST_FRAMES, DEFECTIVE_FRAMES = 4, 4


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """A data set in MVTec AD layout, `data/part`: 40 good frames, 4 good and 2 x 4 defective test frames; read only."""
    root = tmp_path_factory.mktemp("data") / "part"
    for index in range(40):
        write(root / "train" / "good" / f"{index:03d}.png", draw_part(index))
    for index in range(GOOD_TEST_FRAMES):
        write(root / "test" / "good" / f"{index:03d}.png", draw_part(1000 + index))
    for label, radius in (("hole", 7), ("dot", 3)):
        for index in range(DEFECTIVE_FRAMES):
            frame, mask = draw_part(2000 + index), np.zeros(FRAME_SHAPE[:2], np.uint8)
            for picture, colour in ((frame, (20, 20, 220)), (mask, 255)):
                cv2.circle(picture, (40 + 3 * index, 30), radius, colour, -1)
            write(root / "test" / label / f"{index:03d}.png", frame)
            write(root / "ground_truth" / label / f"{index:03d}_mask.png", mask)
    return root


def write(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)
