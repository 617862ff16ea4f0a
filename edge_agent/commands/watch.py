"""`edge-agent watch`: see a station's verdicts, or play the PLC."""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import queue
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TextIO

from edge_agent.broker_options import read_broker
from edge_agent.consumer import Consumer, PartResult
from edge_agent.ids import uuid7
from edge_agent.messages import encode_ack, encode_trigger, parse_object
from edge_agent.mqtt import BrokerAddress, Message, MqttClient, Receipt
from edge_agent.topics import Topics
from edge_agent.watch_lines import now, part_line, printable, summary_lines, verdict_line
from engines.command_line import track
from engines.errors import MessageError, PublishError, UsageError

HELP = "show a station's state and verdicts; with --consumer acknowledge them, with --trigger play the PLC"

EXIT_TRY_AGAIN = 75
_READY = frozenset({"ready", "executing"})
_SHORT_RUN_MS = 2000
_REMEMBERED_MASKS = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--broker", required=True, metavar="HOST:PORT", help="of the broker; mqtts://HOST:PORT for TLS")
    parser.add_argument("--site", required=True, metavar="NAME", help="as in the station file")
    parser.add_argument("--station", required=True, metavar="NAME", help="as in the station file")
    parser.add_argument(
        "--prefix", default="edge/v1", metavar="TOPIC", help="first levels of the topics (default: %(default)s)"
    )
    parser.add_argument("--consumer", metavar="NAME", help="acknowledge every verdict under this name")
    parser.add_argument("--trigger", action="store_true", help="ask for parts one at a time, as a PLC does")
    parser.add_argument("--parts", type=int, metavar="N", help="end after N parts (default: never)")
    parser.add_argument("--recipe", metavar="NAME", help="what the parts need; a verdict of another one is a reject")
    parser.add_argument(
        "--interval-ms", type=int, default=100, metavar="N", help="from trigger to trigger (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout-ms", type=int, default=1000, metavar="N", help="the PLC's own timer (default: %(default)s)"
    )
    parser.add_argument(
        "--start-timeout-s",
        type=float,
        default=30.0,
        metavar="N",
        help="wait for broker and `ready` (default: %(default)s)",
    )
    parser.add_argument("--accept-simulated", action="store_true", help="demos only: act on simulated verdicts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one JSON line a part")
    parser.add_argument("--username", metavar="NAME", help="for the broker (default: none)")
    parser.add_argument("--password-env", metavar="VARIABLE", help="environment variable that holds the password")
    parser.add_argument("--tls-ca", type=Path, metavar="FILE", help="authority of the broker (default: the system's)")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="our certificate, with --tls-key")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its key, without a passphrase")


def run(arguments: argparse.Namespace) -> int:
    if arguments.trigger and not arguments.consumer:
        raise UsageError("--trigger needs --consumer.", fix="Add --consumer NAME, the consumer of the station file.")
    for name in ("parts", "interval_ms", "timeout_ms"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1.", fix="Give a positive whole number.")
    broker = read_broker(arguments)
    lines = arguments.json.open("w", encoding="utf-8") if arguments.json else None
    watch = Watch(broker, Topics(arguments.prefix, arguments.site, arguments.station), arguments, lines)
    try:
        return watch.play() if arguments.trigger else watch.look()
    except KeyboardInterrupt:
        return 0
    finally:
        watch.close()
        if lines is not None:
            lines.close()


class Watch:
    """Receives in the network thread and decides in the caller's."""

    def __init__(
        self, broker: BrokerAddress, topics: Topics, arguments: argparse.Namespace, lines: TextIO | None
    ) -> None:
        self._topics, self._arguments, self._lines = topics, arguments, lines
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._masks: OrderedDict[str, bytes] = OrderedDict()
        self._state: str | None = None
        self._last_ack: Receipt | None = None
        # Starting at the present keeps two runs apart that fall into one dedupe window.
        self._consumer = Consumer(
            first_meas_id=int(time.time() * 1000),
            recipe=arguments.recipe,
            timeout_ms=arguments.timeout_ms,
            accepts_simulated=arguments.accept_simulated,
        )
        put = self._messages.put
        client_id = f"plc-{arguments.consumer}" if arguments.consumer else f"watch-{uuid7()}"
        self._client = MqttClient(
            broker, client_id, dict.fromkeys((topics.state, topics.verdict, topics.health, topics.mask("+")), put)
        )
        self._client.start()

    def close(self) -> None:
        """Disconnect after the last acknowledgement went out."""
        if self._last_ack is not None:
            self._last_ack.wait(1.0)
        self._client.stop()

    def look(self) -> int:
        """Show everything until N verdicts were seen, or for ever."""
        self._wait_for_broker()
        seen = 0
        while self._arguments.parts is None or seen < self._arguments.parts:
            message = self._next(1.0)
            if message is None:
                continue
            if message.topic == self._topics.state:
                print(printable(f"{now()} state {message.payload.decode(errors='replace')}"), flush=True)
            if message.topic == self._topics.verdict and (shown := self._show(message)):
                print(shown, flush=True)
                seen += 1
        return 0

    def play(self) -> int:
        """Trigger part after part; return 0 if every one got its one verdict."""
        self._wait_for_broker()
        self._wait_until_ready()
        parts, interval_ms = self._arguments.parts, self._arguments.interval_ms
        numbers: Iterable[int] = range(parts) if parts else itertools.count()
        has_bar = bool(parts) and parts * interval_ms > _SHORT_RUN_MS
        results: list[PartResult] = []
        tally: Counter[str] = Counter()
        began = time.monotonic_ns()
        for number in track(numbers, label="Parts", total=parts) if has_bar else numbers:
            self._drain_until(began + number * interval_ms * 1_000_000)
            result = self._play_part(f"part-{number + 1}")
            tally[f"{result.action}: {result.why}"] += 1
            if parts:
                results.append(result)
            if not has_bar:
                print(part_line(result), flush=True)
        for line in summary_lines(results, tally, self._consumer.contradictions):
            print(line)
        complete = all(result.verdict is not None for result in results) and not self._consumer.contradictions
        return 0 if complete else EXIT_TRY_AGAIN

    def _play_part(self, part_id: str) -> PartResult:
        triggered_at = datetime.now(timezone.utc)
        trigger = self._consumer.ask(part_id, time.monotonic_ns())
        try:
            self._client.publish(self._topics.trigger, encode_trigger(trigger))
        except PublishError as error:
            result: PartResult | None = self._consumer.give_up(f"trigger not sent: {error.problem}")
        else:
            result = None
        while result is None:
            deadline_ns = self._consumer.deadline_ns or 0
            message = self._next((deadline_ns - time.monotonic_ns()) / 1e9)
            result = self._take(message) if message is not None else self._consumer.check_timer(time.monotonic_ns())
        self._write(result, triggered_at)
        return result

    def _take(self, message: Message) -> PartResult | None:
        """Acknowledge a verdict and return what it decides."""
        if message.topic != self._topics.verdict:
            return None
        try:
            received = self._consumer.take_verdict(message.payload, message.received_ns)
        except MessageError as error:
            print(f"edge-agent watch: {error}", file=sys.stderr)
            return None
        self._acknowledge(received.result_id)
        return received.result

    def _show(self, message: Message) -> str | None:
        try:
            received = self._consumer.take_verdict(message.payload, message.received_ns)
        except MessageError as error:
            return f"{now()} {error}"
        self._acknowledge(received.result_id)
        self._write_line(
            {"verdict": received.content, "mask_png": self._mask_of(received.content)} if received.is_new else None
        )
        return printable(verdict_line(received.content)) if received.is_new else None

    def _acknowledge(self, result_id: str) -> None:
        if not self._arguments.consumer:
            return
        try:
            self._last_ack = self._client.publish(self._topics.ack, encode_ack(self._arguments.consumer, [result_id]))
        except PublishError as error:
            # The station sends the verdict again, and it is acknowledged then.
            print(f"edge-agent watch: acknowledgement waits: {error}", file=sys.stderr)

    def _next(self, timeout_s: float) -> Message | None:
        """Return the next message; masks, states and signs of life are taken note of on the way."""
        try:
            message = self._messages.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None
        if message.topic == self._topics.state:
            self._take_state(message.payload)
        elif message.topic == self._topics.health:
            self._take_health(message)
        elif message.topic != self._topics.verdict:
            self._masks[message.topic] = message.payload
            while len(self._masks) > _REMEMBERED_MASKS:
                self._masks.popitem(last=False)
        return message

    def _take_state(self, payload: bytes) -> None:
        try:
            state = parse_object(payload, "state").get("state")
        except MessageError as error:
            print(f"edge-agent watch: {error}", file=sys.stderr)
        else:
            self._state = state if isinstance(state, str) else None

    def _take_health(self, message: Message) -> None:
        try:
            self._consumer.take_health(message.payload, message.received_ns)
        except MessageError as error:
            print(f"edge-agent watch: {error}", file=sys.stderr)

    def _drain_until(self, until_ns: int) -> None:
        while (message := self._next((until_ns - time.monotonic_ns()) / 1e9)) is not None:
            self._take(message)

    def _wait_for_broker(self) -> None:
        if not self._client.live.wait(self._arguments.start_timeout_s):
            raise self._client.error or PublishError("the broker does not answer.", fix="Check --broker.")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._arguments.start_timeout_s
        while self._state not in _READY or not self._consumer.is_alive(time.monotonic_ns()):
            if time.monotonic() > deadline:
                lack = "without a sign of life" if self._state in _READY else "not ready"
                raise PublishError(
                    f"station {self._topics.base} is {self._state or 'silent'}, {lack}.",
                    fix="Check --site, --station and --prefix, and that `edge-agent run` runs there.",
                )
            message = self._next(min(0.5, deadline - time.monotonic()))
            if message is not None:
                self._take(message)

    def _mask_of(self, verdict: Mapping[str, Any] | None) -> str | None:
        mask = verdict.get("mask") if verdict else None
        png = self._masks.get(str(mask.get("topic"))) if isinstance(mask, dict) else None
        return None if png is None else base64.b64encode(png).decode()

    def _write(self, result: PartResult, triggered_at: datetime) -> None:
        round_trip_ms = result.round_trip_ms
        received_at = None if round_trip_ms is None else triggered_at + timedelta(milliseconds=round_trip_ms)
        self._write_line(
            {
                "meas_id": result.trigger.meas_id,
                "part_id": result.trigger.part_id,
                "action": result.action,
                "why": result.why,
                "triggered_at": triggered_at.isoformat(),
                "received_at": received_at.isoformat() if received_at else None,
                "round_trip_ms": round_trip_ms,
                "verdict": result.verdict,
                "mask_png": self._mask_of(result.verdict),
            }
        )

    def _write_line(self, content: Mapping[str, Any] | None) -> None:
        if self._lines is not None and content is not None:
            self._lines.write(json.dumps(content) + "\n")
            self._lines.flush()
