"""Pairs for the training, made one step ahead in a thread: OpenCV and NumPy work while the network learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Made = TypeVar("Made")


@contextmanager
def made_ahead(make: Callable[[int], Made]) -> Iterator[Callable[[int], Made]]:
    """Give a function that returns `make(step)`, which may be begun before it is asked for.

    Args:
        make: Depends on nothing but the step; runs in another thread, one call at a time.
    """
    ahead: dict[int, Future[Made]] = {}
    with ThreadPoolExecutor(1, thread_name_prefix="pairs") as pool:

        def take(step: int) -> Made:
            found = ahead.pop(step, None) or pool.submit(make, step)
            ahead.clear()
            ahead[step + 1] = pool.submit(make, step + 1)
            return found.result()

        yield take
