"""What `edge-engines train` was asked for."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from engines.checkpoint import Fact
from engines.dataset import GoodImages, Rectangle, Resize
from engines.device import Device
from engines.reduction import Geometry
from engines.schedule import Schedule
from engines.tiling import Tiles


@dataclass(frozen=True)
class Order:
    """What `edge-engines train` was asked for.

    Attributes:
        images: Folder of good frames.
        recipe: Folder to make.
        name: The part's name; None takes the folder's.
        map_shape: (h, w) of the maps, or N for about N x N pixels a tile in the region's own aspect.
        roi_xywh_px: Inspected region; None takes the whole frame.
        errors: Names of the error maps; None chooses among `engines.map_choice.CANDIDATES`.
        resize: What happens to frames of another size.
        rotates: The part lies at any angle.
        schedule: How long and how to train.
        tensorboard: Folder for TensorBoard's files; None writes none.
        tiles: Rows and columns of tiles in which the network sees a frame.
    """

    images: Path
    recipe: Path
    name: str | None
    map_shape: int | tuple[int, int]
    roi_xywh_px: Rectangle | None
    errors: list[str] | None
    resize: Resize
    rotates: bool
    schedule: Schedule
    tensorboard: Path | None = None
    tiles: Tiles = (1, 1)


def training_facts(order: Order, images: GoodImages, geometry: Geometry, device: Device) -> dict[str, Fact]:
    """Return all that decides what the network becomes, by option: a checkpoint serves only the same."""
    named_below = {"device", "head"}
    schedule = {f"--{name}": value for name, value in asdict(order.schedule).items() if name not in named_below}
    height, width = geometry.map_shape
    return {
        **schedule,
        "--size": f"{width}x{height}",
        "--roi": ",".join(map(str, geometry.roi_xywh_px)),
        "--resize": order.resize,
        **({"--tiles": "{}x{}".format(*order.tiles)} if geometry.tiling.count > 1 else {}),
        "--rotates": order.rotates,
        "the map `learned` of --errors": order.schedule.head,
        "the device": f"{device.name}, {device.precision}",
        "the content of the images": _fingerprint(images),
        # Another version may have another network, or other corruptions.
        "the version of edge-agent": metadata.version("edge-agent"),
    }


def _fingerprint(images: GoodImages) -> str:
    lines = sorted(f"{digest} {use}" for digest, use in images.uses.items())
    return hashlib.sha256("\n".join([str(images.frame_shape), *lines]).encode()).hexdigest()[:12]
