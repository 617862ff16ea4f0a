import contextlib
import logging
import socket
import threading
import time

import pytest
from message_side import DEADLINE_S, wait_until
from ports import free_port

from edge_agent.mqtt import LONGEST_RETRY_S, SHORTEST_RETRY_S, BrokerAddress, MqttClient, Will, retry_delay_s
from engines.errors import PublishError


@pytest.fixture(params=["3.1.1", 5])
def protocol(request):
    return request.param


@pytest.fixture
def connect(protocol):
    clients = []

    def make(port, client_id="test", handlers=None, **options):
        login = {key: options.pop(key) for key in ("username", "password") if key in options}
        login["protocol"] = protocol
        clients.append(MqttClient(BrokerAddress("127.0.0.1", port, **login), client_id, handlers or {}, **options))
        clients[-1].start()
        return clients[-1]

    yield make
    for client in clients:
        client.stop()


def live(client):
    assert client.live.wait(DEADLINE_S), client.error
    return client


def test_retries_double_from_a_fifth_of_a_second_to_three_seconds_with_jitter():
    for failures in range(40):
        longest = min(LONGEST_RETRY_S, SHORTEST_RETRY_S * 2**failures)
        delays = [retry_delay_s(failures) for _ in range(50)]
        assert all(longest / 2 <= delay <= longest for delay in delays)
        assert len(set(delays)) > 40


def test_live_means_subscribed_and_birth_comes_first(mosquitto, connect):
    received = []
    order = []
    is_made = threading.Event()
    watcher = live(connect(mosquitto.port, "watcher", {"t/#": received.append}))

    def birth():
        assert is_made.wait(10)
        order.append("birth")
        client.publish("t/birth", b"1")

    client = connect(mosquitto.port, "c", {"x": order.append}, birth=birth, on_live=lambda: order.append("live"))
    is_made.set()
    live(client).publish("t/second", b"2")
    wait_until(lambda: len(received) == 2)
    assert [message.topic for message in received] == ["t/birth", "t/second"]
    assert order == ["birth", "live"]
    assert watcher.generation == client.generation == 1


def test_nobody_else_publishes_before_on_live_returned(mosquitto, connect):
    seen = []
    is_made = threading.Event()

    def on_live():
        assert is_made.wait(10)
        other = threading.Thread(target=publish)
        other.start()
        other.join()
        seen.append(client.live.is_set())

    def publish():
        try:
            client.publish("t", b"too early")
        except PublishError as problem:
            seen.append(problem.fix)

    client = connect(mosquitto.port, on_live=on_live)
    is_made.set()
    live(client)
    assert seen == ["It is tried again.", False]


def test_nagle_is_off(mosquitto, connect):
    client = live(connect(mosquitto.port))
    assert client._session[0].socket().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_an_absent_broker_never_blocks_and_is_found_later(make_mosquitto, connect):
    broker = make_mosquitto()
    client = connect(broker.port)
    wait_until(lambda: client.error is not None)
    assert "cannot be reached" in str(client.error)
    with pytest.raises(PublishError, match="cannot be reached"):
        client.publish("t", b"x")
    broker.start()
    live(client)
    assert client.error is None


def test_a_refused_login_is_an_error_state_with_its_reason(make_mosquitto, connect):
    broker = make_mosquitto(user=("station", "right"))
    broker.start()
    wrong = connect(broker.port, "wrong", username="station", password="wrong")
    anonymous = connect(broker.port, "anonymous")
    right = live(connect(broker.port, "right", username="station", password="right"))
    for client in (wrong, anonymous):
        wait_until(lambda client=client: client.error is not None)
        assert "Not authorized" in client.error.problem
        assert "Check user name, password" in client.error.fix
        assert not client.live.is_set()
        assert client.generation == 0
    assert right.error is None
    assert "wrong" not in repr(wrong._broker)


def test_a_listener_that_is_no_broker_is_an_error(connect):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = connect(listener.getsockname()[1])
        taken, _ = listener.accept()
        taken.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        wait_until(lambda: client.error is not None)
        taken.close()
    assert not client.live.is_set()
    assert client._thread.is_alive()


def test_a_broker_that_dies_and_comes_back_makes_a_new_generation(mosquitto, connect):
    client = live(connect(mosquitto.port))
    mosquitto.kill()
    wait_until(lambda: not client.live.is_set())
    mosquitto.start()
    live(client)
    assert client.generation == 2


def test_stop_ends_the_thread_while_no_broker_is_there(connect):
    client = connect(free_port())
    client.stop()
    assert not client._thread.is_alive()


def test_a_clean_stop_publishes_no_will_and_a_lost_one_does(mosquitto, connect):
    received = []
    live(connect(mosquitto.port, "watcher", {"will/#": received.append}))
    polite = live(connect(mosquitto.port, "polite", will=Will("will/polite", b"gone")))
    rude = live(connect(mosquitto.port, "rude", will=Will("will/rude", b"gone")))
    polite.stop()
    rude._session[0].socket().shutdown(socket.SHUT_RDWR)
    wait_until(lambda: received)
    assert [message.topic for message in received] == ["will/rude"]


def test_a_receipt_tells_the_puback(mosquitto, connect):
    published = []
    client = live(connect(mosquitto.port, on_published=lambda *key: published.append(key)))
    receipt = client.publish("t", b"x")
    assert receipt.wait(DEADLINE_S)
    wait_until(lambda: published == [(receipt.generation, receipt.mid)])


def test_a_full_queue_is_an_error_and_not_a_silent_loss(connect, protocol):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = connect(listener.getsockname()[1])
        peer, _ = listener.accept()
        with peer:
            peer.recv(1000)
            peer.sendall(bytes.fromhex("2003000000" if protocol == 5 else "20020000"))  # CONNACK, never a PUBACK
            live(client)
            for _ in range(64):
                client.publish("t", b"x")
            with pytest.raises(PublishError, match="does not take more"):
                client.publish("t", b"x")


class RawBroker:
    """Speaks just enough MQTT to see when PUBACKs come."""

    def __init__(self, protocol):
        # MQTT 5 puts the length of its properties, here none, behind the heads of its packets.
        self.no_properties = b"\0" if protocol == 5 else b""
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]

    def accept(self, properties=None):
        self.peer, _ = self.listener.accept()
        self.peer.settimeout(DEADLINE_S)
        self.connect_packet = self.peer.recv(1000)
        self.packet(0x20, b"\0\0" + (properties or self.no_properties))

    def grant(self):
        subscribe = self.peer.recv(1000)
        self.packet(0x90, subscribe[2:4] + self.no_properties + b"\x01")

    def packet(self, kind, body):
        self.peer.sendall(bytes((kind, len(body))) + body)

    def send(self, mid, payload):
        self.packet(0x32, b"\x00\x01t" + mid.to_bytes(2, "big") + self.no_properties + payload)

    def close(self):
        self.peer.close()
        self.listener.close()


@pytest.fixture
def raw_broker(protocol):
    broker = RawBroker(protocol)
    yield broker
    broker.close()


def test_the_puback_goes_out_after_the_handler_returned(raw_broker, connect):
    entered, may_return = threading.Event(), threading.Event()

    def handler(_message):
        entered.set()
        may_return.wait(DEADLINE_S)

    connect(raw_broker.port, handlers={"t": handler})
    raw_broker.accept()
    raw_broker.grant()
    raw_broker.send(7, b"{}")
    assert entered.wait(DEADLINE_S)
    raw_broker.peer.settimeout(0.1)
    with pytest.raises(TimeoutError):
        raw_broker.peer.recv(100)
    may_return.set()
    raw_broker.peer.settimeout(DEADLINE_S)
    assert raw_broker.peer.recv(4) == bytes((0x40, 2, 0, 7))


def test_a_message_that_waited_while_another_was_handled_says_how_long(mosquitto, connect):
    taken, go_on = [], threading.Event()

    def take(message):
        taken.append(message)
        assert message.payload != b"slow" or go_on.wait(DEADLINE_S)

    live(connect(mosquitto.port, "c", {"t": take}))
    sender = live(connect(mosquitto.port, "s"))
    sender.publish("t", b"slow")
    wait_until(lambda: taken)
    assert sender.publish("t", b"behind").wait(DEADLINE_S)
    time.sleep(0.3)
    go_on.set()
    wait_until(lambda: len(taken) == 2)
    time.sleep(0.3)
    sender.publish("t", b"alone")
    wait_until(lambda: len(taken) == 3)
    slow, behind, alone = (message.waited_ns / 1e9 for message in taken)
    assert slow == alone == 0.0
    assert behind > 0.3


def test_what_is_no_message_makes_none_look_old(raw_broker, connect):
    taken, go_on = [], threading.Event()

    def take(message):
        taken.append(message)
        go_on.wait(DEADLINE_S)

    connect(raw_broker.port, handlers={"t": take})
    raw_broker.accept()
    raw_broker.grant()
    raw_broker.send(1, b"first")
    wait_until(lambda: taken)
    pingresp = b"\xd0\x00"
    raw_broker.peer.sendall(pingresp)
    go_on.set()
    assert raw_broker.peer.recv(4)[0] == 0x40
    time.sleep(0.3)
    raw_broker.send(2, b"second")
    wait_until(lambda: len(taken) == 2)
    assert [message.waited_ns for message in taken] == [0, 0]


def test_a_handler_that_fails_gives_no_puback_and_the_thread_goes_on(raw_broker, connect, caplog):
    def handler(message):
        if message.payload == b"bad":
            raise RuntimeError("a bug")

    client = connect(raw_broker.port, handlers={"t": handler})
    raw_broker.accept()
    raw_broker.grant()
    raw_broker.send(1, b"bad")
    raw_broker.send(2, b"good")
    assert raw_broker.peer.recv(4) == bytes((0x40, 2, 0, 2))
    assert client.handler_failures == 1
    assert "a bug" in caplog.text
    assert client.live.is_set()


def test_after_many_failures_the_connection_is_renewed(raw_broker, connect, caplog):
    caplog.set_level(logging.CRITICAL)

    def handler(_message):
        raise RuntimeError("a bug")

    client = connect(raw_broker.port, handlers={"t": handler})
    raw_broker.accept()
    raw_broker.grant()
    for mid in range(1, 9):
        raw_broker.send(mid, b"x")
    wait_until(lambda: client.error is not None)
    assert "could not be handled" in str(client.error)
    raw_broker.peer.close()
    raw_broker.accept()
    raw_broker.grant()
    live(client)


def test_every_session_starts_clean_and_ends_with_its_connection(raw_broker, connect, protocol):
    connect(raw_broker.port, handlers={"t": print})
    for _ in range(2):
        raw_broker.accept()
        level, flags, rest = raw_broker.connect_packet[8], raw_broker.connect_packet[9], raw_broker.connect_packet[12:]
        assert level == (5 if protocol == 5 else 4)
        assert flags & 0b10
        # No property, so no session expiry interval.
        assert rest == raw_broker.no_properties + b"\0\x04test"
        raw_broker.peer.close()


@pytest.mark.parametrize("protocol", [5], indirect=True)
def test_a_broker_that_takes_few_messages_at_once_is_not_sent_more(raw_broker, connect):
    client = connect(raw_broker.port)
    few = bytes.fromhex("03210002")  # receive maximum 2
    raw_broker.accept(few)
    assert raw_broker.peer.recv(10)[0] == 0xE0
    raw_broker.peer.close()
    raw_broker.accept(few)
    live(client)
    for number in range(5):
        client.publish("t", f"{number}".encode())
    raw_broker.peer.settimeout(0.3)
    received = b""
    with contextlib.suppress(TimeoutError):
        while True:
            received += raw_broker.peer.recv(1000)
    assert received.count(b"\0\x01t") == 2


@pytest.mark.parametrize("protocol", [5], indirect=True)
def test_a_refused_publication_is_no_receipt_and_is_said_once(raw_broker, connect, caplog):
    published = []
    client = connect(raw_broker.port, on_published=lambda *key: published.append(key[1]))
    raw_broker.accept()
    live(client)
    mids = [client.publish("t", b"x").mid for _ in range(3)]
    for mid, reason in zip(mids, b"\x87\x87\x00", strict=True):
        raw_broker.packet(0x40, mid.to_bytes(2, "big") + bytes((reason, 0)))
    wait_until(lambda: published)
    assert published == mids[2:]
    assert caplog.text.count("publication refused reason=Not authorized") == 1


@pytest.mark.parametrize("protocol", [5], indirect=True)
def test_why_the_broker_ends_a_connection_is_said(raw_broker, connect):
    client = connect(raw_broker.port)
    raw_broker.accept()
    live(client)
    raw_broker.packet(0xE0, b"\x8e\0")
    wait_until(lambda: client.error is not None)
    assert "ended the connection: Session taken over" in str(client.error)
