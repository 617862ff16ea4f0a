"""A generated part for the tests: different from the demo's, and from what training draws."""

import cv2
import numpy as np

FRAME_SHAPE = (80, 96, 3)


def draw_part(seed: int) -> np.ndarray:
    """Draw a part, (80, 96, 3) uint8: a plate with a ring and two holes, slightly different each time."""
    random = np.random.default_rng(seed)
    frame = np.full(FRAME_SHAPE, (70, 60, 50), np.float32) + random.uniform(-4, 4)
    centre = (48 + int(random.integers(-1, 2)), 40 + int(random.integers(-1, 2)))
    cv2.circle(frame, centre, 28, (150, 165, 180), -1, cv2.LINE_AA)
    cv2.circle(frame, centre, 20, (90, 110, 140), 3, cv2.LINE_AA)
    for side in (-1, 1):
        cv2.circle(frame, (centre[0] + 10 * side, centre[1]), 4, (30, 30, 35), -1, cv2.LINE_AA)
    frame = cv2.GaussianBlur(frame, (0, 0), 0.7) * random.uniform(0.97, 1.03) + random.normal(0, 1.5, FRAME_SHAPE)
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8)
