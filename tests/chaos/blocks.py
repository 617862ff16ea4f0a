"""Many parts and many frames, in blocks: what each took, what broke the rule, and what the processes held after it."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from chaos.line import Line
from chaos.rule import find_violations
from chaos.usage import children_of, usage_of
from edge_agent.camera.client import CameraProcess
from edge_agent.camera.messages import BadFrame, FrameCaptured
from edge_agent.frame_stream import stream_events
from edge_agent.live_recipe import open_live_recipe
from edge_agent.messages import encode_ack, parse_object
from edge_agent.outbox import Outbox
from edge_agent.pipeline import Pipeline
from edge_agent.publisher import OutboxPublisher
from edge_agent.ring import FrameRing
from edge_agent.station import CameraPart, MqttPart, Station, TriggerPart
from edge_agent.verdict_writer import VerdictWriter

_SLOTS = 4
_CONSUMER = "memory"


def ask_in_blocks(line: Line, block: int) -> Iterator[dict[str, Any]]:
    """Yield the figures of one block of triggered parts after the other, through the real broker, for ever."""
    while True:
        began = time.monotonic()
        results = [line.plc.ask() for _ in range(block)]
        parts_per_s = block / (time.monotonic() - began)
        line.settle()
        trips_ms = sorted(result.round_trip_ms for result in results if result.round_trip_ms is not None)
        found = find_violations(line.evidence())
        yield {
            "parts": block,
            "answered": len(trips_ms),
            "parts_per_s": parts_per_s,
            "p50_ms": statistics.median(trips_ms),
            "p99_ms": trips_ms[int(0.99 * (len(trips_ms) - 1))],
            **found.told(line.plc.parts),
            "agent": vars(usage_of(line.pid)),
            "camera": vars(usage_of(line.camera_pid())),
        }
        line.forget()


class MemoryLink:
    """A broker and a consumer in memory: whatever is published is acknowledged at once."""

    is_live = True
    generation = 1

    def __init__(self) -> None:
        self.verdicts = 0
        self.publisher: OutboxPublisher | None = None
        self.mid = 0

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> MemoryLink:
        del qos, retain
        if topic.endswith("/verdict"):
            self.verdicts += 1
            result_id = str(parse_object(payload, "verdict")["result_id"])
            self.publisher.on_ack(encode_ack(_CONSUMER, [result_id]))
        return self


def run_freely_in_blocks(recipe: Path, folder: Path, uri: str, block: int) -> Iterator[dict[str, Any]]:
    """Yield the figures of one block of frames after the other, for ever; camera process, engine and outbox are real."""
    station = _station(recipe, folder, uri)
    outbox = Outbox(folder / "outbox.db", dedupe_window_s=1)
    with (
        closing(outbox),
        closing(open_live_recipe(recipe, station.engine)) as live,
        closing(FrameRing.create(live.recipe.frame_shape, _SLOTS)) as ring,
        closing(CameraProcess(station.camera.uri, ring)) as camera,
    ):
        pipeline = Pipeline(live, ring)
        writer = VerdictWriter(outbox, live, station, is_simulated=True)
        link = MemoryLink()
        publisher = OutboxPublisher(
            outbox,
            link,
            writer.topics,
            ack="consumer",
            consumer=_CONSUMER,
            ack_timeout_s=2.0,
            live_for_s=1.0,
            keep_days=1,
            on_aged=lambda count: None,
        )
        link.publisher = publisher
        publisher.on_live()
        publisher.start()
        camera.start()
        try:
            began, frames = time.monotonic(), 0
            for event in stream_events(camera, slots=_SLOTS, stopping=lambda: False):
                if not isinstance(event, FrameCaptured | BadFrame):
                    continue
                writer.write(pipeline.judge(event), event)
                publisher.wake()
                frames += 1
                if frames == block:
                    seconds = time.monotonic() - began
                    yield _figures(block, seconds, outbox, link)
                    began, frames = time.monotonic(), 0
        finally:
            publisher.stop()


def _station(recipe: Path, folder: Path, uri: str) -> Station:
    return Station(
        schema=1,
        site="test",
        station="memory",
        recipe=recipe,
        state_dir=folder,
        camera=CameraPart(uri=uri, mode="free_run"),
        trigger=TriggerPart(deadline_ms=1000, capture_within_ms=1000, dedupe_window_s=1),
        mqtt=MqttPart(broker="mqtt://127.0.0.1:1", consumer=_CONSUMER),
    )


def _figures(block: int, seconds: float, outbox: Outbox, link: MemoryLink) -> dict[str, Any]:
    patience = time.monotonic() + 10
    while outbox.depth() and time.monotonic() < patience:
        time.sleep(0.01)
    delivered, link.verdicts = link.verdicts, 0
    pid = os.getpid()
    (camera,) = children_of(pid)
    return {
        "frames": block,
        "delivered": delivered,
        "waiting": outbox.depth(),
        "frames_per_s": block / seconds,
        "agent": vars(usage_of(pid)),
        "camera": vars(usage_of(camera)),
    }
