"""What goes over MQTT: the verdict, the state, and the strict reading of triggers and acknowledgements."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from edge_agent.inspection import Defect, Inspection, Trigger
from edge_agent.masks import EncodedMask, decode_rle, encode_png
from edge_agent.topics import Topics
from engines.errors import MessageError
from engines.untrusted import parse_json

SCHEMA = 1
MAX_VERDICT_BYTES = 4096
MAX_INPUT_BYTES = 16 * 1024
MAX_DEFECTS = 16
# Escaped to at most twice their length, three ids, sixteen defects and the rest of a verdict stay below 4 kB.
MAX_ID_BYTES = 128
MAX_EXPIRES_MS = 24 * 3600 * 1000
MAX_FRAMES = 100_000
# No trigger that is understood has it, so a bad one is never taken for a repetition of a part without that id.
UNREADABLE_ID = ""

_T = TypeVar("_T")
State = Literal["preoperational", "initialized", "ready", "executing", "halted", "error", "offline", "stopped"]


@dataclass(frozen=True)
class VerdictMessage:
    """A verdict as it is stored and sent; `mask_png` goes to the mask topic before it, None if there is none."""

    payload: bytes
    mask_png: bytes | None


@dataclass(frozen=True)
class Ack:
    """What a consumer says it has received."""

    consumer: str
    result_ids: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """A request to the agent; `correlation_id` rides back in the reply, `frames` belongs to `recalibrate`, `recipe` to `select_recipe`."""

    name: str
    correlation_id: str | int | None
    frames: int | None = None
    recipe: str | None = None


class BadTriggerError(MessageError):
    """A trigger has a readable `meas_id` but is wrong elsewhere: it is answered INVALID/bad_trigger.

    `trigger` has what could be read; a `part_id` or `job_id` that could not is `UNREADABLE_ID`, the rest is None.
    """

    def __init__(self, problem: str, *, fix: str, trigger: Trigger) -> None:
        super().__init__(problem, fix=fix)
        self.trigger = trigger


def encode_verdict(inspection: Inspection, mask: EncodedMask | None, topics: Topics) -> VerdictMessage:
    """Encode a verdict in at most 4 kB: a mask that does not fit moves to its own topic.

    Args:
        inspection: The record; figures that are not finite become null.
        mask: The encoded defect mask, None where there is none.
        topics: The station's topics, for the mask's own one.

    Raises:
        MessageError: It is larger even without its defects; `defect_count` still says how many there were.
    """
    content = _verdict_content(inspection)
    if mask is not None:
        content["mask"] = _mask_content(mask, topics.mask(inspection.result_id))
    payload = encode_json(content)
    if mask is not None and mask.encoding == "coco_rle" and len(payload) > MAX_VERDICT_BYTES:
        mask = EncodedMask("png", mask.size_wh, encode_png(decode_rle(mask.data, mask.size_wh)))
        content["mask"] = _mask_content(mask, topics.mask(inspection.result_id))
        payload = encode_json(content)
    while len(payload) > MAX_VERDICT_BYTES and content["defects"]:
        content["defects"].pop()
        payload = encode_json(content)
    if len(payload) > MAX_VERDICT_BYTES:
        raise MessageError(
            f"verdict {inspection.result_id} has {len(payload)} bytes but at most {MAX_VERDICT_BYTES} are sent.",
            fix="Shorten the names of station, recipe and threshold revision.",
        )
    return VerdictMessage(payload, mask.data if mask is not None and mask.encoding == "png" else None)


def mark_historical(payload: bytes) -> bytes:
    """Return a stored verdict as it is sent when it comes too late to be acted on."""
    return encode_json({**json.loads(payload), "is_historical": True})


def encode_late(payload: bytes, result_id: str) -> bytes:
    """Return the real result of a part that has a verdict already, under the id of that one."""
    return encode_json({**json.loads(payload), "result_id": result_id})


def encode_state(
    state: State, boot_id: str, *, degraded: bool = False, reasons: Sequence[str] = (), **facts: Any
) -> bytes:
    """Encode the retained state.

    Args:
        state: The OPC 40100-1 state, `offline` for the last will, `stopped` for a clean end.
        boot_id: Id of this start of the agent.
        degraded: It inspects, but a person should look.
        reasons: Why it is degraded or in error.
        facts: Versions, recipe and threshold revisions, as the design names them.
    """
    content = {"schema": SCHEMA, "state": state, "degraded": degraded, "reasons": list(reasons), "boot_id": boot_id}
    return encode_json({**content, **facts})


def encode_health(life: int, boot_id: str, state: State, **facts: Any) -> bytes:
    """Encode the sign of life.

    Args:
        life: Counts up once a second, from 1 at the start.
        boot_id: Id of this start of the agent.
        state: As on the `state` topic.
        facts: Counts and latencies.
    """
    return encode_json({"schema": SCHEMA, "life": life, "boot_id": boot_id, "state": state, **facts})


def encode_trigger(trigger: Trigger) -> bytes:
    """Encode a request for one verdict, as a PLC sends it."""
    names = ("meas_id", "part_id", "job_id", "recipe", "expires_ms")
    return encode_json({name: getattr(trigger, name) for name in names if getattr(trigger, name) is not None})


def encode_ack(consumer: str, result_ids: Sequence[str]) -> bytes:
    """Encode an acknowledgement, as a consumer sends it."""
    return encode_json({"consumer": consumer, "result_ids": list(result_ids)})


def parse_trigger(payload: bytes, received_ns: int) -> Trigger:
    """Read a trigger; keys that we do not know are ignored, an id is a text or a whole number and stays what it is.

    Args:
        payload: JSON, UTF-8.
        received_ns: CLOCK_MONOTONIC at receipt.

    Raises:
        BadTriggerError: Only another value than `meas_id` has the wrong type or range.
        MessageError: It is too large, no JSON object, or has no readable `meas_id`: nobody can be answered.
    """
    content = parse_object(payload, "trigger")
    meas_id = _identifier(content, "meas_id", "trigger")
    if meas_id is None:
        raise MessageError("trigger has no `meas_id`.", fix='Send {"meas_id": ...}: the verdict is paired by it.')
    problems: list[MessageError] = []

    def read(reader: Callable[[], _T]) -> _T | None:
        try:
            return reader()
        except MessageError as problem:
            problems.append(problem)
            return None

    def read_id(key: str) -> str | int | None:
        value = read(lambda: _identifier(content, key, "trigger"))
        return UNREADABLE_ID if value is None and content.get(key) is not None else value

    part_id, job_id = read_id("part_id"), read_id("job_id")
    recipe, expires_ms = read(lambda: _text(content, "recipe", "trigger")), read(lambda: _expires_ms(content))
    trigger = Trigger(meas_id, part_id, job_id, recipe, expires_ms, received_ns)
    if problems:
        raise BadTriggerError(problems[0].problem, fix=problems[0].fix, trigger=trigger) from problems[0]
    return trigger


def parse_ack(payload: bytes) -> Ack:
    """Read an acknowledgement.

    Raises:
        MessageError: It is too large, no JSON object, or lacks `consumer` or a list `result_ids` of strings.
    """
    content = parse_object(payload, "ack")
    consumer = _text(content, "consumer", "ack")
    if consumer is None:
        raise MessageError("ack has no `consumer`.", fix='Send {"consumer": NAME, "result_ids": [...]}.')
    result_ids = content.get("result_ids")
    if not isinstance(result_ids, list) or not all(isinstance(one, str) and one.isascii() for one in result_ids):
        raise MessageError(
            f"ack of {consumer!r} has result_ids {_shown(result_ids)}.", fix="Send a list of strings, the result ids."
        )
    return Ack(consumer, tuple(result_ids))


def encode_command(name: str, correlation_id: str | int | None = None, **more: str | int | None) -> bytes:
    """Encode a request to the agent; `more` is `frames` or `recipe`, left out where it is None."""
    more = {key: value for key, value in more.items() if value is not None}
    return encode_json({"command": name, "correlation_id": correlation_id, **more})


def parse_command(payload: bytes) -> Command:
    """Read a request to the agent.

    Raises:
        MessageError: It is too large, no JSON object, or has no readable `command`, `correlation_id`, `frames` or
            `recipe`.
    """
    content = parse_object(payload, "command")
    name = _text(content, "command", "command")
    if name is None:
        raise MessageError("command has no `command`.", fix='Send {"command": "reload", "correlation_id": ...}.')
    frames = content.get("frames")
    if frames is not None and not (type(frames) is int and 0 < frames <= MAX_FRAMES):
        raise MessageError(
            f"command has frames {_shown(frames)}.", fix=f"Send a whole number from 1 to {MAX_FRAMES}, or leave it out."
        )
    recipe = _text(content, "recipe", "command")
    return Command(name, _identifier(content, "correlation_id", "command"), frames, recipe)


def encode_reply(command: Command, *, problem: str | None = None, **facts: Any) -> bytes:
    """Encode what became of a command: `ok`, else `problem` says what to do."""
    content = {"schema": SCHEMA, "command": command.name, "correlation_id": command.correlation_id}
    return encode_json({**content, "ok": problem is None, "problem": problem, **facts})


def parse_object(payload: bytes, what: str) -> dict[str, Any]:
    """Read a JSON object from outside.

    Raises:
        MessageError: It is larger than 16 kB, not UTF-8, not JSON (NaN and Infinity are not), or not an object.
    """
    if len(payload) > MAX_INPUT_BYTES:
        raise MessageError(
            f"{what} has {len(payload)} bytes.", fix=f"Send at most {MAX_INPUT_BYTES}; split long lists into several."
        )
    try:
        content = parse_json(payload.decode("utf-8"), parse_constant=_refuse_constant)
    except ValueError as error:
        raise MessageError(f"{what} is not JSON in UTF-8: {error}.", fix="Check what publishes there.") from error
    if not isinstance(content, dict):
        raise MessageError(f"{what} is {_shown(content)}, not an object.", fix='Send {"key": value, ...}.')
    return content


def encode_json(content: Mapping[str, Any]) -> bytes:
    """Encode compactly in UTF-8.

    Raises:
        ValueError: A number is NaN or infinite, which JSON cannot say.
    """
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _verdict_content(inspection: Inspection) -> dict[str, Any]:
    trigger = inspection.trigger
    largest = sorted(inspection.defects, key=lambda defect: -defect.area_px)[:MAX_DEFECTS]
    return {
        "schema": SCHEMA,
        "result_id": inspection.result_id,
        "seq": inspection.seq,
        "boot_id": inspection.boot_id,
        "station": inspection.station,
        "meas_id": trigger.meas_id if trigger else None,
        "part_id": trigger.part_id if trigger else None,
        "job_id": trigger.job_id if trigger else None,
        "recipe": inspection.recipe,
        "model_sha256": inspection.model_sha256[:12],
        "threshold_rev": inspection.threshold_rev,
        "verdict": inspection.verdict,
        "reasons": list(inspection.reasons),
        "score": _finite(inspection.score),
        "limit": _finite(inspection.limit),
        "defect_count": len(inspection.defects),
        "defects": [_defect_content(defect) for defect in largest],
        "mask": None,
        "captured_at": inspection.captured_at,
        "decided_at": inspection.decided_at,
        "latency_ms": _finite(inspection.latency_ms, digits=3),
        "deadline_ms": inspection.deadline_ms,
        "frame_seq": inspection.frame_seq,
        "clock_synced": inspection.clock_synced,
        "is_simulated": inspection.is_simulated,
        "is_historical": False,
    }


def _defect_content(defect: Defect) -> dict[str, Any]:
    box = [int(value) for value in defect.bbox_xywh_px]
    return {"bbox_xywh_px": box, "area_px": int(defect.area_px), "peak": _finite(defect.peak, digits=4)}


def _mask_content(mask: EncodedMask, topic: str) -> dict[str, Any]:
    content = {"encoding": mask.encoding, "size_wh": list(mask.size_wh)}
    if mask.encoding == "png":
        return {**content, "topic": topic}
    return {**content, "data": mask.data.decode("ascii")}


def _finite(value: float | None, *, digits: int | None = None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(value) if digits is None else round(float(value), digits)


def _expires_ms(content: Mapping[str, Any]) -> int | None:
    value = content.get("expires_ms")
    # A PLC's REAL arrives as 500.0.
    whole = int(value) if type(value) is float and value.is_integer() else value
    if whole is not None and not (type(whole) is int and 0 < whole <= MAX_EXPIRES_MS):
        raise MessageError(
            f"trigger has expires_ms {_shown(value)}.",
            fix=f"Send a whole number of milliseconds from 1 to {MAX_EXPIRES_MS}, or leave it out.",
        )
    return whole


def _text(content: Mapping[str, Any], key: str, what: str) -> str | None:
    value = _identifier(content, key, what)
    return None if value is None else str(value)


def _identifier(content: Mapping[str, Any], key: str, what: str) -> str | int | None:
    value = content.get(key)
    if value is None:
        return None
    text = str(value) if type(value) is int else value
    # A lone surrogate can be written in JSON but not in UTF-8; a control character would grow sixfold in a verdict.
    if (
        not isinstance(text, str)
        or not text.isprintable()
        or not 0 < len(text.encode(errors="replace")) <= MAX_ID_BYTES
    ):
        raise MessageError(
            f"{what} has {key} {_shown(value)}.",
            fix=f"Send a text of 1 to {MAX_ID_BYTES} printable bytes, or a whole number.",
        )
    return value if type(value) is int else text


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
