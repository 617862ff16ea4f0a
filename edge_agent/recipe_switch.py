"""Another recipe, prepared in a thread of its own while the one in force goes on, and remembered over restarts."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_agent.live_recipe import LiveRecipe, open_live_recipe
from edge_agent.station import NAME_PATTERN, Station
from engines.errors import AgentError, RecipeError, StationFileError
from engines.files import replace_file
from engines.recipe import Recipe
from engines.untrusted import parse_json

log = logging.getLogger(__name__)

FILE = "recipe.json"


@dataclass(frozen=True)
class Prepared:
    """What became of a preparation: the recipe, or why there is none."""

    name: str
    live: LiveRecipe | None
    problem: str | None


class RecipeSwitch:
    """Used by the inspection thread.

    Args:
        station: Its recipes lie beside each other.
        in_force: What another recipe must share the camera with.
        wake: Called when a preparation is over.
    """

    def __init__(self, station: Station, in_force: LiveRecipe, wake: Callable[[], None]) -> None:
        self._station, self._in_force, self._wake = station, in_force, wake
        self._thread: threading.Thread | None = None
        self._prepared: Prepared | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a recipe is being prepared, or waits to be taken."""
        return self._thread is not None

    def prepare(self, name: str) -> None:
        """Load, verify and test a recipe; the outcome is told by `take`."""
        self._thread = threading.Thread(target=self._prepare, args=(name,), name="recipe", daemon=True)
        self._thread.start()

    def take(self) -> Prepared | None:
        """Return the outcome once it is there, and forget it; None as long as there is none."""
        if self._prepared is None:
            return None
        prepared, self._prepared, self._thread = self._prepared, None, None
        return prepared

    @contextmanager
    def remembering(self, name: str) -> Iterator[None]:
        """Let the next start take this recipe, too, unless the block fails.

        Raises:
            OSError: It cannot be written.
        """
        path = self._station.state_dir / FILE
        before = path.read_bytes() if path.exists() else None
        replace_file(path, json.dumps({"recipe": name, "instead_of": str(self._station.recipe)}).encode())
        try:
            yield
        except BaseException:
            path.unlink() if before is None else replace_file(path, before)
            raise

    def _prepare(self, name: str) -> None:
        try:
            self._prepared = Prepared(name, self._opened(name), None)
        except (AgentError, OSError) as problem:
            self._prepared = Prepared(name, None, str(problem))
        except Exception as problem:
            log.exception("recipe=%s could not be prepared", name)
            self._prepared = Prepared(name, None, repr(problem))
        self._wake()

    def _opened(self, name: str) -> LiveRecipe:
        folder = _folder_of(self._station, name)
        # The line runs: nobody may ask the service manager for patience now, see `ask_for_patience`.
        live = open_live_recipe(folder, self._station.engine, progress=lambda _phase, _share: None)
        try:
            self._check_fits(folder, live.recipe)
            live.try_alone()
        except BaseException:
            live.close()
            raise
        return live

    def _check_fits(self, folder: Path, recipe: Recipe) -> None:
        shape, expected = recipe.frame_shape, self._in_force.recipe.frame_shape
        if recipe.name != folder.name or shape != expected:
            raise RecipeError(
                f"{folder} holds recipe {recipe.name} for frames of shape {shape}, and {folder.name} for frames of "
                f"shape {expected} is needed.",
                fix="A folder is named after its recipe, and all recipes of a station have the same frames.",
            )


def recipe_folder(station: Station) -> Path:
    """Return the recipe to start with: the selected one, until the station file names another.

    Raises:
        StationFileError: What is remembered is damaged: nobody knows which parts come.
    """
    path = station.state_dir / FILE
    if not path.exists():
        return station.recipe
    try:
        content = parse_json(path.read_bytes())
        name, instead_of = str(content["recipe"]), content["instead_of"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise StationFileError(
            f"{path} is damaged: {problem}.", fix=f"Remove it, and the station begins with {station.recipe}."
        ) from problem
    if instead_of != str(station.recipe):
        return station.recipe
    try:
        return _folder_of(station, name)
    except RecipeError as problem:
        raise RecipeError(
            f"{problem.problem} It was selected last.",
            fix=f"Copy it there, or remove {path}, and the station begins with {station.recipe}.",
        ) from problem


def _folder_of(station: Station, name: str) -> Path:
    recipes = station.recipe.parent
    if not re.match(NAME_PATTERN, name) or not (recipes / name).is_dir():
        raise RecipeError(f"{recipes} holds no recipe {name!r}.", fix="Copy it there, or select another one.")
    return recipes / name
