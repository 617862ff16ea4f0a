"""Work on streams: enqueued at once, executed late, in the order that streams and events promise and no other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fakes.cuda_memory import Block


@dataclass(frozen=True)
class Use:
    """A range of device addresses that a piece of work reads or writes."""

    block: Block
    start: int
    end: int
    writes: bool

    def collides(self, other: Use) -> bool:
        return (self.writes or other.writes) and self.start < other.end and other.start < self.end


@dataclass(eq=False)
class Work:
    """What one call enqueues.

    `alone` pairs a rule with what may not be in use twice at once: an execution context, a scratch buffer. `owner`
    is a weak reference to what must live as long as the work can run.
    """

    label: str
    run: Callable[[], None]
    uses: tuple[Use, ...] = ()
    alone: tuple[tuple[str, int], ...] = ()
    owner: Callable[[], object] | None = None


@dataclass(eq=False)
class Task:
    """Work in a queue; it runs after every task in `after`."""

    work: Work
    stream: Stream
    after: list[Task]
    done: bool = False

    def comes_after(self, other: Task) -> bool:
        """Whether streams and events promise that `other` is finished first."""
        seen, ahead = set(), list(self.after)
        while ahead:
            task = ahead.pop()
            if task is other:
                return True
            if not task.done and id(task) not in seen:
                seen.add(id(task))
                ahead += task.after
        return False


@dataclass(eq=False)
class Capture:
    """What a stream records in place of running it."""

    origin: Stream
    mode: int
    thread: int = field(default_factory=threading.get_ident)
    nodes: list[Work] = field(default_factory=list)
    unjoined: set[int] = field(default_factory=set)
    valid: bool = True


@dataclass(eq=False)
class Stream:
    """One queue. `blocking` streams and the default stream wait for each other."""

    handle: int
    blocking: bool
    context: object
    queue: list[Task] = field(default_factory=list)
    capture: Capture | None = None

    @property
    def is_default(self) -> bool:
        return self.handle == 0

    def last(self) -> list[Task]:
        return self.queue[-1:]


@dataclass(eq=False)
class Event:
    """A mark in a stream. `task` is the last record, `captured` a record in a capture."""

    handle: int
    flags: int
    context: object
    task: Task | None = None
    captured: Capture | None = None
    captured_on: int = -1


@dataclass(eq=False)
class Graph:
    handle: int
    context: object
    nodes: list[Work]


@dataclass(eq=False)
class GraphExec:
    handle: int
    context: object
    nodes: list[Work]
    last: Task | None = None


def run_until(task: Task) -> None:
    """Execute a task, and before it all that it waits for and all that lies before it in its stream."""
    while not task.done:
        first = task.stream.queue[0]
        for earlier in first.after:
            run_until(earlier)
        if first.done:
            continue
        task.stream.queue.pop(0)
        first.done = True
        first.work.run()


def pending(streams: Iterator[Stream]) -> Iterator[Task]:
    """All tasks that have not run."""
    for stream in streams:
        yield from stream.queue
