"""HTTP for this machine's own programs: a few paths, GET only, one thread. What a client does, the inspection never feels.

One request is answered at a time, and a client has one second to ask and one to take the answer; others wait meanwhile in
the kernel's queue, which is bounded. So slow clients cost each other time, and nobody else.
"""

from __future__ import annotations

import io
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from typing import Any

log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
_REQUEST_S = 1.0
_TURN_S = 0.25
_RETRY_S = 10.0


@dataclass(frozen=True)
class Answer:
    """What a path says: an HTTP status, and the content with its type."""

    status: int
    content_type: str
    content: bytes


class HealthServer:
    """Serves paths from a thread of its own, also while the port is not to be had: then it tries again.

    Args:
        port: TCP port on 127.0.0.1.
        paths: Called for each request for a path, in the server's thread.
        retry_s: Time between two attempts to get the port.
    """

    def __init__(self, port: int, paths: Mapping[str, Callable[[], Answer]], *, retry_s: float = _RETRY_S) -> None:
        self._port, self._paths, self._retry_s = port, paths, retry_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health-server", daemon=True)
        self.is_refused = False

    def start(self) -> None:
        """Begin to listen; returns at once."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End the thread, after the request in hand if that is soon over."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._listen()

    def _listen(self) -> None:
        try:
            server = _Server(self._port, self._paths)
        except OSError as problem:
            self._say_refused(problem)
            self._stopping.wait(self._retry_s)
            return
        self.is_refused = False
        with server:
            while not self._stopping.is_set():
                server.handle_request()

    def _say_refused(self, problem: OSError) -> None:
        if not self.is_refused:
            log.error(
                "health endpoint port=%d problem=%s fix=%s",
                self._port,
                problem,
                "Free it, or choose another health.port.",
            )
        self.is_refused = True


class _Server(TCPServer):
    allow_reuse_address = True
    request_queue_size = 64
    timeout = _TURN_S

    def __init__(self, port: int, paths: Mapping[str, Callable[[], Answer]]) -> None:
        self.paths = paths
        super().__init__((ADDRESS, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's signature
        problem = sys.exc_info()[1]
        if not isinstance(problem, OSError):
            log.error("health request failed", exc_info=problem)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "edge-agent"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BufferedReader(_UntilDeadline(self.connection))

    def do_GET(self) -> None:
        answer_of = self.server.paths.get(self.path)
        if answer_of is None:
            self.send_error(404, explain=f"Ask for one of {', '.join(self.server.paths)}.")
            return
        answer = answer_of()
        self.connection.settimeout(_REQUEST_S)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: a scrape every few seconds is no news."""


class _UntilDeadline(io.RawIOBase):
    """Reads a socket until a request's time is over, however little comes at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._until_s = time.monotonic() + _REQUEST_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("The request took too long.")
        self._connection.settimeout(left_s)
        return self._connection.recv_into(buffer)
