"""How the station is: for the PLC in the `health` message, for Prometheus and for people at an endpoint of this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edge_agent.health_server import Answer, HealthServer
from edge_agent.metrics import CONTENT_TYPE, Metrics, Vitals
from edge_agent.station import Station

# So many zones and devices keep the message below 4 kB; the kernel's names have at most 19 characters.
MOST_SENSORS = 16


class StationHealth:
    """Reads the sensors and serves the endpoint, if the station file wants it.

    Args:
        station: The station file.
        vitals: What is looked at.
    """

    def __init__(self, station: Station, vitals: Vitals) -> None:
        self._vitals = vitals
        self._is_triggered = station.camera.mode != "free_run"
        self._metrics = Metrics(vitals)
        paths = {"/metrics": self._page, "/healthz": self.liveness, "/readyz": self.readiness}
        self._server = HealthServer(station.health.port, paths) if station.health.port else None

    def start(self) -> None:
        """Begin to read sensors and to answer."""
        self._vitals.sensors.start()
        if self._server:
            self._server.start()

    def stop(self) -> None:
        """End both threads."""
        self._vitals.sensors.stop()
        if self._server:
            self._server.stop()

    @property
    def is_refused(self) -> bool:
        """Whether the endpoint's port is not to be had."""
        return self._server is not None and self._server.is_refused

    def facts(self) -> dict[str, Any]:
        """Return what the `health` message says besides life and state; never waits."""
        vitals, readings = self._vitals, self._vitals.sensors.latest()
        hottest = sorted(readings.temperatures_c.items(), key=lambda item: -item[1])[:MOST_SENSORS]
        throttled = sorted(name for name, is_throttled in readings.throttled.items() if is_throttled)[:MOST_SENSORS]
        return {
            "reasons_now": vitals.state.reasons(),
            "outbox_depth": vitals.outbox.depth(),
            **vitals.tally.content(),
            "drift": {figure: round(nearness, 3) for figure, nearness in vitals.watch.drift().items()},
            "temperatures_c": {zone: round(celsius, 1) for zone, celsius in hottest},
            "throttled": throttled if readings.throttled else None,
            "frames": vitals.keeper.content(),
        }

    def liveness(self) -> Answer:
        """Say whether every loop turns, and which does not: 200 or 503."""
        standing = self._vitals.heartbeat.standing()
        return _json(is_well=not standing, content={"standing": standing})

    def readiness(self) -> Answer:
        """Say whether a part would be inspected now, and why not: 200 or 503."""
        vitals = self._vitals
        hindrances = [f"standstill_{loop}" for loop in vitals.heartbeat.standing()]
        if self._is_triggered and not vitals.link.is_live:
            hindrances.append("mqtt_not_connected")
        is_ready = vitals.state.is_inspecting and not hindrances
        return _json(
            is_well=is_ready, content={"state": vitals.state.name, "reasons": hindrances + vitals.state.reasons()}
        )

    def _page(self) -> Answer:
        return Answer(200, CONTENT_TYPE, self._metrics.page())


def _json(*, is_well: bool, content: Mapping[str, Any]) -> Answer:
    return Answer(200 if is_well else 503, "application/json", json.dumps(content).encode() + b"\n")
