"""MQTT 3.1.1 or 5 over paho: one connection kept up by one thread; the only file that imports paho.

Quirks of paho 2.x that shape this file:
* `loop_start` has a back-off without jitter and keeps unsent messages over a reconnect, where they would arrive as if
  they were new. So every attempt gets a fresh client and its own loop: what was in flight is forgotten here and comes
  again from the outbox.
* Outside `loop_start`, `publish` writes to the socket from the calling thread, next to the network thread. A callback in
  `on_socket_register_write` makes it only queue and wake the loop.
* `publish` over the queue limit returns a code and does not raise.
* With MQTT 5 it ignores the broker's receive maximum, and a broker ends the connection of whoever exceeds that.
* Nagle's algorithm is left on, which with a delayed TCP acknowledgement costs 40 ms a message.
"""

from __future__ import annotations

import logging
import random
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edge_agent.tls import TlsFiles
from engines.errors import BrokerRefusedError, ConfigError, MessageError, PublishError

log = logging.getLogger(__name__)

Protocol = Literal["3.1.1", 5]

SHORTEST_RETRY_S = 0.2
LONGEST_RETRY_S = 3.0
MAX_IN_FLIGHT = 20
_MAX_QUEUED = 64
_STEADY_NS = 5_000_000_000
_CONNECT_TIMEOUT_S = 3.0
_HANDSHAKE_TIMEOUT_S = 10.0
_BEAT_S = 0.5
# Brokers stop delivering when this many messages are unacknowledged (Mosquitto: 20).
_MAX_UNACKNOWLEDGED = 8
# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED: a board without a battery begins in 1970.
_OUT_OF_TIME = frozenset({9, 10})


@dataclass(frozen=True)
class BrokerAddress:
    """Where the broker is, and how to log in."""

    host: str
    port: int = 1883
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: TlsFiles | None = None
    keepalive_s: int = 3
    protocol: Protocol = "3.1.1"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Will:
    """What the broker publishes, QoS 1 and retained, when we vanish."""

    topic: str
    payload: bytes


@dataclass(frozen=True)
class Message:
    """One message received.

    `received_ns` is CLOCK_MONOTONIC. `waited_ns` is how long before it may have come at most, while the one before it was
    handled.
    """

    topic: str
    payload: bytes
    retained: bool
    received_ns: int
    waited_ns: int = 0


@dataclass(frozen=True)
class Receipt:
    """One message handed to the network thread; equal receipts are the same message."""

    generation: int
    mid: int
    info: paho.MQTTMessageInfo = field(compare=False, repr=False)

    def wait(self, timeout_s: float) -> bool:
        """Return whether the broker's PUBACK came in time."""
        try:
            self.info.wait_for_publish(timeout_s)
        except (RuntimeError, ValueError):
            return False
        return self.info.is_published()


Handler = Callable[[Message], None]


def _ignore(*_: object) -> None:
    pass


class MqttClient:
    """Keeps a clean session with subscriptions up for ever, from a thread of its own.

    Live means: CONNACK accepted, every subscription granted, and `birth` returned. A message is acknowledged to the
    broker after its handler returned. A handler that raises is logged and its message stays unacknowledged; the session
    is clean, so the broker does not send it again after a reconnect, and the sender's own timeout decides. After a few of
    them the connection is renewed, because brokers stop delivering to a client that does not acknowledge.

    Args:
        broker: Address and login.
        client_id: Unique at the broker: two equal ids disconnect each other for ever.
        handlers: Called by topic filter, in the network thread; a `MessageError` refuses a malformed message for good.
        will: Published by the broker when we vanish.
        birth: Called in the network thread after the SUBACK: publishes what must come before anybody else's messages.
        on_live: Called in the network thread after `birth`, just before everybody can publish.
        on_published: Called in the network thread with each PUBACK's receipt key (generation, mid); must not block.
        on_beat: Called in the network thread at least once a second while live.
    """

    def __init__(
        self,
        broker: BrokerAddress,
        client_id: str,
        handlers: Mapping[str, Handler],
        *,
        will: Will | None = None,
        birth: Callable[[], None] = _ignore,
        on_live: Callable[[], None] = _ignore,
        on_published: Callable[[int, int], None] = _ignore,
        on_beat: Callable[[], None] = _ignore,
    ) -> None:
        self._broker, self._client_id, self._handlers, self._will = broker, client_id, dict(handlers), will
        self._birth, self._on_live, self._on_published, self._on_beat = birth, on_live, on_published, on_beat
        self._session: tuple[paho.Client, int] | None = None
        self._failure: PublishError | None = None
        self._unacknowledged, self._is_answered, self._is_publication_refused = 0, False, False
        self._is_drained, self._oldest_ns = True, 0
        self._max_in_flight = MAX_IN_FLIGHT
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self.live = threading.Event()
        self.generation = 0
        self.live_since_ns = 0
        self.beats = 0
        self.handler_failures = 0
        self.error: PublishError | None = None

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Disconnect without a will and end the thread; what is in flight is given up."""
        self._stopping.set()
        if (session := self._session) is not None:
            session[0].disconnect()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> Receipt:
        """Hand a message to the network thread; never waits.

        Raises:
            PublishError: There is no live connection, or too much is in flight; nothing was sent.
        """
        session = self._session
        early = not self.live.is_set() and threading.current_thread() is not self._thread
        if session is None or early:
            raise self.error or PublishError(f"broker {self._broker} is not connected.", fix="It is tried again.")
        info = session[0].publish(topic, payload, qos, retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise PublishError(
                f"broker {self._broker} does not take more: {paho.error_string(info.rc)}", fix="It is tried again."
            )
        return Receipt(session[1], info.mid, info)

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            error = self._talk()
            # Two clients with one id throw each other out at once: only a connection that lasted is a success.
            was_steady = self.live.is_set() and time.monotonic_ns() - self.live_since_ns > _STEADY_NS
            self._forget(error)
            failures = 0 if was_steady else failures + 1
            self._stopping.wait(retry_delay_s(failures))

    def _talk(self) -> PublishError:
        """Hold one connection; return why it ended."""
        self._failure, self._unacknowledged, self._is_answered = None, 0, False
        self._is_drained = True
        self._is_publication_refused = False
        try:
            client = self._new_client()
            client.connect(self._broker.host, self._broker.port, self._broker.keepalive_s)
            code = self._pump(client)
        except (OSError, ConfigError) as error:
            return self._explained(error)
        except Exception as error:
            # Whatever a broken broker makes paho raise must not end the only thread that connects.
            log.exception("mqtt connection failed")
            return PublishError(f"broker {self._broker}: {error!r}.", fix="The log has the traceback.")
        if self._failure is None and not self._is_answered:
            self._fail(
                "closed the connection without an answer",
                "Check that it speaks MQTT there, with TLS or without, as configured, and accepts our certificate.",
            )
        return self._failure or PublishError(
            f"broker {self._broker} is gone: {paho.error_string(code)}", fix="Check that it runs; it is tried again."
        )

    def _explained(self, error: OSError | ConfigError) -> PublishError:
        match error:
            case ConfigError():
                return PublishError(error.problem, fix=error.fix)
            case ssl.SSLCertVerificationError():
                return PublishError(
                    f"broker {self._broker} has a certificate that is not accepted: {error.verify_message}.",
                    fix="Is the clock of this machine right (`date`)? If so, renew the broker's certificate."
                    if error.verify_code in _OUT_OF_TIME
                    else "Name the broker as its certificate does, and in ca_file the authority that signed it.",
                )
            case ssl.SSLError():
                return PublishError(
                    f"broker {self._broker} and this client find no common TLS: {error.reason or error}.",
                    fix="Check that it speaks TLS there.",
                )
        return PublishError(
            f"broker {self._broker} cannot be reached: {error}.",
            fix="Check host and port, that the broker runs, and that it speaks TLS there or not, as configured.",
        )

    def _pump(self, client: paho.Client) -> MQTTErrorCode:
        deadline = time.monotonic() + _HANDSHAKE_TIMEOUT_S
        code = MQTTErrorCode.MQTT_ERR_SUCCESS
        while code == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._is_drained |= _is_empty(client.socket())
            code = client.loop(_BEAT_S)
            self.beats += 1
            if self.live.is_set():
                self._on_beat()
            elif time.monotonic() > deadline:
                self._fail("does not answer", "Check that it is an MQTT broker without TLS or with, as configured.")
            if self._failure is not None or (self._stopping.is_set() and not self.live.is_set()):
                client.disconnect()
                client.loop(0)
                break
        return code

    def _new_client(self) -> paho.Client:
        # With MQTT 5 paho's first connection starts clean, and a session without an expiry interval ends with it.
        is_five = self._broker.protocol == 5
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if is_five else True,
            protocol=paho.MQTTv5 if is_five else paho.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.max_inflight_messages_set(self._max_in_flight)
        client.max_queued_messages_set(_MAX_QUEUED)
        client.connect_timeout = _CONNECT_TIMEOUT_S
        if self._broker.username is not None:
            client.username_pw_set(self._broker.username, self._broker.password)
        if self._broker.tls is not None:
            client.tls_set_context(self._broker.tls.context())
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, qos=1, retain=True)
        client.on_socket_open = _set_no_delay
        client.on_socket_register_write = _ignore
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_puback
        client.on_disconnect = self._on_disconnect
        return client

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        self._is_answered = True
        if reason.is_failure:
            self._fail(
                f"refused client {self._client_id!r}, user {self._broker.username!r}: {reason}",
                "Check user name, password and the broker's access list.",
                kind=BrokerRefusedError,
            )
            return
        receive_maximum = getattr(properties, "ReceiveMaximum", MAX_IN_FLIGHT)
        if receive_maximum < self._max_in_flight:
            # It cannot be changed in an open connection.
            self._max_in_flight = receive_maximum
            self._fail(f"takes only {receive_maximum} messages at once", "It is tried again so.")
        elif self._handlers:
            client.subscribe([(topic, 1) for topic in self._handlers])
        else:
            self._become_live(client)

    def _on_subscribe(self, client: paho.Client, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        refused = [topic for topic, reason in zip(self._handlers, reasons, strict=False) if reason.is_failure]
        if refused:
            self._fail(
                f"refused to subscribe {', '.join(refused)}", "Check the broker's access list.", kind=BrokerRefusedError
            )
        else:
            self._become_live(client)

    def _become_live(self, client: paho.Client) -> None:
        self.generation += 1
        self.live_since_ns = time.monotonic_ns()
        self._session = (client, self.generation)
        self._birth()
        self.error = None
        # First, or another thread could publish before the publisher knows that this is a new connection.
        self._on_live()
        self.live.set()
        log.info("mqtt live broker=%s client=%s generation=%d", self._broker, self._client_id, self.generation)

    def _on_message(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        received_ns = time.monotonic_ns()
        if self._is_drained:
            self._oldest_ns = received_ns
        waited_ns = received_ns - self._oldest_ns
        try:
            for topic_filter, handler in self._handlers.items():
                if paho.topic_matches_sub(topic_filter, message.topic):
                    handler(
                        Message(message.topic, bytes(message.payload), bool(message.retain), received_ns, waited_ns)
                    )
                    break
        except (MessageError, UnicodeDecodeError) as error:
            log.warning("mqtt message refused error=%s", error)
        except Exception:
            log.exception("mqtt handler failed, message not acknowledged")
            self.handler_failures += 1
            self._unacknowledged += 1
            if self._unacknowledged >= _MAX_UNACKNOWLEDGED:
                self._fail("has too many messages that could not be handled", "The log has the tracebacks.")
            return
        finally:
            self._is_drained = _is_empty(client.socket())
        client.ack(message.mid, message.qos)

    def _on_puback(self, _client: paho.Client, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        if not reason.is_failure:
            self._on_published(self.generation, mid)
        elif not self._is_publication_refused:
            self._is_publication_refused = True
            log.error("mqtt publication refused reason=%s, check the broker's access list", reason)

    def _on_disconnect(self, _client: paho.Client, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self._fail(f"ended the connection: {reason}", "If it was taken over, another client has the same id.")

    def _fail(self, problem: str, fix: str, *, kind: type[PublishError] = PublishError) -> None:
        self._failure = kind(f"broker {self._broker} {problem}.", fix=fix)

    def _forget(self, error: PublishError) -> None:
        if not self._stopping.is_set() and str(error) != str(self.error):
            log.warning("mqtt not connected error=%s", error)
        self.error = error
        self.live.clear()
        self._session = None


def retry_delay_s(failures: int) -> float:
    """Return how long to wait: doubling from 0.2 s to 3 s, the upper half drawn, so that stations do not march.

    Never longer: a broker that is back must have every station back within 5 s.
    """
    longest = min(LONGEST_RETRY_S, SHORTEST_RETRY_S * 2.0 ** min(failures, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311, not a secret


def _is_empty(sock: Any) -> bool:
    """Return whether nothing has come that was not read yet."""
    if sock is None:
        return True
    readable = select.poll()
    readable.register(sock, select.POLLIN)
    return not (readable.poll(0) or (isinstance(sock, ssl.SSLSocket) and sock.pending()))


def _set_no_delay(_client: paho.Client, _data: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
