"""TLS with a real Mosquitto that wants a certificate, and everything that can be wrong with one."""

import socket

import pytest
from certificates import Authority, ended_authority, with_passphrase
from message_side import DEADLINE_S, wait_until
from running_station import RunningStation
from test_station import GOOD, written

from edge_agent.broker_address import resolve_broker
from edge_agent.cli import main
from edge_agent.mqtt import BrokerAddress, MqttClient
from edge_agent.station import load_station
from edge_agent.tls import TlsFiles
from engines.errors import ConfigError, StationFileError


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "certificates")


@pytest.fixture
def agent_files(authority):
    """What a station has: the authority, its own certificate and key."""
    return TlsFiles(authority.ca_file, *authority.issue("press4"))


@pytest.fixture
def tls_broker(make_mosquitto, authority):
    """A broker on localhost, not 127.0.0.1, that wants a certificate of the authority."""
    broker = make_mosquitto(tls=(authority.ca_file, *authority.issue("broker", "localhost")))
    broker.start()
    return broker


@pytest.fixture
def connect():
    clients = []

    def make(broker, files, *, host="localhost"):
        clients.append(MqttClient(BrokerAddress(host, broker.port, tls=files), f"c{len(clients)}", {}))
        clients[-1].start()
        return clients[-1]

    yield make
    for client in clients:
        client.stop()


def failure_of(client):
    wait_until(lambda: client.error is not None or client.live.is_set())
    assert not client.live.is_set()
    return str(client.error)


def test_a_client_with_a_certificate_of_the_authority_gets_in(tls_broker, connect, agent_files):
    client = connect(tls_broker, agent_files)
    assert client.live.wait(DEADLINE_S), client.error
    assert client.publish("t", b"x").wait(DEADLINE_S)


def test_another_name_than_the_certificates_is_refused(tls_broker, connect, agent_files):
    said = failure_of(connect(tls_broker, agent_files, host="127.0.0.1"))
    assert "certificate that is not accepted: IP address mismatch" in said
    assert "Name the broker as its certificate does" in said


def test_a_broker_of_another_authority_is_refused(tls_broker, connect, agent_files, tmp_path):
    foreign = Authority(tmp_path / "foreign").ca_file
    trusting_another = TlsFiles(foreign, agent_files.cert_file, agent_files.key_file)
    assert "certificate that is not accepted" in failure_of(connect(tls_broker, trusting_another))
    trusting_the_system = TlsFiles(None, agent_files.cert_file, agent_files.key_file)
    assert "certificate that is not accepted" in failure_of(connect(tls_broker, trusting_the_system))


@pytest.mark.parametrize(("days", "says"), [(-1, "certificate has expired"), (800, "certificate is not yet valid")])
def test_a_broker_whose_certificate_is_not_of_today_is_refused_and_the_clock_asked_for(
    make_mosquitto, connect, authority, agent_files, days, says
):
    broker = make_mosquitto(tls=(authority.ca_file, *authority.issue("old", "localhost", days=days)))
    broker.start()
    said = failure_of(connect(broker, agent_files))
    assert says in said
    assert "Is the clock of this machine right (`date`)?" in said


@pytest.mark.parametrize("own", ["none", "of another authority"])
def test_a_client_whose_certificate_is_not_accepted_is_told_where_to_look(
    own, tls_broker, connect, authority, tmp_path
):
    files = () if own == "none" else Authority(tmp_path / "foreign").issue("press4")
    said = failure_of(connect(tls_broker, TlsFiles(authority.ca_file, *files)))
    assert "closed the connection without an answer" in said or "no common TLS" in said
    assert "accepts our certificate" in said or "speaks TLS there" in said


def test_tls_and_no_tls_do_not_meet(tls_broker, mosquitto, connect, agent_files):
    assert "without an answer" in failure_of(connect(tls_broker, None))
    assert "speaks TLS there" in failure_of(connect(mosquitto, agent_files))


def test_a_renewed_certificate_is_taken_at_the_next_connection(tls_broker, connect, authority, agent_files):
    good = agent_files.cert_file.read_bytes(), agent_files.key_file.read_bytes()
    authority.issue("press4", days=-1)
    client = connect(tls_broker, agent_files)
    failure_of(client)
    for path, content in zip((agent_files.cert_file, agent_files.key_file), good, strict=True):
        path.write_bytes(content)
    assert client.live.wait(DEADLINE_S), client.error


def test_a_listener_that_never_shakes_hands_does_not_hold_the_client(connect, agent_files):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        client = MqttClient(BrokerAddress("127.0.0.1", silent.getsockname()[1], tls=agent_files), "c", {})
        client.start()
        assert "timed out" in failure_of(client)
        client.stop()
    assert not client._thread.is_alive()


# --- what `edge-agent check` finds before the line does -------------------------------------------------------------


def test_files_that_fit_need_no_remark(agent_files):
    assert agent_files.check() == []


def lose(files):
    files.cert_file.unlink()


def swap(files):
    files.key_file.write_bytes(Authority(files.key_file.parent / "other").issue("press4")[1].read_bytes())


def garble_the_certificate(files):
    files.cert_file.write_text("no certificate")


def garble_the_authority(files):
    files.ca_file.write_text("no certificate")


def lock(files):
    files.key_file.write_bytes(with_passphrase(files.key_file).read_bytes())


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lose, "press4.pem cannot be read: No such file or directory. Check the path"),
        (swap, "press4.key does not belong to the certificate"),
        (garble_the_certificate, "are no certificate and key"),
        (garble_the_authority, "ca.pem holds no certificate"),
        (lock, "needs a passphrase, and nobody is there to type it"),
    ],
)
def test_files_that_cannot_be_used_are_named(agent_files, spoil, says):
    spoil(agent_files)
    for look in (agent_files.context, agent_files.check):
        with pytest.raises(ConfigError, match=says):
            look()


def test_a_key_that_may_not_be_read_is_named(agent_files, monkeypatch):
    def refuse(path, mode="r"):
        raise PermissionError(13, "Permission denied", str(path))

    # Root, as whom tests may run, reads everything.
    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(ConfigError, match=r"Permission denied\. Check the path, and that the user"):
        agent_files.context()


@pytest.mark.parametrize(("days", "says"), [(-1, "certificate has expired. Renew it"), (401, "not yet valid")])
def test_a_certificate_that_is_not_valid_today_is_found(authority, days, says):
    files = TlsFiles(authority.ca_file, *authority.issue("press4", days=days))
    files.context()
    with pytest.raises(ConfigError, match=says):
        files.check()


def test_an_authority_that_has_ended_is_found(agent_files):
    ended_authority(agent_files.ca_file)
    with pytest.raises(ConfigError, match=r"ca\.pem ended on"):
        agent_files.check()


@pytest.mark.parametrize(("days", "remarks"), [(29, 1), (31, 0)])
def test_a_certificate_that_ends_within_a_month_is_said(authority, days, remarks):
    found = TlsFiles(authority.ca_file, *authority.issue("press4", days=days)).check()
    assert len(found) == remarks
    assert all("renew it before" in remark for remark in found)


# --- the station file, and the commands -----------------------------------------------------------------------------


def test_paths_count_from_the_file_and_the_port_is_that_of_tls(tmp_path, monkeypatch):
    text = GOOD.replace("mqtt://127.0.0.1:1884", "mqtts://broker.plant")
    tls = "  tls:\n    ca_file: ca.pem\n    cert_file: /etc/press4.pem\n    key_file: ${cred:key}\n"
    mqtt = load_station(written(tmp_path, text + tls)).mqtt
    assert mqtt.address == ("broker.plant", 8883)
    assert (mqtt.tls.ca_file, mqtt.tls.cert_file) == (str(tmp_path / "ca.pem"), "/etc/press4.pem")
    assert mqtt.tls.key_file == "${cred:key}"


def station_with(tmp_path, tls, broker="mqtts://localhost:8883"):
    text = GOOD.replace("mqtt://127.0.0.1:1884", broker)
    lines = "".join(f"    {key}: {value}\n" for key, value in tls.items())
    return load_station(written(tmp_path, f"{text}  tls:\n{lines}"))


@pytest.mark.parametrize(
    ("tls", "broker", "says"),
    [
        ({"cert_file": "a.pem"}, "mqtts://h", "`cert_file` and `key_file` come together"),
        ({"key_file": "a.pem"}, "mqtts://h", "`cert_file` and `key_file` come together"),
        ({"ca_file": "a.pem"}, "mqtt://h", "`tls` needs a broker that begins with mqtts://"),
        ({"ca_file": "${env:CA}"}, "mqtts://h", r"write a path, or \$\{cred:NAME\}"),
        ({"insecure": "true"}, "mqtts://h", "mqtt.tls.insecure: unknown key"),
    ],
)
def test_tls_parts_that_do_not_fit_are_mistakes(tmp_path, tls, broker, says):
    with pytest.raises(StationFileError, match=says):
        station_with(tmp_path, tls, broker)


def test_the_key_may_be_a_credential_of_the_service(tmp_path, agent_files, monkeypatch):
    tls = {"ca_file": agent_files.ca_file, "cert_file": agent_files.cert_file, "key_file": "${cred:key}"}
    station = station_with(tmp_path, tls)
    with pytest.raises(StationFileError, match="set CREDENTIALS_DIRECTORY to the folder"):
        resolve_broker(station.mqtt)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "key").write_bytes(agent_files.key_file.read_bytes())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert resolve_broker(station.mqtt).tls == TlsFiles(agent_files.ca_file, agent_files.cert_file, credentials / "key")


def test_without_files_the_authorities_of_the_system_count(tmp_path):
    text = GOOD.replace("mqtt://127.0.0.1:1884", "mqtts://localhost")
    assert resolve_broker(load_station(written(tmp_path, text)).mqtt).tls == TlsFiles()


def test_a_station_talks_tls_and_watch_too(
    tmp_path, fitted_recipe, good_frames_folder, tls_broker, authority, agent_files, capsys
):
    tls = {"ca_file": "ca.pem", "cert_file": "press4.pem", "key_file": "press4.key"}
    folder = agent_files.ca_file.parent
    address = f"mqtts://localhost:{tls_broker.port}"
    uri = f"folder://{good_frames_folder}?loop=true"
    station = RunningStation(folder, fitted_recipe, tls_broker.port, uri, mqtt={"broker": address, "tls": tls})
    assert main(["check", "--config", str(station.config)]) == 0
    assert main(["doctor", "--config", str(station.config)]) in {0, 69}
    assert f"localhost:{tls_broker.port} lets us in" in capsys.readouterr().out.replace("\n", "")
    certificate, key = map(str, authority.issue("plc"))
    where = ["--broker", address, "--site", "test", "--station", "cell", "--consumer", "plc"]
    files = ["--tls-ca", str(authority.ca_file), "--tls-cert", certificate, "--tls-key", key]
    station.start()
    try:
        play = ["watch", *where, *files, "--trigger", "--parts", "3", "--accept-simulated", "--timeout-ms", "3000"]
        assert main(play) == 0
    finally:
        station.kill()
    assert "3 accept: PASS" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--broker", "h:1", "--tls-ca", "x"], "Write --broker mqtts://HOST:PORT"),
        (["--broker", "mqtts://h:1", "--tls-cert", "x"], "come together"),
        (["--broker", "mqtts://h"], "is not HOST:PORT"),
        (["--broker", "http://h:1"], "is not HOST:PORT"),
    ],
)
def test_words_of_watch_that_do_not_fit(words, says, capsys):
    assert main(["watch", *words, "--site", "s", "--station", "t"]) == 64
    assert says in capsys.readouterr().err


def test_check_says_what_is_wrong_and_the_agent_does_not_start(tmp_path, agent_files, capsys):
    swap(agent_files)
    tls = {"ca_file": agent_files.ca_file, "cert_file": agent_files.cert_file, "key_file": agent_files.key_file}
    station_with(tmp_path, tls)
    assert main(["check", "--config", str(tmp_path / "station.yaml")]) == 78
    assert "does not belong to the certificate" in capsys.readouterr().err
