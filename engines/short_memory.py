"""Memory that does not suffice for a training, on the processor or on a CUDA device, is a message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from engines.errors import EngineError

# Only CUDA's allocator has an error of its own; torch's on the processor, CUDA itself and cuBLAS say it in a RuntimeError.
_SIGNS = ("can't allocate memory", "std::bad_alloc", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")


@contextmanager
def short_memory_named() -> Iterator[None]:
    """Turn what a lack of memory raises into a message; everything else passes.

    Raises:
        EngineError: Memory did not suffice.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as problem:
        if not _is_short_memory(problem):
            raise
        said = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise EngineError(
            f"memory does not suffice for this training: {said.rstrip('.')}.",
            fix="Free memory and give the same command, which continues at the checkpoint where there is one, or begin "
            "anew with a smaller --batch, --width or --size.",
        ) from problem


def _is_short_memory(problem: MemoryError | RuntimeError) -> bool:
    return isinstance(problem, (MemoryError, torch.OutOfMemoryError)) or any(sign in str(problem) for sign in _SIGNS)
