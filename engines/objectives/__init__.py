"""The objectives that `train --objective` offers: every file of this package is one, named after it.

A new one is a file with a subclass of `engines.objective.Objective`, named in its `OBJECTIVE`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from engines.errors import UsageError

if TYPE_CHECKING:
    from engines.objective import Objective

DEFAULT_OBJECTIVE = "restore"


def objective_names() -> list[str]:
    """Return the names of all objectives; nothing is imported."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def objective_named(name: str) -> type[Objective]:
    """Return the class of an objective.

    Raises:
        UsageError: There is none of this name.
    """
    if name not in objective_names():
        raise UsageError(f"--objective {name} is not known.", fix=f"Give one of {', '.join(objective_names())}.")
    found: type[Objective] = importlib.import_module(f"{__name__}.{name}").OBJECTIVE
    return found
