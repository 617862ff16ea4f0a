"""Where a corruption gets other good frames from."""

from __future__ import annotations

from collections.abc import Callable

from engines.corruptions.masks import Random
from engines.images import Frame

Pick = Callable[[Random], Frame]
