"""Work on many files at once, in order, without holding more than a few of them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD_OF_EACH_THREAD = 4


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int | None = None
) -> Iterator[Result]:
    """Yield the results in the order of the items; threads work a few items ahead of the reader.

    Up to four results a thread wait in memory; without a number there are as many threads as processors.

    `Executor.map` takes all items at once: its results pile up where the reader is slower, and Ctrl-C waits for all.
    """
    threads = threads or os.cpu_count() or 1
    ahead: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                ahead.append(pool.submit(function, item))
                if len(ahead) > threads * _AHEAD_OF_EACH_THREAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
