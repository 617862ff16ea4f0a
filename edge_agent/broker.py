"""The demo's broker: amqtt in a process of its own, on loopback, for anybody on this machine.

Not for a line, which runs Mosquitto. Nothing is kept on disk; there are no access lists; a retained message comes twice
to a client that subscribes to several topics; what was queued for a client that was away comes with its retain flag set,
so that a trigger among it is ignored.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from types import TracebackType

from engines.errors import ConfigError, DeviceError

LOOPBACK = "127.0.0.1"
_START_TIMEOUT_S = 20.0
_END_TIMEOUT_S = 3.0


class EmbeddedBroker:
    """Runs the broker while the context lasts; it also ends when this process dies, however it dies.

    Args:
        port: Where to listen on loopback; 0 takes a free one, which `port` then says.

    Raises:
        ConfigError: amqtt is not installed, or the port is taken.
    """

    def __init__(self, port: int = 0) -> None:
        if importlib.util.find_spec("amqtt") is None:
            raise ConfigError(
                "the embedded broker needs amqtt, which is not installed.",
                fix="Run: pip install 'edge-agent[broker]', or name a running broker in the station file.",
            )
        self.port = port or _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> EmbeddedBroker:  # noqa: PYI034, typing.Self is newer than Python 3.10
        """Start it and wait until it listens.

        Raises:
            ConfigError: The port is taken.
            DeviceError: It did not start.
        """
        if _answers(self.port):
            raise ConfigError(
                f"port {self.port} on {LOOPBACK} is taken.", fix="Choose another port, or use the broker that is there."
            )
        command = [sys.executable, "-m", "edge_agent.broker", "--port", str(self.port)]
        # Its own session: Ctrl-C is for the agent, which still has verdicts to send through the broker.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise DeviceError(
                    "the embedded broker did not start.", fix="Its own message is above; try another port."
                )
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it; its clients' wills are not published."""
        if self._process is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def main() -> int:
    """Run the broker until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m edge_agent.broker", description="MQTT broker for demos")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    # amqtt logs every client that goes away as an error; what keeps it from starting is raised.
    logging.basicConfig(level=logging.CRITICAL, format="broker: %(message)s")
    asyncio.run(_serve(arguments.port))
    return 0


async def _serve(port: int) -> None:
    from amqtt.broker import Broker

    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"{LOOPBACK}:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    broker = Broker(config)
    await broker.start()
    loop = asyncio.get_running_loop()
    parent_gone = asyncio.Event()

    def wait_for_end() -> None:
        # Not sys.stdin: the interpreter would wait at its end for the lock that a blocked read holds.
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(parent_gone.set)

    threading.Thread(target=wait_for_end, daemon=True).start()
    await parent_gone.wait()
    await broker.shutdown()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1.0).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
