"""The recipe: the directory that holds all that one part number needs.

It is written once, by training, and copied whole. `manifest.json` names every file that training wrote with its
SHA-256; a threshold revision, added later, brings a manifest of its own, so that no file is ever rewritten.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field

from engines.errors import RecipeError
from engines.files import replace_file, sha256_of
from engines.untrusted import parse_json
from engines.yaml_file import StrictModel, load_yaml

MANIFEST = "manifest.json"
MODEL_FILES = {"fp32": "model.onnx", "tensorrt": "model.int8.onnx", "cpu": "model.cpu.onnx"}
GOLDEN_FOLDER = "golden"
IMAGES_FILE = "images.csv"
# Its manifest has been checked before: no person has written what is not understood.
NEWER_RECIPE = "Another version of this program made it: install that one here, or train again with this one."
THRESHOLDS_FOLDER = "thresholds"

Positive = Annotated[int, Field(ge=1)]


class FrameSize(StrictModel):
    """The camera frame that the model's input takes."""

    height_px: Annotated[int, Field(ge=64, le=16384)]
    width_px: Annotated[int, Field(ge=64, le=16384)]
    channels: Literal[1, 3, 4]


class MapSize(StrictModel):
    """The size at which the autoencoder works and the anomaly maps come out."""

    height_map_px: Annotated[int, Field(ge=64, le=4096)]
    width_map_px: Annotated[int, Field(ge=64, le=4096)]


class Training(StrictModel):
    """How the network was trained; the same values on the same machine give the same network.

    `minutes` is what was asked for where the steps follow from it; `steps` alone gives the same network.
    """

    objective: str
    core_input: str = "edges"
    seed: int
    steps: Positive
    minutes: float | None = None
    batch: Positive
    width: Positive
    qat: bool = False


class Recipe(StrictModel):
    """The content of `recipe.yaml`."""

    schema_: Literal[1] = Field(alias="schema")
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    revision: Positive
    created: str
    frame: FrameSize
    roi_xywh_px: Annotated[list[int], Field(min_length=4, max_length=4)]
    map: MapSize
    # Rows and columns in which the core sees the map; older recipes have no such line.
    tiles: Annotated[list[Positive], Field(min_length=2, max_length=2, default_factory=lambda: [1, 1])]
    error_maps: Annotated[list[str], Field(min_length=1, max_length=3)]
    box_map_px: Annotated[int, Field(ge=1, le=63)]
    resize: Literal["none", "letterbox", "stretch"]
    training: Training

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the frame that the model takes."""
        return self.frame.height_px, self.frame.width_px, self.frame.channels

    @property
    def maps_shape(self) -> tuple[int, int, int]:
        """(K, h, w) of the anomaly maps."""
        return len(self.error_maps), self.map.height_map_px, self.map.width_map_px

    @property
    def roi_size_wh(self) -> tuple[int, int]:
        """Width and height of the inspected region in camera pixels."""
        return self.roi_xywh_px[2], self.roi_xywh_px[3]


def load_recipe(folder: Path) -> Recipe:
    """Read a recipe after checking that every file is the one that training wrote.

    Raises:
        RecipeError: A file is missing, truncated, altered or not understood.
    """
    if not (folder / "recipe.yaml").is_file():
        raise RecipeError(
            f"{folder} is not a recipe: it has no recipe.yaml.", fix="Give the folder that `edge-engines train` wrote."
        )
    check_manifest(folder)
    return load_yaml(folder / "recipe.yaml", Recipe, error=RecipeError, fix=NEWER_RECIPE)


def save_recipe(folder: Path, recipe: Recipe) -> None:
    """Write `recipe.yaml`; the manifest is written last, by `write_manifest`."""
    content = yaml.safe_dump(recipe.model_dump(by_alias=True), sort_keys=False, default_flow_style=None)
    replace_file(folder / "recipe.yaml", content.encode())


def write_manifest(folder: Path, *, versions: dict[str, str]) -> None:
    """Seal a folder: name every file in it, thresholds excepted, with its SHA-256.

    Args:
        folder: A recipe or a threshold revision.
        versions: What made it, name to version.
    """
    files = {
        str(path.relative_to(folder)): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST and not _is_later(path.relative_to(folder))
    }
    content = json.dumps({"schema": 1, "versions": versions, "sha256": files}, indent=1)
    replace_file(folder / MANIFEST, content.encode())


def check_manifest(folder: Path) -> dict[str, str]:
    """Compare every file that the manifest names with what is on disk.

    Returns:
        SHA-256 by file name, relative to the folder.

    Raises:
        RecipeError: The manifest or a file is missing or differs; every such file is named.
    """
    fix = "Copy the whole folder again from the machine that made it; if that fails too, train or fit again."
    try:
        manifest = parse_json((folder / MANIFEST).read_text())
        expected: dict[str, str] = dict(manifest["sha256"])
        faults = [f"{name} {fault}" for name, digest in expected.items() if (fault := _fault(folder / name, digest))]
    except FileNotFoundError as problem:
        raise RecipeError(f"{folder} has no {MANIFEST}: it is incomplete.", fix=fix) from problem
    except PermissionError as problem:
        raise RecipeError(
            f"{folder} may not be read: {problem}.",
            fix=f"Let every user of this machine read it: `sudo chmod -R a+rX {shlex.quote(str(folder))}`.",
        ) from problem
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RecipeError(f"{folder} cannot be checked by its {MANIFEST}: {problem}.", fix=fix) from problem
    if faults:
        raise RecipeError(f"{folder} is damaged: {'; '.join(faults)}.", fix=fix)
    return expected


def check_revisions(folder: Path) -> None:
    """Compare every threshold revision of a recipe with the manifest of its own.

    Raises:
        RecipeError: A file of one is missing or differs.
    """
    for revision in sorted((folder / THRESHOLDS_FOLDER).glob("[!.]*")):
        if revision.is_dir():
            check_manifest(revision)


def _fault(path: Path, digest: str) -> str | None:
    if not path.is_file():
        return "is missing"
    return None if sha256_of(path) == digest else "was altered or truncated"


def _is_later(path: Path) -> bool:
    return path.parts[0] in {THRESHOLDS_FOLDER, "training"} or path.name.startswith(".")
