"""The engine's graph in torch: front (uint8 frame to the picture and what the core sees of it), core, tail (error maps and box).

In this order the first kernel reads the uint8 frame once, and no full-resolution float tensor outlives it.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from engines.box_mean import box_mean
from engines.core_inputs import CORE_INPUTS
from engines.error_maps import LEARNED, ErrorMaps
from engines.forward import Core
from engines.reduction import Geometry
from engines.tile_planes import Cutter, Stitcher


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


class CoreGraph(nn.Module):
    """The part that is quantised: the autoencoder and, where an error map needs it, the defect head."""

    def __init__(self, core: Core, errors: list[str]) -> None:
        super().__init__()
        self.network = core.network
        self.head = core.head if LEARNED in errors else None

    def forward(self, seen: Tensor, picture: Tensor) -> tuple[Tensor, ...]:
        """Map what the autoencoder sees and the picture (N, C', h, w) to the reconstruction and the head's logits."""
        reconstruction = self.network(seen)
        if self.head is None:
            return (reconstruction,)
        return reconstruction, self.head(picture, reconstruction)


class Tail(nn.Module):
    """Error maps of the reconstruction, smoothed."""

    def __init__(self, names: list[str], channels: int, *, box: int) -> None:
        super().__init__()
        self.maps = ErrorMaps(names, channels)
        self.box = box

    def forward(self, picture: Tensor, reconstruction: Tensor, logits: Tensor | None = None) -> Tensor:
        """Map two pictures (N, C', h, w) and the head's logits to the anomaly maps (N, K, h, w), >= 0."""
        return box_mean(self.maps(picture, reconstruction, logits), self.box)


class InspectionGraph(nn.Module):
    """Frame in, anomaly maps out: the reference that the exported model is compared with."""

    def __init__(self, front: Front, core: CoreGraph, tail: Tail) -> None:
        super().__init__()
        self.front, self.core, self.tail = front, core, tail
        tiling = front.geometry.tiling
        self.cutter, self.stitcher = Cutter(tiling), Stitcher(tiling)

    def forward(self, frame: Tensor) -> Tensor:
        """Map (1, H, W, C) uint8 to the anomaly maps (1, K, h, w) float32."""
        picture, seen = self.front(frame)
        maps: Tensor = self.tail(picture, *self.stitcher(*self.core(*self.cutter(seen, picture))))
        return maps
