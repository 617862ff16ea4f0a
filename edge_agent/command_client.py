"""One command to a running agent, and its reply."""

from __future__ import annotations

import queue
from typing import Any

from edge_agent.broker_address import resolve_broker
from edge_agent.ids import uuid7
from edge_agent.messages import encode_command, parse_object
from edge_agent.mqtt import Message, MqttClient
from edge_agent.station import Station
from edge_agent.topics import Topics
from engines.errors import MessageError, PublishError

_REPLY_S = 10.0


def send_command(station: Station, name: str, *, frames: int | None = None) -> dict[str, Any]:
    """Send a command to the agent of a station, and return its reply.

    Raises:
        PublishError: The broker cannot be reached, or nobody replies.
    """
    topics = Topics(station.mqtt.topic_prefix, station.site, station.station)
    correlation_id = uuid7()
    replies: queue.SimpleQueue[Message] = queue.SimpleQueue()
    client = MqttClient(resolve_broker(station.mqtt), f"command-{correlation_id}", {topics.reply: replies.put})
    client.start()
    try:
        if not client.live.wait(_REPLY_S):
            host, port = station.mqtt.address
            raise PublishError(
                f"no broker answers at {host}:{port}.", fix="Start it, or correct `mqtt.broker` in the station file."
            )
        client.publish(topics.command, encode_command(name, correlation_id, frames=frames))
        while True:
            content = _content(replies.get(timeout=_REPLY_S))
            if content.get("correlation_id") == correlation_id:
                return content
    except queue.Empty as problem:
        raise PublishError(
            f"station {station.site}/{station.station} does not reply.",
            fix="Is the agent running there? See `journalctl -u edge-agent@STATION`.",
        ) from problem
    finally:
        client.stop()


def _content(message: Message) -> dict[str, Any]:
    try:
        return parse_object(message.payload, "reply")
    except MessageError:
        return {}
