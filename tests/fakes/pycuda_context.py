"""PyCUDA's own stack of contexts, one for each thread, beside that of the driver."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

from fakes.cuda_codes import CudaError, CUresult
from fakes.cuda_machine import CudaMachine
from fakes.rules import BrokenRuleError


class PycudaContexts:
    """What the objects of one fake module share: the machine, the stacks, the translation of errors."""

    def __init__(self, machine: CudaMachine, translated: Callable[[CudaError, str], Exception]) -> None:
        self.machine = machine
        self._translated = translated
        self._stacks: dict[int, list[Context]] = {}

    def stack(self) -> list[Context]:
        return self._stacks.setdefault(threading.get_ident(), [])

    def current(self) -> Context | None:
        """Return PyCUDA's current context; dead ones are dropped on the way."""
        while self.stack() and not self.stack()[-1].valid:
            self.stack().pop()
        return self.stack()[-1] if self.stack() else None

    def required(self) -> Context:
        """Return the current context, which every object of PyCUDA holds on to."""
        current = self.current()
        if current is None:
            code = CUresult.CUDA_ERROR_INVALID_CONTEXT
            raise self.machine.refuse(code, "current-context", "explicit_context_dependent")
        return current

    def guarded(self, routine: str, function: Callable[..., object]) -> Callable[..., object]:
        """Wrap a function so that it raises PyCUDA's exceptions."""

        @functools.wraps(function)
        def call(*args: object, **named: object) -> object:
            try:
                with self.machine.lock:
                    return function(*args, **named)
            except CudaError as error:
                raise self._translated(error, routine) from error

        return call

    def switch(self) -> None:
        """Take the driver's context away before another one comes."""
        if self.stack():
            self.machine.pop()

    def clean_up(self, owner: Context, action: Callable[[], None], what: str) -> None:
        """Give something back in its context, as PyCUDA's destructors do.

        Raises:
            BrokenRuleError: The context is dead, or belongs to another thread and is not current.
        """
        if not owner.valid:
            raise self.machine.broke("context-last", f"{what} outlives its context")
        if self.current() is owner:
            action()
            return
        if owner.thread != threading.get_ident():
            raise self.machine.broke("pycuda-thread", f"{what} in out-of-thread context could not be cleaned up")
        self.switch()
        self.machine.push(owner.context)
        action()
        self.machine.pop()
        if self.stack():
            self.machine.push(self.stack()[-1].context)


class Context:
    """`pycuda.driver.Context` of a retained primary context."""

    contexts: PycudaContexts

    def __init__(self, context: object) -> None:
        self.context, self.valid, self.thread = context, True, threading.get_ident()

    @property
    def handle(self) -> int:
        return self.context.handle

    def push(self) -> None:
        contexts = self.contexts
        contexts.switch()
        contexts.machine.push(self.context)
        contexts.stack().append(self)

    @classmethod
    def pop(cls) -> None:
        contexts = cls.contexts
        contexts.switch()
        if not contexts.stack():
            code = CUresult.CUDA_ERROR_INVALID_CONTEXT
            raise contexts.machine.refuse(code, "current-context", "cannot pop non-current context")
        contexts.stack().pop()
        current = contexts.current()
        if current is not None:
            contexts.machine.push(current.context)

    def detach(self) -> None:
        contexts = self.contexts
        if not self.valid:
            raise contexts.machine.refuse(CUresult.CUDA_ERROR_INVALID_CONTEXT, "context-destroyed", "context::detach")
        was_current = contexts.current() is self
        if not was_current and self.thread == threading.get_ident():
            contexts.machine.push(self.context)
        self.valid = False
        if was_current or self.thread == threading.get_ident():
            contexts.machine.release_primary()
        current = contexts.current()
        if was_current and current is not None:
            contexts.machine.push(current.context)

    @classmethod
    def synchronize(cls) -> None:
        cls.contexts.machine.synchronize_all()

    @classmethod
    def get_current(cls) -> Context | None:
        return cls.contexts.current()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Context) and other.context is self.context

    def __hash__(self) -> int:
        return hash(self.handle)

    def __del__(self) -> None:
        if self.valid:
            try:
                self.detach()
            except (BrokenRuleError, CudaError):
                self.valid = False  # noted on the machine; a destructor can only print
