"""Initialisation, the primary context and the stack of contexts that each thread has."""

from __future__ import annotations

import threading

from fakes.cuda_codes import CUresult
from fakes.cuda_state import Context, MachineState


class Contexts(MachineState):
    """The part of `CudaMachine` that knows contexts."""

    def init(self) -> None:
        self.enter("cuInit", context=False)
        self.initialised = True

    def retain_primary(self) -> Context:
        """Retain the primary context; it does not become current."""
        self.enter("cuDevicePrimaryCtxRetain", context=False)
        if self.primary is None or not self.primary.alive:
            self.primary = Context(self.new_handle())
        self.primary.uses += 1
        return self.primary

    def release_primary(self) -> None:
        """Release once; the last release destroys the context and must find nothing in it."""
        self.enter("cuDevicePrimaryCtxRelease", context=False)
        if self.primary is None or self.primary.uses == 0:
            detail = "the primary context is not retained"
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_CONTEXT, "primary-release", detail)
        self.primary.uses -= 1
        if self.primary.uses:
            return
        self.primary.alive = False
        left = self.things_left()
        if left:
            raise self.broke("context-last", f"the context goes while there are {', '.join(left)}")

    def push(self, context: Context) -> None:
        self.enter("cuCtxPushCurrent", context=False)
        self._check_alive(context)
        self._stack().append(context)

    def pop(self) -> Context:
        self.enter("cuCtxPopCurrent", context=False)
        if not self._stack():
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_CONTEXT, "current-context", "cuCtxPopCurrent: nothing to pop")
        return self._stack().pop()

    def set_current(self, context: Context | None) -> None:
        """Replace the top of the stack; None pops it."""
        self.enter("cuCtxSetCurrent", context=False)
        if context is not None:
            self._check_alive(context)
        if self._stack():
            self._stack().pop()
        if context is not None:
            self._stack().append(context)

    def get_current(self) -> Context | None:
        self.enter("cuCtxGetCurrent", context=False)
        return self._stack()[-1] if self._stack() else None

    def context_by_handle(self, handle: int) -> Context | None:
        """Find a context; handle 0 is none."""
        if handle == 0:
            return None
        if self.primary is None or handle != self.primary.handle:
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_CONTEXT, "context-destroyed", f"context {handle:#x}")
        return self.primary

    def things_left(self) -> list[str]:
        """Name what is still allocated, registered or created."""
        left = [f"{block.kind} memory of {block.nbytes} bytes" for block in self.memory.alive()]
        left += [f"stream {handle:#x}" for handle in self.streams if handle]
        left += [f"event {handle:#x}" for handle in self.events]
        left += [f"graph {handle:#x}" for handle in self.graphs]
        left += [f"executable graph {handle:#x}" for handle in self.execs]
        return left

    def assert_nothing_left(self) -> None:
        """Fail when something was not given back, a context is still held, or a rule was broken on the way."""
        if self.broken:
            raise self.broken[0]
        left = self.things_left()
        if self.primary is not None and self.primary.uses:
            left.append(f"primary context, retained {self.primary.uses} times")
        left += [
            f"current context in thread {thread}"
            for thread, stack in self.stacks.items()
            if any(context.alive for context in stack)
        ]
        if left:
            raise self.broke("leak", ", ".join(left))

    def _stack(self) -> list[Context]:
        return self.stacks.setdefault(threading.get_ident(), [])

    def _check_alive(self, context: Context) -> None:
        if not context.alive:
            detail = "the context was destroyed"
            raise self.refuse(CUresult.CUDA_ERROR_CONTEXT_IS_DESTROYED, "context-destroyed", detail)
