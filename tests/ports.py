"""Ports for servers that a test stops and starts again."""

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nobody listens.

    It lies below those that outgoing connections get: one of them could take it while its server is away, or, asking for
    it, meet itself there.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
