"""What every call into the simulated driver shares: who may call, what was broken, which failures are ordered."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from itertools import count

from fakes.cuda_codes import CudaError, CUresult
from fakes.cuda_device import DeviceSettings
from fakes.cuda_memory import Memory
from fakes.cuda_work import Event, Graph, GraphExec, Stream
from fakes.rules import BrokenRuleError

RELAXED = 2
THREAD_LOCAL = 1


@dataclass(eq=False)
class Context:
    """The primary context; `uses` counts what was retained."""

    handle: int
    uses: int = 0
    alive: bool = True


@dataclass
class Faults:
    """Failures that a test orders; each happens once.

    `next_build`, `next_deserialize` and `next_execute` are the messages with which TensorRT fails the next time.
    With `executes_nothing` executions succeed and write nothing, until it is set back.
    """

    calls: dict[str, list[CUresult]] = field(default_factory=dict)
    next_build: str | None = None
    next_deserialize: str | None = None
    next_execute: str | None = None
    executes_nothing: bool = False

    def take(self, name: str) -> str | None:
        """Return an ordered message and forget it."""
        message = getattr(self, name)
        setattr(self, name, None)
        return message


class MachineState:
    """State and gate keeping of one machine; the parts of `CudaMachine` derive from it.

    `refused` lists the rules whose breaking was reported by a code or a refusal, `broken` the errors for what the
    vendor calls undefined. Work that fails while it runs leaves `sticky`, which every later call returns.
    """

    def __init__(self, settings: DeviceSettings) -> None:
        self.settings = settings
        self.memory = Memory(settings.total_bytes)
        self.faults = Faults()
        self.refused: list[str] = []
        self.broken: list[BrokenRuleError] = []
        self.initialised = False
        self.sticky: CUresult | None = None
        self.primary: Context | None = None
        self.stacks: dict[int, list[Context]] = {}
        self.streams: dict[int, Stream] = {0: Stream(0, blocking=True, context=None)}
        self.events: dict[int, Event] = {}
        self.graphs: dict[int, Graph] = {}
        self.execs: dict[int, GraphExec] = {}
        self.lock = threading.RLock()
        self._handles = count(0x10_0000, 0x10)

    def fail_next(self, name: str, code: str, times: int = 1) -> None:
        """Let the next calls of a driver function, by its name, return a code, by its name."""
        self.faults.calls.setdefault(name, []).extend([CUresult[code]] * times)

    def refuse(self, code: CUresult, rule: str, detail: str) -> CudaError:
        """Note a rule that the driver itself enforces and return the error to raise."""
        self.refused.append(rule)
        return CudaError(code, rule, detail)

    def broke(self, rule: str, detail: str) -> BrokenRuleError:
        """Note a rule whose breaking the driver would not see and return the error to raise."""
        self.refused.append(rule)
        # Another one than is raised: the traceback of that would keep the caller's objects alive.
        self.broken.append(BrokenRuleError(rule, detail))
        return BrokenRuleError(rule, detail)

    def enter(self, name: str, *, context: bool = True, unsafe: bool = False) -> Context | None:
        """Let a call in, or raise the code it returns.

        Args:
            name: The driver's function.
            context: Whether it needs a current context.
            unsafe: Whether it may wait for the device, so that a capture prohibits it.
        """
        if not self.initialised and name != "cuInit":
            raise self.refuse(CUresult.CUDA_ERROR_NOT_INITIALIZED, "initialised", f"{name} before cuInit")
        if self.faults.calls.get(name):
            raise CudaError(self.faults.calls[name].pop(0), None, f"{name}: ordered by the test")
        if not context:
            return None
        if self.sticky is not None:
            raise CudaError(self.sticky, None, f"{name}: earlier work failed")
        if unsafe:
            self._check_capture(name)
        return self.current_context(name)

    def current_context(self, name: str) -> Context:
        """Return the context of this thread, or raise the code for there being none."""
        stack = self.stacks.get(threading.get_ident(), [])
        if not stack:
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_CONTEXT, "current-context", f"{name}: no current context")
        if not stack[-1].alive:
            raise self.refuse(CUresult.CUDA_ERROR_CONTEXT_IS_DESTROYED, "context-destroyed", name)
        return stack[-1]

    def new_handle(self) -> int:
        return next(self._handles)

    def _check_capture(self, name: str) -> None:
        for stream in self.streams.values():
            capture = stream.capture
            if capture is None or capture.mode == RELAXED:
                continue
            if capture.mode == THREAD_LOCAL and capture.thread != threading.get_ident():
                continue
            capture.valid = False
            detail = f"{name} while a stream is captured"
            raise self.refuse(CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "capture-alloc", detail)
