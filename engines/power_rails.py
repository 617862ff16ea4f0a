"""Power of a Jetson, by its own sensors.

INA3221 gives voltage and current of up to three rails at the moment of reading. A rail for the whole module exists on
some boards (`VDD_IN` on Orin Nano and NX); on others (AGX) the rails are added, except those that another one feeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engines.sysfs import read_number, read_text

_MILLI = 1e-3
_WHOLE_MODULE = ("VDD_IN", "5V_IN", "POM_5V_IN")
# VIN_SYS_5V0 feeds it on AGX Orin (Jetson Linux Developer Guide, "Power Monitor").
_FED_BY_ANOTHER = ("VDDQ_VDD2_1V8AO",)
_NOT_CONNECTED = "NC"


@dataclass(frozen=True)
class PowerRail:
    """One rail of the module."""

    label: str
    voltage: Path
    current: Path

    def watts(self) -> float:
        """Return its power now.

        Raises:
            OSError: The sensor gave no reading.
            ValueError: The reading is no number.
        """
        return read_number(self.voltage) * _MILLI * read_number(self.current) * _MILLI


def power_rails(sysfs: Path) -> list[PowerRail]:
    """Return the rails that together feed the module; none where there are no such sensors.

    Raises:
        OSError: The kernel names a sensor and does not tell which rail it is on.
    """
    rails = []
    for folder in sorted((sysfs / "class/hwmon").glob("hwmon*")):
        name = folder / "name"
        if not name.is_file() or read_text(name) != "ina3221":
            continue
        for channel in (1, 2, 3):
            label, current = folder / f"in{channel}_label", folder / f"curr{channel}_input"
            if label.is_file() and current.is_file() and read_text(label) != _NOT_CONNECTED:
                rails.append(PowerRail(read_text(label), folder / f"in{channel}_input", current))
    whole = [rail for rail in rails if rail.label in _WHOLE_MODULE]
    return whole[:1] or [rail for rail in rails if rail.label not in _FED_BY_ANOTHER]
