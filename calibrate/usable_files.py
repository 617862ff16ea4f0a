"""Read every frame and mask of a data set before the first is judged, so that all that cannot be used is known at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from calibrate.dataset import LabelledFrame, load_mask
from calibrate.recipe_engine import RecipeEngine
from engines.command_line import track
from engines.errors import AgentError, DatasetError, FrameError
from engines.images import pixel_sha256
from engines.wording import list_lines

_MOST_LINES = 10


def check_files(engine: RecipeEngine, frames: Sequence[LabelledFrame]) -> list[str]:
    """Refuse frames and masks that cannot be used, all at once; none is left out, which would flatter the figures.

    Returns:
        The `pixel_sha256` of each good frame, so that they need not be read again for it.

    Raises:
        DatasetError: A frame is damaged or does not fit the recipe, or a mask is damaged, has another size than its
            frame, or marks nothing.
    """
    good_hashes: list[str] = []
    faults: list[AgentError] = []
    for frame in track(frames, label="checking files"):
        with _collected(faults):
            original = engine.read(frame.path)
            engine.fitted(frame.path, original)
            load_mask(frame, (original.shape[0], original.shape[1]))
            if frame.is_good:
                good_hashes.append(pixel_sha256(original))
    if len(faults) == 1:
        raise DatasetError(faults[0].problem, fix=faults[0].fix) from faults[0]
    if faults:
        lines = list_lines([str(fault) for fault in faults], most=_MOST_LINES, what="files")
        raise DatasetError(
            f"{len(faults)} frames and masks cannot be used:\n{lines}\n",
            fix="Mend them, then run the command again: figures without them could look better than they are.",
        )
    return good_hashes


@contextmanager
def _collected(faults: list[AgentError]) -> Iterator[None]:
    try:
        yield
    except (DatasetError, FrameError) as problem:
        faults.append(problem)
