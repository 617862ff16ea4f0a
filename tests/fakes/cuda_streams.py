"""Streams, events, copies and fills: what is enqueued runs only when somebody waits for it or asks after it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fakes.cuda_codes import CudaError, CUresult
from fakes.cuda_memory import host_bytes
from fakes.cuda_state import MachineState
from fakes.cuda_work import Event, Stream, Task, Work, pending, run_until

NON_BLOCKING = 1
DISABLE_TIMING = 2


class Streams(MachineState):
    """The part of `CudaMachine` that knows the order of work."""

    def create_stream(self, flags: int) -> Stream:
        context = self.enter("cuStreamCreate")
        stream = Stream(self.new_handle(), blocking=not flags & NON_BLOCKING, context=context)
        self.streams[stream.handle] = stream
        return stream

    def destroy_stream(self, handle: int) -> None:
        """Forget a stream; the driver finishes its work first."""
        self.enter("cuStreamDestroy")
        stream = self.stream(handle)
        if stream.is_default or stream.capture:
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_HANDLE, "handle", f"stream {handle:#x}")
        self._drain(stream)
        del self.streams[handle]

    def stream(self, handle: int) -> Stream:
        """Find a stream; 0 and 1 are the default one."""
        found = self.streams.get(0 if handle == 1 else handle)
        if found is None:
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_HANDLE, "handle", f"there is no stream {handle:#x}")
        return found

    def enqueue(self, handle: int, work: Work, after: Sequence[Task] = ()) -> Task | None:
        """Put work at the end of a stream; None where the stream is captured."""
        stream = self.stream(handle)
        for use in work.uses:
            if not use.block.alive:
                raise self.broke("use-after-free", f"{work.label} uses {use.start:#x}")
        if stream.capture is not None:
            stream.capture.nodes.append(work)
            if stream is not stream.capture.origin:
                stream.capture.unjoined.add(stream.handle)
            return None
        task = Task(work, stream, [*stream.queue[-1:], *self._implicit(stream), *after])
        self._check_order(task)
        stream.queue.append(task)
        return task

    def synchronize_stream(self, handle: int) -> None:
        self.enter("cuStreamSynchronize")
        stream = self.stream(handle)
        self._check_not_captured(stream, "cuStreamSynchronize")
        self._drain(stream)

    def synchronize_all(self) -> None:
        self.enter("cuCtxSynchronize", unsafe=True)
        for stream in list(self.streams.values()):
            self._drain(stream)

    def query_stream(self, handle: int) -> bool:
        """Say whether the work was done before the call; the call lets it run."""
        self.enter("cuStreamQuery")
        stream = self.stream(handle)
        self._check_not_captured(stream, "cuStreamQuery")
        was_done = not stream.queue
        self._drain(stream)
        return was_done

    def create_event(self, flags: int) -> Event:
        event = Event(0, flags, self.enter("cuEventCreate"))
        event.handle = self.new_handle()
        self.events[event.handle] = event
        return event

    def destroy_event(self, handle: int) -> None:
        self.enter("cuEventDestroy")
        self.event(handle)
        del self.events[handle]

    def event(self, handle: int) -> Event:
        if handle not in self.events:
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_HANDLE, "handle", f"there is no event {handle:#x}")
        return self.events[handle]

    def record_event(self, event_handle: int, handle: int) -> None:
        """Mark this place of a stream; in a capture the mark exists in the graph only."""
        self.enter("cuEventRecord")
        event, stream = self.event(event_handle), self.stream(handle)
        if stream.capture is not None:
            event.captured, event.captured_on, event.task = stream.capture, stream.handle, None
            return
        event.captured = None
        event.task = self.enqueue(handle, Work("record", lambda: None))

    def wait_event(self, handle: int, event_handle: int) -> None:
        """Let later work of a stream wait for a mark; one that was never recorded does nothing."""
        self.enter("cuStreamWaitEvent")
        stream, event = self.stream(handle), self.event(event_handle)
        if event.captured is not None:
            self._join(stream, event)
        elif stream.capture is not None and event.task is not None:
            stream.capture.valid = False
            code = CUresult.CUDA_ERROR_STREAM_CAPTURE_ISOLATION
            raise self.refuse(code, "capture-isolation", "the event was recorded outside the capture")
        elif event.task is not None:
            self.enqueue(handle, Work("wait", lambda: None), [event.task])

    def query_event(self, handle: int) -> bool:
        self.enter("cuEventQuery")
        task = self._mark(handle, "cuEventQuery")
        if task is None or task.done:
            return True
        self._run(task)
        return False

    def synchronize_event(self, handle: int) -> None:
        self.enter("cuEventSynchronize")
        task = self._mark(handle, "cuEventSynchronize")
        if task is not None:
            self._run(task)

    def elapsed_ms(self, start: int, end: int) -> float:
        self.enter("cuEventElapsedTime")
        marks = [self._mark(start, "cuEventElapsedTime"), self._mark(end, "cuEventElapsedTime")]
        timed = all(not self.event(handle).flags & DISABLE_TIMING for handle in (start, end))
        if None in marks or not timed:
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_HANDLE, "event-timing", "an event without a time")
        if not all(mark.done for mark in marks):
            raise CudaError(CUresult.CUDA_ERROR_NOT_READY, None, "an event is not reached")
        return 0.25

    def _mark(self, handle: int, name: str) -> Task | None:
        event = self.event(handle)
        if event.captured is not None:
            raise self.refuse(CUresult.CUDA_ERROR_CAPTURED_EVENT, "event-captured", name)
        return event.task

    def _join(self, stream: Stream, event: Event) -> None:
        if event.captured.origin.capture is not event.captured:
            raise self.refuse(CUresult.CUDA_ERROR_CAPTURED_EVENT, "event-captured", "cuStreamWaitEvent")
        if stream.capture not in {None, event.captured}:
            code = CUresult.CUDA_ERROR_STREAM_CAPTURE_ISOLATION
            raise self.refuse(code, "capture-isolation", "the event belongs to another capture")
        if stream.capture is None:
            stream.capture = event.captured
            event.captured.unjoined.add(stream.handle)
        elif stream is event.captured.origin:
            event.captured.unjoined.discard(event.captured_on)

    def _implicit(self, stream: Stream) -> list[Task]:
        if not stream.blocking:
            return []
        others = self.streams.values() if stream.is_default else [self.streams[0]]
        blocking = [other for other in others if other.blocking and other is not stream]
        for other in blocking:
            if other.capture is not None:
                other.capture.valid = False
                code = CUresult.CUDA_ERROR_STREAM_CAPTURE_IMPLICIT
                raise self.refuse(code, "capture-implicit", "the default stream waits for a captured stream")
        return [task for other in blocking for task in other.queue[-1:]]

    def _check_order(self, task: Task) -> None:
        for other in pending(self.streams.values()):
            if task.comes_after(other):
                continue
            for rule, _ in sorted(set(task.work.alone) & set(other.work.alone)):
                raise self.broke(rule, f"{task.work.label} beside {other.work.label}")
            if any(mine.collides(theirs) for mine in task.work.uses for theirs in other.work.uses):
                raise self.broke("stream-race", f"{task.work.label} beside {other.work.label}, on the same memory")

    def _check_not_captured(self, stream: Stream, name: str) -> None:
        captured = stream.capture
        if captured is None and stream.is_default:
            captured = next((other.capture for other in self.streams.values() if other.capture), None)
        if captured is not None:
            captured.valid = False
            raise self.refuse(CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "capture-sync", f"{name} in a capture")

    def _drain(self, stream: Stream) -> None:
        if stream.queue:
            self._run(stream.queue[-1])

    def _run(self, task: Task) -> None:
        try:
            run_until(task)
        except CudaError as error:
            self.sticky = error.code
            raise


class Copies(Streams):
    """The part of `CudaMachine` that enqueues copies and fills."""

    def copy_to_device(self, target: int, source: int, nbytes: int, handle: int) -> None:
        """Enqueue a copy; pageable memory is read at once, locked memory when the copy runs."""
        self.enter("cuMemcpyHtoDAsync")
        use = self.use(target, nbytes, writes=True)
        uses, read = self._host_side(source, nbytes, handle, writes=False)
        if not uses:
            staged = read().copy()
            read = lambda: staged  # noqa: E731 - the same name for both kinds of memory
        work = Work("copy to the device", lambda: _assign(use.block.bytes_at(target, nbytes), read()), (use, *uses))
        self.enqueue(handle, work)

    def copy_to_host(self, target: int, source: int, nbytes: int, handle: int) -> None:
        """Enqueue a copy; into pageable memory it is finished when the call returns."""
        self.enter("cuMemcpyDtoHAsync")
        use = self.use(source, nbytes, writes=False)
        uses, write = self._host_side(target, nbytes, handle, writes=True)
        work = Work("copy to the host", lambda: _assign(write(), use.block.bytes_at(source, nbytes)), (use, *uses))
        task = self.enqueue(handle, work)
        if not uses and task is not None:
            self._run(task)

    def fill(self, target: int, value: int, number: int, handle: int, *, width: int) -> None:
        """Enqueue a fill with a value of `width` bytes."""
        self.enter(f"cuMemsetD{8 * width}Async")
        if target % width:
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_VALUE, "memset-alignment", f"{target:#x}")
        use = self.use(target, number * width, writes=True)
        pattern = np.frombuffer(int(value).to_bytes(width, "little"), np.uint8)
        fill = np.tile(pattern, number)
        self.enqueue(handle, Work("fill", lambda: _assign(use.block.bytes_at(target, fill.size), fill), (use,)))

    def _host_side(self, address: int, nbytes: int, handle: int, *, writes: bool):
        block = self.memory.by_host(address)
        if block is None and self.stream(handle).capture is not None:
            raise self.broke("capture-pageable", f"{address:#x} is not locked")
        if block is None:
            return (), lambda: host_bytes(address, nbytes)
        device = block.device + address - block.host
        return (self.use(device, nbytes, writes=writes),), lambda: block.bytes_at(device, nbytes)


def _assign(target: np.ndarray, source: np.ndarray) -> None:
    target[...] = source
