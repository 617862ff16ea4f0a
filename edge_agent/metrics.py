"""What Prometheus is told: read from the running station at the moment of a scrape, so that a part costs next to nothing.

Names follow prometheus.io/docs/practices/naming: base units, `_total` for what only counts up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, get_args

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge_agent import __version__
from edge_agent.camera.client import CameraProcess
from edge_agent.frame_keeper import FrameKeeper
from edge_agent.heartbeat import Heartbeat
from edge_agent.link import MqttLink
from edge_agent.live_recipe import LiveRecipe
from edge_agent.messages import State
from edge_agent.outbox import Outbox
from edge_agent.sensors import SensorWatch
from edge_agent.station_state import StationState
from edge_agent.station_watch import StationWatch
from edge_agent.tally import Tally
from engines.errors import OutboxError

_Label = TypeVar("_Label", bound=str)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Vitals:
    """The parts of a running station that its health is read from, each from any thread and without waiting."""

    state: StationState
    tally: Tally
    watch: StationWatch
    live: LiveRecipe
    outbox: Outbox
    camera: CameraProcess
    link: MqttLink
    keeper: FrameKeeper
    heartbeat: Heartbeat
    sensors: SensorWatch = field(default_factory=SensorWatch)


class Metrics:
    """The page of one station, with the figures of its process; nothing is in the library's global registry."""

    def __init__(self, vitals: Vitals) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._registry.register(_StationCollector(vitals))
        ProcessCollector(registry=self._registry)

    def page(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _StationCollector(Collector):
    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals

    def collect(self) -> Iterator[Metric]:
        yield from self._verdicts()
        yield from self._station()
        yield from self._outside()
        yield from self._machine()

    def _verdicts(self) -> Iterator[Metric]:
        tally, live = self._vitals.tally, self._vitals.live
        yield _counter("verdicts", "Verdicts since the start.", "verdict", tally.verdicts())
        yield _counter("invalid", "INVALID verdicts since the start, by reason.", "reason", tally.reasons())
        yield _counter("test_pieces", "Test pieces; passed are those rejected, as they must be.", "result", live.tested)
        yield _gauge(
            "drift_ratio", "Nearness of a figure to drifting, which is 1.", "figure", self._vitals.watch.drift()
        )
        yield from tally.latency_s.collect()
        yield from tally.stages_s.collect()

    def _station(self) -> Iterator[Metric]:
        state, live = self._vitals.state, self._vitals.live
        now = state.name
        yield _gauge(
            "state", "1 for the state that the station is in.", "state", {s: s == now for s in get_args(State)}
        )
        yield _gauge("reason", "1 for each reason of that state.", "reason", dict.fromkeys(state.reasons(), 1))
        yield _total("life", "Counts up once a second while every loop turns.", self._vitals.heartbeat.life)
        build = {
            "version": __version__,
            "recipe": live.recipe.name,
            "recipe_revision": live.recipe.revision,
            "threshold_rev": live.thresholds.name,
            "model_sha256": live.runtime.model_sha256[:12],
        }
        info = GaugeMetricFamily("edge_agent_build_info", "What is running.", labels=list(build))
        info.add_metric([str(value) for value in build.values()], 1)
        yield info

    def _outside(self) -> Iterator[Metric]:
        camera, link, outbox = self._vitals.camera, self._vitals.link, self._vitals.outbox
        yield _value("camera_up", "1 while the camera delivers.", camera.is_open)
        yield _total("camera_reconnects", "How often the camera was opened again.", camera.reconnects)
        yield _total("camera_frames_skipped", "Frames that the camera took while nobody asked.", camera.skipped)
        yield _value("mqtt_up", "1 while there is a connection to the broker.", link.is_live)
        yield _total("mqtt_reconnects", "How often that connection was made anew.", link.reconnects)
        kept = self._vitals.keeper.content()
        yield _total("frames_dropped", "Frames for which the archive's queue had no room.", kept["dropped"])
        yield _total("frames_failed", "Frames that could not be written.", kept["failed"])
        yield _value("outbox_depth", "Verdicts that are not acknowledged.", outbox.depth())
        try:
            oldest_s = outbox.oldest_age_s()
        except OutboxError:
            return
        yield _value("outbox_oldest_seconds", "How long the oldest of them waits.", oldest_s)

    def _machine(self) -> Iterator[Metric]:
        readings = self._vitals.sensors.latest()
        yield _gauge("temperature_celsius", "Temperature.", "zone", readings.temperatures_c)
        yield _gauge("throttled", "1 while heat makes this slower.", "device", readings.throttled)
        events = readings.overcurrent_events
        yield _counter("overcurrent_events", "Slowed down for the supply's sake, since boot.", "input", events)
        yield _gauge("power_watts", "Power.", "rail", readings.power_w)


def _value(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"edge_agent_{name}", about, value=value)


def _total(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(f"edge_agent_{name}", about, value=value)


def _gauge(name: str, about: str, label: str, values: Mapping[_Label, float]) -> Metric:
    return _labelled(GaugeMetricFamily(f"edge_agent_{name}", about, labels=[label]), values.items())


def _counter(name: str, about: str, label: str, values: Mapping[_Label, float]) -> Metric:
    return _labelled(CounterMetricFamily(f"edge_agent_{name}", about, labels=[label]), values.items())


def _labelled(
    family: GaugeMetricFamily | CounterMetricFamily, values: Iterable[tuple[str, float]]
) -> GaugeMetricFamily | CounterMetricFamily:
    for label, value in values:
        family.add_metric([label], value)
    return family
