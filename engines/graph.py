"""The engine's graph in torch: front (uint8 frame to picture and edges), core, tail (error maps and box).

In this order the first kernel reads the uint8 frame once, and no full-resolution float tensor outlives it.
"""

from __future__ import annotations

from torch import Tensor, cat, nn
from torch.nn import functional

from engines.error_maps import make_error_maps
from engines.network import Autoencoder, EdgeFilter, box_mean
from engines.reduction import Geometry


class Front(nn.Module):
    """Cut out the ROI, average, scale to the map's size, and find the edges."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.geometry = geometry
        self.edge_filter = EdgeFilter()

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Map (1, H, W, C) uint8 to the picture (1, C', h, w) in [0, 1] and its edges (1, 1, h, w) in [0, 1]."""
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
        return picture, self.edge_filter(picture)


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
        picture, edges = self.front(frame)
        maps: Tensor = self.tail(picture, self.core(edges))
        return maps
