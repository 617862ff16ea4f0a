"""The engine's graph in torch: front (uint8 frame to the picture and what the core sees of it), core, tail (error maps and box).

In this order the first kernel reads the uint8 frame once, and no full-resolution float tensor outlives it.
"""

from __future__ import annotations

from torch import Tensor, cat, nn
from torch.nn import functional

from engines.box_mean import box_mean
from engines.core_inputs import CORE_INPUTS
from engines.error_maps import make_error_maps
from engines.network import Autoencoder
from engines.reduction import Geometry


class Front(nn.Module):
    """Cut out the ROI, average, scale to the map's size, and make what the core sees."""

    def __init__(self, geometry: Geometry, core_input: str) -> None:
        super().__init__()
        self.geometry = geometry
        self.core_input = CORE_INPUTS[core_input].module()

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Map (1, H, W, C) uint8 to the picture (1, C', h, w) in [0, 1] and what the core sees of it."""
        geometry = self.geometry
        x, y, width, height = geometry.roi_xywh_px
        region = frame.float()[:, y : y + height, x : x + width, : geometry.channels]
        k = geometry.box
        if k > 1:
            region = region.reshape(1, height // k, k, width // k, k, geometry.channels).mean(dim=(2, 4))
        planes = region.permute(0, 3, 1, 2)
        if tuple(planes.shape[2:]) != geometry.map_shape:
            planes = functional.interpolate(planes, size=geometry.map_shape, mode="bilinear", align_corners=False)
        picture = planes * (1.0 / 255.0)
        return picture, self.core_input(picture)


class Tail(nn.Module):
    """Error maps of the reconstruction, smoothed."""

    def __init__(self, names: list[str], channels: int, *, box: int) -> None:
        super().__init__()
        self.maps = make_error_maps(names, channels)
        self.box = box

    def forward(self, picture: Tensor, reconstruction: Tensor) -> Tensor:
        """Map two (N, C', h, w) to the anomaly maps (N, K, h, w), >= 0."""
        return box_mean(cat([error(picture, reconstruction) for error in self.maps], dim=1), self.box)


class InspectionGraph(nn.Module):
    """Frame in, anomaly maps out: the reference that the exported model is compared with."""

    def __init__(self, front: Front, core: Autoencoder, tail: Tail) -> None:
        super().__init__()
        self.front, self.core, self.tail = front, core, tail

    def forward(self, frame: Tensor) -> Tensor:
        """Map (1, H, W, C) uint8 to the anomaly maps (1, K, h, w) float32."""
        picture, seen = self.front(frame)
        maps: Tensor = self.tail(picture, self.core(seen))
        return maps
