"""Energy of a piece of work, as the machine itself measures it; what it cannot measure is never estimated.

RAPL (Intel and AMD processors) counts microjoules and starts again at 0 after `max_energy_range_uj`, on a busy server
within a quarter of an hour. Parts of a package (cores, memory controller) are listed beside it in the same folder, and
`psys` contains the packages: only packages are added. Since Linux 5.10 only root may read (CVE-2020-8694).

A Jetson has no such counter: the power of its rails (`engines/power_rails.py`) is sampled.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from engines.power_rails import PowerRail, power_rails
from engines.sysfs import SYSFS, read_number, read_text

JOULES_PER_WH = 3600

_PACKAGE_FOLDER = re.compile(r"intel-rapl:\d+")
_MICRO = 1e-6
_COUNTER_PERIOD_S, _POWER_PERIOD_S = 10.0, 0.1


@dataclass(frozen=True)
class Energy:
    """What was measured: `joules` is None where the machine cannot tell; the note says what it covers, or why."""

    joules: float | None
    note: str


class EnergyMeter:
    """Measures from `start` to `stop`, or as a context manager; then `energy` has the result.

    A thread reads the sensors meanwhile. The figure is that of the whole processor or module, whatever else runs.
    """

    def __init__(
        self, *, sysfs: Path = SYSFS, clock: Callable[[], float] = time.monotonic, period_s: float | None = None
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            sysfs: Root of the kernel's sysfs.
            clock: Seconds, from any origin.
            period_s: Time between two readings; None takes what the sensor needs.
        """
        self.energy = Energy(None, "Not measured: the meter was not stopped.")
        self._sysfs = sysfs
        self._clock = clock
        self._period_s = period_s
        self._sensor: _Sensor = _NoSensor("Not measured: the meter was not started.")
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to measure; whatever is missing shows in the result, never as an exception."""
        self._sensor = _find_sensor(self._sysfs)
        self.sample()
        self._stopped.clear()
        self._thread = threading.Thread(target=self._sample_until_stopped, name="energy", daemon=True)
        self._thread.start()

    def sample(self) -> None:
        """Read the sensor once."""
        try:
            self._sensor.sample(self._clock())
        except (OSError, ValueError) as problem:
            self._sensor = _NoSensor(f"Not measured: a sensor stopped answering ({problem}).")

    def stop(self) -> Energy:
        """Return the energy since `start`."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.sample()
        self.energy = Energy(self._sensor.joules, self._sensor.note)
        return self.energy

    def __enter__(self) -> EnergyMeter:  # noqa: PYI034, typing.Self is newer than Python 3.10
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _sample_until_stopped(self) -> None:
        while not self._stopped.wait(self._period_s or self._sensor.period_s):
            self.sample()


class _Sensor(Protocol):
    period_s: float
    note: str
    joules: float | None

    def sample(self, now_s: float) -> None:
        """Add what was used since the last call; the first one only begins.

        Raises:
            OSError: The kernel gave no reading; `joules` lacks this interval.
            ValueError: The reading is no number; likewise.
        """


class _NoSensor:
    period_s = _COUNTER_PERIOD_S
    joules: float | None = None

    def __init__(self, reason: str) -> None:
        self.note = reason

    def sample(self, now_s: float) -> None:
        """There is nothing to read."""


class _Rapl:
    """Counters of the processor packages."""

    period_s = _COUNTER_PERIOD_S

    def __init__(self, packages: list[Path]) -> None:
        self._packages = packages
        self._ranges_uj = [read_number(package / "max_energy_range_uj") for package in packages]
        self._last_uj: list[int] | None = None
        self.joules: float | None = 0.0
        self.note = (
            f"RAPL counters of {_count(len(packages), 'processor package')}; memory, graphics card and power supply "
            "are not in it, other programs are."
        )

    def sample(self, now_s: float) -> None:  # noqa: ARG002 - a counter needs no clock
        now_uj = [read_number(package / "energy_uj") for package in self._packages]
        if self._last_uj is not None:
            used = zip(now_uj, self._last_uj, self._ranges_uj, strict=True)
            # The counter runs from 0 to its range and starts again.
            used_uj = sum(now - last if now >= last else now - last + most for now, last, most in used)
            self.joules = (self.joules or 0.0) + used_uj * _MICRO
        self._last_uj = now_uj


class _PowerRails:
    """Power of a Jetson's rails, integrated by trapezoids."""

    period_s = _POWER_PERIOD_S

    def __init__(self, rails: list[PowerRail]) -> None:
        self._rails = rails
        self._last: tuple[float, float] | None = None
        self.joules: float | None = 0.0
        names = ", ".join(sorted(rail.label for rail in rails))
        self.note = f"INA3221 power of the module ({names}), sampled; other programs are in it."

    def sample(self, now_s: float) -> None:
        watts = sum(rail.watts() for rail in self._rails)
        if self._last is not None:
            last_s, last_watts = self._last
            self.joules = (self.joules or 0.0) + (now_s - last_s) * (watts + last_watts) / 2
        self._last = now_s, watts


def _find_sensor(sysfs: Path) -> _Sensor:
    try:
        if rails := power_rails(sysfs):
            return _PowerRails(rails)
        if packages := _rapl_packages(sysfs):
            for package in packages:
                read_text(package / "energy_uj")
            return _Rapl(packages)
    except PermissionError as problem:
        pattern = sysfs / "class/powercap/intel-rapl:*/energy_uj"
        return _NoSensor(
            f"Not measured: only root may read {problem.filename} (since Linux 5.10). Run as root, or allow it until "
            f"the next start: sudo chmod a+r {pattern}"
        )
    except (OSError, ValueError) as problem:
        return _NoSensor(f"Not measured: a sensor cannot be read ({problem}).")
    return _NoSensor(
        "Not measured: this machine shows neither RAPL counters nor an INA3221 power sensor; a virtual machine has none."
    )


def _rapl_packages(sysfs: Path) -> list[Path]:
    folders = sorted((sysfs / "class/powercap").glob("intel-rapl:*"))
    packages = [folder for folder in folders if _PACKAGE_FOLDER.fullmatch(folder.name)]
    return [folder for folder in packages if read_text(folder / "name").startswith("package")]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
