"""Temperature, throttling and power, as the machine's own sensors tell; what they do not tell is left out.

Quirks of the kernel's drivers:
* A Jetson's zones of units that are switched off answer EAGAIN or -256 C, now and then or for ever.
* A read can hang for as long as its bus does. So a thread of its own reads, and what is not renewed is no longer told.
* Fans are cooling devices, too; that they run is no throttling.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from engines.power_rails import power_rails
from engines.sysfs import SYSFS, read_number, read_text

OLDEST_S = 10.0
_PERIOD_S = 2.0
_POSSIBLE_C = (-60.0, 200.0)
_SLOWED_BY_HEAT = re.compile(r"cpu|gpu|devfreq|processor|-alert", re.IGNORECASE)
_FAN = re.compile(r"fan", re.IGNORECASE)


@dataclass(frozen=True)
class Readings:
    """What the sensors say, under the kernel's names; of several with one name, the highest.

    `throttled` tells of everything that heat can slow down whether it does now. `overcurrent_events` counts, since the
    system's start, how often a Jetson slowed down for its supply's sake: on Orin `oc1` for low voltage, `oc2` for average
    and `oc3` for momentary current.
    """

    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    throttled: Mapping[str, bool] = field(default_factory=dict)
    overcurrent_events: Mapping[str, int] = field(default_factory=dict)
    power_w: Mapping[str, float] = field(default_factory=dict)


def read_sensors(sysfs: Path = SYSFS) -> Readings:
    """Read every sensor once; one that cannot be read is left out."""
    thermal, hwmon = sysfs / "class/thermal", sysfs / "class/hwmon"
    zones = ((name, value / 1000) for name, value in _numbers(thermal.glob("thermal_zone*"), "temp"))
    temperatures_c = _highest((name, celsius) for name, celsius in zones if _POSSIBLE_C[0] < celsius < _POSSIBLE_C[1])
    states = _highest(_numbers(thermal.glob("cooling_device*"), "cur_state"))
    throttled = {
        name: state > 0 for name, state in states.items() if _SLOWED_BY_HEAT.search(name) and not _FAN.search(name)
    }
    return Readings(temperatures_c, throttled, dict(_overcurrent_events(hwmon)), dict(_power_w(sysfs)))


class SensorWatch:
    """A thread that reads the sensors again and again.

    Args:
        read: Reads them; may hang.
        clock: CLOCK_MONOTONIC in seconds, injected for tests.
        period_s: Time between two readings.
    """

    def __init__(
        self,
        read: Callable[[], Readings] = read_sensors,
        *,
        clock: Callable[[], float] = time.monotonic,
        period_s: float = _PERIOD_S,
    ) -> None:
        self._read, self._clock, self._period_s = read, clock, period_s
        self._latest = (clock(), Readings())
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sensors", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end; it is not waited for, since a read may hang."""
        self._stopping.set()

    def latest(self) -> Readings:
        """Return what was read last, nothing if that is more than 10 s ago; for any thread."""
        read_at, readings = self._latest
        return readings if self._clock() - read_at <= OLDEST_S else Readings()

    def _run(self) -> None:
        while not self._stopping.is_set():
            readings = self._read()
            self._latest = self._clock(), readings
            self._stopping.wait(self._period_s)


def _numbers(folders: Iterator[Path], value: str) -> Iterator[tuple[str, int]]:
    for folder in sorted(folders):
        with suppress(OSError, ValueError):
            yield read_text(folder / "type"), read_number(folder / value)


def _overcurrent_events(hwmon: Path) -> Iterator[tuple[str, int]]:
    for path in sorted(hwmon.glob("hwmon*/oc*_event_cnt")):
        with suppress(OSError, ValueError):
            yield path.name.removesuffix("_event_cnt"), read_number(path)


def _power_w(sysfs: Path) -> Iterator[tuple[str, float]]:
    try:
        rails = power_rails(sysfs)
    except OSError:
        return
    for rail in rails:
        with suppress(OSError, ValueError):
            yield rail.label, rail.watts()


def _highest(values: Iterable[tuple[str, float]]) -> dict[str, float]:
    highest: dict[str, float] = {}
    for name, value in values:
        highest[name] = max(value, highest.get(name, value))
    return highest
