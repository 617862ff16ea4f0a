"""A TCP proxy between agent and broker that does what networks do, and notes which triggers the agent accepted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from typing import Literal

Direction = Literal["to_agent", "to_broker"]
_PUBLISH, _PUBACK = 3, 4


class Witness:
    """Reads along one MQTT connection: a trigger is accepted once the agent has sent its PUBACK."""

    def __init__(self, accepted: list[int | str]) -> None:
        self._accepted = accepted
        self._buffers = {"to_agent": b"", "to_broker": b""}
        self._waiting: dict[int, int | str] = {}

    def see(self, direction: Direction, data: bytes) -> None:
        buffer = self._buffers[direction] + data
        while (packet := _first_packet(buffer)) is not None:
            header, body, buffer = packet
            if direction == "to_agent" and header >> 4 == _PUBLISH:
                self._publish(header, body)
            elif direction == "to_broker" and header >> 4 == _PUBACK:
                meas_id = self._waiting.pop(int.from_bytes(body[:2], "big"), None)
                if meas_id is not None:
                    self._accepted.append(meas_id)
        self._buffers[direction] = buffer

    def _publish(self, header: int, body: bytes) -> None:
        length = int.from_bytes(body[:2], "big")
        topic, rest = body[2 : 2 + length], body[2 + length :]
        is_retained, has_receipt = header & 1, header & 6
        if topic.endswith(b"/trigger") and has_receipt and not is_retained:
            self._waiting[int.from_bytes(rest[:2], "big")] = json.loads(rest[2:])["meas_id"]


def _first_packet(buffer: bytes) -> tuple[int, bytes, bytes] | None:
    """Return header byte, body and what follows; None until a packet is whole (MQTT 3.1.1, 2.2.3)."""
    length = 0
    for position in range(1, min(5, len(buffer))):
        length |= (buffer[position] & 0x7F) << 7 * (position - 1)
        if buffer[position] < 0x80:
            end = position + 1 + length
            return (buffer[0], buffer[position + 1 : end], buffer[end:]) if len(buffer) >= end else None
    return None


class Proxy:
    """Keeps its port; `upstream`, `delay_s` and `slice_bytes` may be changed at any time.

    What is held is delivered when it is let go, as TCP does after a gap: nothing is ever lost within a connection.
    `accepted` grows by the measurement id of every trigger that the agent acknowledged, `refused` by every connection
    that no broker took.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.delay_s = 0.0
        self.slice_bytes: int | None = None
        self.accepted: list[int | str] = []
        self.refused = 0
        self._connections: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._is_open = {"to_agent": asyncio.Event(), "to_broker": asyncio.Event()}
        self.let_through()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])

    def hold(self, *directions: Direction) -> None:
        """Let nothing through in these directions until `let_through`."""
        for direction in directions:
            self._loop.call_soon_threadsafe(self._is_open[direction].clear)

    def let_through(self) -> None:
        """Do everything at once and whole again."""
        self.delay_s, self.slice_bytes = 0.0, None
        for way in self._is_open.values():
            self._loop.call_soon_threadsafe(way.set)

    def reset(self) -> None:
        """End every connection as a router that has forgotten it: RST to both sides."""
        self._call(self._reset())

    def close(self) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _reset(self) -> None:
        for writer in list(self._connections):
            # One that has just ended by itself has no socket any more.
            with contextlib.suppress(OSError):
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        await self._reset()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, from_agent: asyncio.StreamReader, to_agent: asyncio.StreamWriter) -> None:
        try:
            from_broker, to_broker = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            self.refused += 1
            to_agent.transport.abort()
            return
        witness = Witness(self.accepted)
        pair = {to_agent, to_broker}
        self._connections |= pair
        try:
            # `close` cancels; asyncio's own callback does not expect that before Python 3.12.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(
                    self._pump(from_agent, to_broker, "to_broker", witness),
                    self._pump(from_broker, to_agent, "to_agent", witness),
                )
        finally:
            self._connections -= pair
            for writer in pair:
                writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction, witness: Witness
    ) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        writing = asyncio.ensure_future(self._write(waiting, writer, direction))
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(65_536):
                    witness.see(direction, data)
                    waiting.put_nowait((self._loop.time() + self.delay_s, data))
            waiting.put_nowait((self._loop.time() + self.delay_s, b""))
            await writing
        finally:
            writing.cancel()

    async def _write(
        self, waiting: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = await waiting.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                await self._is_open[direction].wait()
                if not data:
                    break
                step = self.slice_bytes or len(data)
                for begin in range(0, len(data), step):
                    writer.write(data[begin : begin + step])
                    await writer.drain()
                    await asyncio.sleep(0)
        writer.close()
