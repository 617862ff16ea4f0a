"""The station file: what is particular to one place on the line."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote

from pydantic import Field, ValidationInfo, field_validator, model_validator

from edge_agent.pairing import settles_within_ns
from engines.errors import StationFileError
from engines.yaml_file import StrictModel, load_yaml

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_BROKER = re.compile(r"^(?P<kind>mqtts?|embedded)://(?P<host>[^:/]+|\[[0-9a-fA-F:]+\])(:(?P<port>\d{1,5}))?$")
_CREDENTIAL = re.compile(r"\$\{cred:([A-Za-z0-9_.-]+)\}")
_REFERENCE = re.compile(r"\$\{(env|cred):([A-Za-z0-9_.-]+)\}")
# A password in a URI's authority; a pipeline (gst://) may hold such a URI further in.
_PASSWORD = re.compile(r"://[^/\s@]*:[^/\s]+@")
_LOOPBACK = ("127.0.0.1", "[::1]", "localhost")
_PORTS = range(1, 65_536)

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class CameraPart(StrictModel):
    """Where frames come from, and what makes the agent take one."""

    uri: Annotated[str, Field(min_length=1)]
    mode: Literal["triggered", "hardware_triggered", "free_run"]


class EnginePart(StrictModel):
    """What runs the model."""

    runtime: Literal["cpu", "tensorrt"] = "cpu"
    threads: Annotated[int, Field(ge=1, le=64)] = 2
    cuda: Literal["auto", "pycuda", "cuda-python"] = "auto"


class TriggerPart(StrictModel):
    """How long a part can wait, and how long its measurement id means the same part.

    A frame taken later than `capture_within_ms` after its trigger is INVALID/late_frame: the part has moved on. A frame
    that an electrical trigger fired comes from `pair_min_ms` to `pair_max_ms` after its MQTT trigger.
    """

    deadline_ms: Annotated[int, Field(ge=1, le=600_000)]
    capture_within_ms: Annotated[int, Field(ge=1, le=600_000)] | None = None
    pair_min_ms: Annotated[int, Field(ge=-60_000, le=60_000)] | None = None
    pair_max_ms: Annotated[int, Field(ge=-60_000, le=60_000)] | None = None
    dedupe_window_s: Seconds

    @property
    def pairing_window_ms(self) -> tuple[int, int]:
        """The two `pair` keys, which the file has with `hardware_triggered` only."""
        if self.pair_min_ms is None or self.pair_max_ms is None:
            raise StationFileError("trigger.pair_min_ms and pair_max_ms are not set.", fix="Write both.")
        return self.pair_min_ms, self.pair_max_ms


class TlsPart(StrictModel):
    """PEM files for `mqtts://`; each may be a credential of the service, `${cred:NAME}`."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    @field_validator("ca_file", "cert_file", "key_file")
    @classmethod
    def _file(cls, value: str | None) -> str | None:
        if value is not None and "${" in value and not _CREDENTIAL.fullmatch(value):
            raise ValueError("write a path, or ${cred:NAME}")
        return value

    @model_validator(mode="after")
    def _pair(self) -> TlsPart:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("`cert_file` and `key_file` come together")
        return self


class MqttPart(StrictModel):
    """The broker and the PLC behind it."""

    broker: str
    topic_prefix: Annotated[str, Field(pattern=r"^[^#+\s/]+(/[^#+\s/]+)*$")] = "edge/v1"
    username: str | None = None
    password: str | None = None
    tls: TlsPart = TlsPart()
    protocol: Literal["3.1.1", 5] = "3.1.1"
    keepalive_s: Annotated[int, Field(ge=1, le=3600)] = 3
    ack: Literal["consumer", "broker"] = "consumer"
    consumer: Name | None = None
    ack_timeout_s: Seconds = 2.0
    keep_days: Annotated[int, Field(ge=1, le=3650)] = 30

    @field_validator("broker")
    @classmethod
    def _broker(cls, value: str) -> str:
        parts = _BROKER.match(value)
        if parts is None:
            raise ValueError(
                "write mqtt://HOST:PORT, mqtts://HOST:PORT for TLS, or embedded://127.0.0.1:PORT for the demo's own broker"
            )
        if parts["port"] is not None and int(parts["port"]) not in _PORTS:
            raise ValueError("write a port from 1 to 65535")
        if parts["kind"] == "embedded" and parts["host"] not in _LOOPBACK:
            raise ValueError(
                "the embedded broker listens on this machine only; write embedded://127.0.0.1:PORT, or mqtt://HOST:PORT "
                "for a broker elsewhere"
            )
        return value

    @field_validator("password")
    @classmethod
    def _secret(cls, value: str | None) -> str | None:
        if value is not None and not _REFERENCE.fullmatch(value):
            raise ValueError("a secret never stands in the file; write ${env:NAME} or ${cred:NAME}")
        return value

    @model_validator(mode="after")
    def _named_consumer(self) -> MqttPart:
        if self.ack == "consumer" and self.consumer is None:
            raise ValueError("with `ack: consumer` the key `consumer` must name who empties the outbox")
        return self

    @model_validator(mode="after")
    def _tls_where_it_is_used(self) -> MqttPart:
        if self.tls != TlsPart() and not self.has_tls:
            raise ValueError("`tls` needs a broker that begins with mqtts://")
        return self

    @property
    def has_tls(self) -> bool:
        """Whether the connection is encrypted and the broker's certificate is checked."""
        return self.broker.startswith("mqtts:")

    @property
    def embedded(self) -> bool:
        """Whether the agent starts the broker itself."""
        return self.broker.startswith("embedded:")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the broker."""
        parts = _BROKER.match(self.broker)
        if parts is None:
            raise StationFileError(f"mqtt.broker {self.broker!r} has no host.", fix="Write mqtt://HOST:PORT.")
        host = _LOOPBACK[0] if self.embedded else parts["host"].strip("[]")
        return host, int(parts["port"] or (8883 if self.has_tls else 1883))


class AlarmsPart(StrictModel):
    """How many rejects the line bears before a person must look; whatever is left out is not watched."""

    max_consecutive_fail: Annotated[int, Field(ge=2)] | None = None
    max_consecutive_invalid: Annotated[int, Field(ge=2)] | None = None
    max_reject_rate: Annotated[float, Field(gt=0, lt=1)] | None = None


class ArchivePart(StrictModel):
    """Which frames are kept: all rejects, and one passed part in `pass_every`; without it none."""

    folder: Annotated[Path, Field(strict=False)]
    max_mb: Annotated[int, Field(ge=1)]
    keep_days: Annotated[int, Field(ge=1)]
    pass_every: Annotated[int, Field(ge=1)] | None = None


class HealthPart(StrictModel):
    """Where programs of this machine ask how the station is: 127.0.0.1, no other address; without a port nowhere."""

    port: Annotated[int, Field(ge=1024, le=65_535)] | None = None


class Station(StrictModel):
    """The content of a station file."""

    schema_: Literal[1] = Field(alias="schema")
    site: Name
    station: Name
    recipe: Annotated[Path, Field(strict=False)]
    state_dir: Annotated[Path, Field(strict=False)]
    camera: CameraPart
    engine: EnginePart = EnginePart()
    trigger: TriggerPart
    alarms: AlarmsPart = AlarmsPart()
    archive: ArchivePart | None = None
    health: HealthPart = HealthPart()
    mqtt: MqttPart

    @field_validator("trigger")
    @classmethod
    def _times_of_the_mode(cls, trigger: TriggerPart, known: ValidationInfo) -> TriggerPart:
        camera = known.data.get("camera")
        if camera is None:
            return trigger
        is_fired, window = camera.mode == "hardware_triggered", (trigger.pair_min_ms, trigger.pair_max_ms)
        if is_fired and (None in window or trigger.capture_within_ms is not None):
            raise ValueError(
                "with `camera.mode: hardware_triggered` the frame's time is said by `pair_min_ms` and `pair_max_ms`, both "
                "needed, and not by `capture_within_ms`"
            )
        if not is_fired and (window != (None, None) or trigger.capture_within_ms is None):
            raise ValueError(
                "it needs `capture_within_ms`; `pair_min_ms` and `pair_max_ms` are for `camera.mode: hardware_triggered`"
            )
        if is_fired:
            _check_window(trigger)
        return trigger


def _check_window(trigger: TriggerPart) -> None:
    min_ms, max_ms = trigger.pairing_window_ms
    if min_ms >= max_ms:
        raise ValueError("`pair_min_ms` must be smaller than `pair_max_ms`")
    settled_ms = settles_within_ns(min_ms * 1_000_000, max_ms * 1_000_000) // 1_000_000
    if trigger.deadline_ms <= settled_ms:
        raise ValueError(
            f"with this window it may be known only {settled_ms} ms after a trigger which frame is its part's; make "
            "`deadline_ms` greater than that by what inference and storing take, or the window narrower"
        )


def load_station(path: Path) -> Station:
    """Read a station file; relative paths in it count from the file's own folder.

    Raises:
        StationFileError: Every mistake in the file, each with its line; or the camera's password stands in it.
    """
    station = load_yaml(path, Station, error=StationFileError)
    _check_no_password(path, station.camera.uri)
    base = path.resolve().parent
    moved: dict[str, Any] = {"recipe": base / station.recipe, "state_dir": base / station.state_dir}
    if station.archive:
        moved["archive"] = station.archive.model_copy(update={"folder": base / station.archive.folder})
    uri = station.camera.uri
    for scheme in ("folder://", "file://"):
        if uri.startswith(scheme) and not uri.startswith(f"{scheme}/"):
            moved_uri = f"{scheme}{quote(str(base)).rstrip('/')}/{uri.removeprefix(scheme)}"
            moved["camera"] = station.camera.model_copy(update={"uri": moved_uri})
    moved["mqtt"] = station.mqtt.model_copy(update={"tls": _moved(station.mqtt.tls, base)})
    return station.model_copy(update=moved)


def _moved(tls: TlsPart, base: Path) -> TlsPart:
    files = {key: path for key, path in tls if path is not None and not _CREDENTIAL.fullmatch(path)}
    return tls.model_copy(update={key: str(base / path) for key, path in files.items()})


def resolve_secret(reference: str | None) -> str | None:
    """Return the secret that `${env:NAME}` or `${cred:NAME}` points to.

    Raises:
        StationFileError: The variable or the credential does not exist.
    """
    if reference is None:
        return None
    match = _REFERENCE.fullmatch(reference)
    kind, name = match.groups() if match else ("", reference)
    if kind == "env" and name in os.environ:
        return os.environ[name]
    if kind == "cred" and (credential := _credential(name)):
        return credential.read_text().rstrip("\n")
    if kind == "env":
        raise StationFileError(
            f"{reference} has no value: the environment variable {name} is not set.",
            fix="Set it, or correct the name.",
        )
    raise _no_credential(name)


def resolve_file(text: str | None) -> Path | None:
    """Return the file that a path or `${cred:NAME}` names; None stays None.

    Raises:
        StationFileError: The credential does not exist.
    """
    reference = _CREDENTIAL.fullmatch(text or "")
    if text is None or reference is None:
        return None if text is None else Path(text)
    if credential := _credential(reference[1]):
        return credential
    raise _no_credential(reference[1])


def resolve_references(text: str) -> str:
    """Return a camera URI with every `${env:NAME}` and `${cred:NAME}` replaced by its secret, percent-encoded.

    Raises:
        StationFileError: A variable or a credential does not exist.
    """
    return _REFERENCE.sub(lambda match: quote(resolve_secret(match[0]) or "", safe=""), text)


def _credential(name: str) -> Path | None:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(folder) / name if folder and (Path(folder) / name).is_file() else None


def _no_credential(name: str) -> StationFileError:
    return StationFileError(
        f"${{cred:{name}}} has no value: the service's folder of secrets has no file {name}.",
        fix=f"For the service write /etc/edge-agent/credentials/STATION/{name} and install it again; elsewhere set "
        "CREDENTIALS_DIRECTORY to the folder that holds the file.",
    )


def _check_no_password(path: Path, uri: str) -> None:
    # Not a pydantic validator: the list of mistakes would repeat the URI, and with it the password.
    if uri.startswith(("folder://", "file://")):
        return
    without_references = _REFERENCE.sub("", uri)
    if any(_PASSWORD.search(text) for text in (without_references, unquote(without_references))):
        raise StationFileError(
            f"{path}: camera.uri holds a password in plain text; a secret never stands in the file.",
            fix="Write ${env:NAME} or ${cred:NAME} in its place, as in rtsp://user:${cred:NAME}@host/stream.",
        )
