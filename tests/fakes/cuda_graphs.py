"""Stream capture and graphs: work recorded once, launched often, always with the addresses of the capture."""

from __future__ import annotations

import threading

from fakes.cuda_codes import CUresult
from fakes.cuda_state import RELAXED, MachineState
from fakes.cuda_work import Capture, Graph, GraphExec, Work


class Graphs(MachineState):
    """The part of `CudaMachine` that knows graphs."""

    def begin_capture(self, handle: int, mode: int) -> None:
        self.enter("cuStreamBeginCapture")
        stream = self.stream(handle)
        if stream.is_default:
            code = CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
            raise self.refuse(code, "capture-default-stream", "the default stream cannot be captured")
        if stream.capture is not None:
            raise self.refuse(CUresult.CUDA_ERROR_ILLEGAL_STATE, "capture-not-begun", "the stream is captured already")
        stream.capture = Capture(stream, mode)

    def end_capture(self, handle: int) -> Graph:
        """End a capture; on failure the stream is out of capture, too, except in the wrong thread."""
        context = self.enter("cuStreamEndCapture")
        capture = self.stream(handle).capture
        if capture is None or capture.origin.handle != handle:
            raise self.refuse(CUresult.CUDA_ERROR_ILLEGAL_STATE, "capture-not-begun", "the stream is not captured")
        if capture.mode != RELAXED and capture.thread != threading.get_ident():
            code = CUresult.CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD
            raise self.refuse(code, "capture-thread", "another thread began the capture")
        for stream in self.streams.values():
            if stream.capture is capture:
                stream.capture = None
        if not capture.valid:
            code = CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
            raise self.refuse(code, self.refused[-1], "a call during the capture spoilt it")
        if capture.unjoined:
            code = CUresult.CUDA_ERROR_STREAM_CAPTURE_UNJOINED
            raise self.refuse(code, "capture-unjoined", "a stream was forked and never joined")
        graph = Graph(self.new_handle(), context, capture.nodes)
        self.graphs[graph.handle] = graph
        return graph

    def capture_status(self, handle: int) -> int:
        """Return 0 for none, 1 for active, 2 for spoilt."""
        self.enter("cuStreamIsCapturing")
        capture = self.stream(handle).capture
        return 0 if capture is None else 1 if capture.valid else 2

    def instantiate(self, handle: int) -> GraphExec:
        context = self.enter("cuGraphInstantiate")
        executable = GraphExec(self.new_handle(), context, list(self._graph(handle).nodes))
        self.execs[executable.handle] = executable
        return executable

    def launch(self, handle: int, stream: int) -> None:
        """Enqueue all nodes, after the launches of the same graph before."""
        self.enter("cuGraphLaunch")
        executable = self._exec(handle)
        for node in executable.nodes:
            if node.owner is not None and node.owner() is None:
                raise self.broke("graph-owner", f"what {node.label} belongs to was destroyed")
            for use in node.uses:
                if not use.block.alive:
                    raise self.broke("graph-address", f"{node.label} uses {use.start:#x}, which was freed")
        work = Work(
            "graph",
            lambda: [node.run() for node in executable.nodes] and None,
            tuple(use for node in executable.nodes for use in node.uses),
            tuple(alone for node in executable.nodes for alone in node.alone),
        )
        executable.last = self.enqueue(stream, work, [executable.last] if executable.last else [])

    def destroy_graph(self, handle: int) -> None:
        self.enter("cuGraphDestroy")
        self._graph(handle)
        del self.graphs[handle]

    def destroy_exec(self, handle: int) -> None:
        self.enter("cuGraphExecDestroy")
        self._exec(handle)
        del self.execs[handle]

    def _graph(self, handle: int) -> Graph:
        if handle not in self.graphs:
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_HANDLE, "handle", f"there is no graph {handle:#x}")
        return self.graphs[handle]

    def _exec(self, handle: int) -> GraphExec:
        if handle not in self.execs:
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_HANDLE, "handle", f"there is no executable graph {handle:#x}")
        return self.execs[handle]
