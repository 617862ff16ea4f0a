"""Pictures that people look at: frame, reconstruction, anomaly map and mask side by side."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from edge_agent.decision import NOT_INSPECTED, ZMap
from edge_agent.inspection import Mask
from engines.images import Frame

_DEFECT_BGR = (60, 60, 230)
_TRUTH_BGR = (90, 200, 90)
NOT_SHOWN_CODE = 120
_JPEG_QUALITY = 88


def colour(frame: Frame) -> Frame:
    """Return a frame as BGR, (H, W, 3) uint8."""
    if frame.shape[2] == 1:
        return np.repeat(frame, 3, axis=2)
    return np.ascontiguousarray(frame[:, :, :3])


def heat(z: ZMap, factor: float) -> Frame:
    """Return z as colours, (H, W, 3) uint8: dark is usual, the middle the limit, bright twice that, grey never inspected."""
    scaled = np.clip(z / (2 * factor), 0, 1) * 255
    picture = cv2.applyColorMap(scaled.astype(np.uint8), cv2.COLORMAP_INFERNO)
    picture[z <= NOT_INSPECTED] = NOT_SHOWN_CODE
    return np.asarray(picture, np.uint8)


def shade(plane: ZMap, shown: Mask) -> Frame:
    """Return a plane as colours from dark, its smallest value, to bright, (h, w, 3) uint8; grey where it is not shown."""
    values = plane[shown]
    low, high = (float(values.min()), float(np.quantile(values, 0.995))) if values.size else (0.0, 1.0)
    scaled = np.clip((np.where(shown, plane, low) - low) / max(high - low, 1e-12), 0, 1) * 255
    picture = cv2.applyColorMap(scaled.astype(np.uint8), cv2.COLORMAP_INFERNO)
    picture[~shown] = NOT_SHOWN_CODE
    return np.asarray(picture, np.uint8)


def outlined(frame: Frame, mask: Mask, truth: Mask | None = None) -> Frame:
    """Return a BGR copy with the defect mask tinted and outlined in red, and the true one outlined in green."""
    picture = colour(frame).copy()
    if mask.any():
        tint = np.array(_DEFECT_BGR, np.float32)
        picture[mask] = (0.65 * picture[mask] + 0.35 * tint).astype(np.uint8)
    for region, bgr in ((truth, _TRUTH_BGR), (mask, _DEFECT_BGR)):
        if region is not None and region.any():
            edges, _ = cv2.findContours(region.view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(picture, edges, -1, bgr, max(2, picture.shape[1] // 150))
    return picture


def resized(picture: Frame, width_px: int) -> Frame:
    """Return a picture scaled to a width, aspect kept."""
    height_px = max(1, round(picture.shape[0] * width_px / picture.shape[1]))
    shrinks = width_px < picture.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width_px, height_px), interpolation=method), np.uint8)


def data_uri(picture: Frame) -> str:
    """Return a picture as a `data:` address for a page that needs no other file."""
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def png(pictures: list[Frame], gap_px: int = 8) -> bytes:
    """Return pictures of one size side by side on white, as a PNG file."""
    gap = np.full((pictures[0].shape[0], gap_px, 3), 255, np.uint8)
    row = [part for picture in pictures for part in (picture, gap)][:-1]
    _, encoded = cv2.imencode(".png", np.hstack(row))
    return bytes(encoded.tobytes())
