"""The endpoint as a server: three paths, one thread, and clients of every kind."""

import http.client
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ports import free_port

from edge_agent.health_server import Answer, HealthServer

PAGE = b"life 1\n"


def wait_until(condition, limit_s=10.0):
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(port, path="/page", method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path)
    response = connection.getresponse()
    return response.status, response.read(), response


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def serve(port):
    servers = []

    def start(answer_of=lambda: Answer(200, "text/plain", PAGE), **options):
        servers.append(HealthServer(port, {"/page": answer_of}, **options))
        servers[-1].start()
        wait_until(lambda: is_open(port))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def test_a_path_answers_with_status_type_and_length(serve, port):
    serve(lambda: Answer(503, "application/json", b"{}\n"))
    status, content, response = ask(port)
    assert (status, content) == (503, b"{}\n")
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Content-Length"] == "3"


@pytest.mark.parametrize("path", ["/", "/page/", "/page?x=1", "/../page", "/PAGE", "/favicon.ico"])
def test_other_paths_do_not_exist(serve, port, path):
    serve()
    assert ask(port, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE"])
def test_nothing_but_get_is_taken(serve, port, method):
    serve()
    assert ask(port, method=method)[0] == 501


def test_only_this_machine_is_answered(serve, port):
    serve()
    assert is_open(port)
    listening = {
        line.split()[1]
        for table in Path("/proc/net").glob("tcp*")
        for line in table.read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].rpartition(":")[2], 16) == port
    }
    assert listening == {f"0100007F:{port:04X}"}


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n\r\n",
        b"GET",
        b"\x00" * 5000,
        b"GET /page HTTP/9.9\r\n\r\n",
        b"GET " + b"a" * 70_000,
        b"GET /page\r\n\r\n",
    ],
)
def test_whatever_comes_the_next_one_is_answered(serve, port, sent):
    serve()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        assert ask(port)[:2] == (200, PAGE)


def test_a_client_that_says_a_byte_now_and_then_is_given_up(serve, port):
    serve()
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(0.05)
        for byte in b"GET /page HTTP/1.1\r\nX-Slow: " + b"a" * 2000:
            try:
                client.sendall(bytes([byte]))
                if client.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("it was listened to for ever")
    assert time.monotonic() - began < 5
    assert ask(port)[:2] == (200, PAGE)


def test_a_client_that_does_not_take_its_answer_is_given_up(serve, port):
    serve(lambda: Answer(200, "text/plain", b"x" * 20_000_000))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /page HTTP/1.1\r\n\r\n")
        began = time.monotonic()
        assert ask(port, "/other")[0] == 404
        assert time.monotonic() - began < 5


def test_clients_by_the_dozen_are_answered_one_after_the_other_by_one_thread(serve, port):
    before = threading.active_count()
    threads = []

    def answer():
        threads.append(threading.current_thread().name)
        return Answer(200, "text/plain", PAGE)

    serve(answer)
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda _: ask(port)[:2], range(50)))
    assert answers == [(200, PAGE)] * 50
    assert set(threads) == {"health-server"}
    assert threading.active_count() == before + 1


def test_an_answer_that_fails_ends_neither_the_thread_nor_stays_unseen(serve, port, caplog):
    serve(lambda: 1 / 0)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(port)
    assert ask(port, "/other")[0] == 404
    assert "ZeroDivisionError" in caplog.text


def test_a_port_that_is_taken_is_said_once_and_tried_again(port, caplog):
    server = HealthServer(port, {"/page": lambda: Answer(200, "text/plain", PAGE)}, retry_s=0.01)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        server.start()
        wait_until(lambda: server.is_refused)
        time.sleep(0.1)
        assert caplog.text.count("choose another health.port.") == 1
    wait_until(lambda: not server.is_refused)
    assert ask(port)[:2] == (200, PAGE)
    server.stop()
    assert not is_open(port)
