"""Where a station's messages go over MQTT."""

from __future__ import annotations

from dataclasses import dataclass

from engines.errors import ConfigError


@dataclass(frozen=True)
class Topics:
    """The topics of one station.

    Raises:
        ConfigError: A part is empty or has a character that MQTT reserves.
    """

    prefix: str
    site: str
    station: str

    def __post_init__(self) -> None:
        for name, value in (("prefix", self.prefix), ("site", self.site), ("station", self.station)):
            levels = value.split("/") if name == "prefix" else [value]
            if not all(levels) or set(value) & set("+#\0") or ("/" in value and name != "prefix"):
                raise ConfigError(
                    f"MQTT {name} {value!r} cannot be part of a topic.",
                    fix="Use letters, digits, '-' and '_' (the prefix may have single '/' between them).",
                )

    @property
    def base(self) -> str:
        """Everything before the last word."""
        return f"{self.prefix}/{self.site}/{self.station}"

    @property
    def state(self) -> str:
        """Retained state of the station."""
        return f"{self.base}/state"

    @property
    def trigger(self) -> str:
        """Requests of the PLC."""
        return f"{self.base}/trigger"

    @property
    def verdict(self) -> str:
        """Results, never retained."""
        return f"{self.base}/verdict"

    @property
    def ack(self) -> str:
        """Acknowledgements of the consumers."""
        return f"{self.base}/ack"

    @property
    def command(self) -> str:
        """Requests of a person or a tool to the agent itself."""
        return f"{self.base}/command"

    @property
    def reply(self) -> str:
        """What became of each command."""
        return f"{self.base}/reply"

    @property
    def health(self) -> str:
        """The life counter, once a second."""
        return f"{self.base}/health"

    def mask(self, result_id: str) -> str:
        """Where a mask goes that is too large for its verdict."""
        return f"{self.base}/mask/{result_id}"

    def late(self, result_id: str) -> str:
        """Where the real result goes of a part whose deadline had passed."""
        return f"{self.base}/late/{result_id}"
