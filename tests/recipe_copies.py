"""Recipes that tests make from another one."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from engines.files import sha256_of


def rename(folder: Path, **changes) -> None:
    """Change a recipe's own description, and the list of its files with it."""
    content = yaml.safe_load((folder / "recipe.yaml").read_text())
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**content, **changes}))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["recipe.yaml"] = sha256_of(folder / "recipe.yaml")
    (folder / "manifest.json").write_text(json.dumps(manifest))
