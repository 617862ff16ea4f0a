from pathlib import Path

import pytest

from edge_agent.camera.uri import parse_uri
from edge_agent.cli import main
from edge_agent.station import load_station, resolve_references, resolve_secret
from engines.errors import StationFileError

GOOD = """\
schema: 1
site: plant1
station: press4
recipe: recipes/bottle
state_dir: state
camera:
  uri: folder://frames
  mode: triggered
trigger:
  deadline_ms: 200
  capture_within_ms: 100
  dedupe_window_s: 60
mqtt:
  broker: mqtt://127.0.0.1:1884
  consumer: plc
"""


def written(tmp_path, text):
    path = tmp_path / "station.yaml"
    path.write_text(text)
    return path


def test_relative_paths_count_from_the_file(tmp_path):
    station = load_station(written(tmp_path, GOOD))
    assert station.recipe == tmp_path / "recipes/bottle"
    assert station.state_dir == tmp_path / "state"
    assert station.camera.uri == f"folder://{tmp_path}/frames"
    assert station.mqtt.address == ("127.0.0.1", 1884)


def test_every_mistake_is_reported_at_once_with_its_line(tmp_path):
    text = (
        GOOD.replace("recipe: recipes/bottle", "recipee: recipes/bottle")
        .replace("mode: triggered", "mode: trigered")
        .replace("deadline_ms: 200", "deadline_ms: fast")
        .replace("  broker: mqtt://127.0.0.1:1884\n", "  broker: 127.0.0.1\n  consumer: a\n")
    )
    with pytest.raises(StationFileError) as caught:
        load_station(written(tmp_path, text))
    message = str(caught.value)
    for expected in (
        "station.yaml:4: recipee: unknown key; did you mean `recipe`?",
        "station.yaml:1: recipe: missing",
        "station.yaml:8: camera.mode: 'trigered' is not allowed",
        "station.yaml:10: trigger.deadline_ms: 'fast' is not allowed",
        "station.yaml:14: mqtt.broker: '127.0.0.1' is not allowed: write mqtt://HOST:PORT",
        "station.yaml:16: mqtt.consumer: given twice",
    ):
        assert expected in message
    assert message.startswith(f"{tmp_path}/station.yaml has 6 mistakes:")
    assert message.endswith("Correct every line named above and try again.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("schema: 1\n  site: x\n", ":2: not valid YAML"),
        ("- a list\n", ":1: expected `key: value` lines, found list"),
        ("", ":1: expected `key: value` lines, found NoneType"),
        ("a: &x [*x]\n", ":1: aliases such as \\*x are not used here"),
    ],
)
def test_what_is_no_station_file_at_all(tmp_path, text, expected):
    with pytest.raises(StationFileError, match=expected):
        load_station(written(tmp_path, text))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", ":9: trigger: .* is not allowed: it needs `capture_within_ms`"),
        ("  capture_within_ms: 0\n", "capture_within_ms: 0 is not allowed"),
        ("  capture_within_ms: 600001\n", "capture_within_ms: 600001 is not allowed"),
    ],
)
def test_only_the_line_knows_when_a_frame_is_too_late(tmp_path, line, said):
    with pytest.raises(StationFileError, match=said):
        load_station(written(tmp_path, GOOD.replace("  capture_within_ms: 100\n", line)))


FIRED = GOOD.replace("mode: triggered", "mode: hardware_triggered")


@pytest.mark.parametrize("window_ms", [(-5, 40), (0, 179), (70, 179), (-80, 99)])
def test_a_hardware_trigger_has_a_window_instead(tmp_path, window_ms):
    window = "  pair_min_ms: {}\n  pair_max_ms: {}\n".format(*window_ms)
    station = load_station(written(tmp_path, FIRED.replace("  capture_within_ms: 100\n", window)))
    assert station.trigger.pairing_window_ms == window_ms


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (FIRED, "", "both needed"),
        (FIRED, "  pair_min_ms: 0\n", "both needed"),
        (FIRED, "  pair_min_ms: 0\n  pair_max_ms: 40\n  capture_within_ms: 100\n", "not by `capture_within_ms`"),
        (FIRED, "  pair_min_ms: 40\n  pair_max_ms: 40\n", "`pair_min_ms` must be smaller"),
        (FIRED, "  pair_min_ms: 0\n  pair_max_ms: 180\n", "only 200 ms .* make `deadline_ms` greater"),
        (FIRED, "  pair_min_ms: 70\n  pair_max_ms: 180\n", "only 200 ms .* make `deadline_ms` greater"),
        (FIRED, "  pair_min_ms: -80\n  pair_max_ms: 100\n", "only 200 ms .* make `deadline_ms` greater"),
        (FIRED, "  pair_min_ms: -60001\n  pair_max_ms: 40\n", "pair_min_ms: -60001 is not allowed"),
        (GOOD, "  capture_within_ms: 100\n  pair_max_ms: 40\n", "are for `camera.mode: hardware_triggered`"),
    ],
)
def test_a_window_that_cannot_be_is_refused(tmp_path, text, line, said):
    with pytest.raises(StationFileError, match=said):
        load_station(written(tmp_path, text.replace("  capture_within_ms: 100\n", line)))


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(StationFileError, match="cannot be read: No such file"):
        load_station(tmp_path / "nowhere.yaml")


def test_a_password_in_the_file_is_refused_and_not_repeated(tmp_path):
    with pytest.raises(StationFileError) as caught:
        load_station(written(tmp_path, f"{GOOD}  password: hunter2\n"))
    assert "a secret never stands in the file" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_consumer_acknowledgement_needs_a_consumer(tmp_path):
    with pytest.raises(StationFileError, match="`consumer` must name who empties the outbox"):
        load_station(written(tmp_path, GOOD.replace("  consumer: plc\n", "")))


def test_secrets_come_from_the_environment_or_the_credentials(tmp_path, monkeypatch):
    monkeypatch.setenv("STATION_PASSWORD", "one")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "mqtt").write_text("two\n")
    assert resolve_secret("${env:STATION_PASSWORD}") == "one"
    assert resolve_secret("${cred:mqtt}") == "two"
    assert resolve_secret(None) is None
    with pytest.raises(StationFileError, match=r"no file gone\. .* set CREDENTIALS_DIRECTORY"):
        resolve_secret("${cred:gone}")


def with_broker(tmp_path, broker):
    return load_station(written(tmp_path, GOOD.replace("mqtt://127.0.0.1:1884", broker))).mqtt


@pytest.mark.parametrize(
    ("broker", "said"),
    [
        ("mqtt://h:0", "from 1 to 65535"),
        ("mqtt://h:65536", "from 1 to 65535"),
        ("mqtt://h:99999", "from 1 to 65535"),
        ("embedded://127.0.0.1:0", "from 1 to 65535"),
        ("embedded://192.168.0.7:1883", "listens on this machine only; write embedded://127.0.0.1:PORT"),
        ("embedded://plc:1883", "listens on this machine only"),
    ],
)
def test_a_broker_that_cannot_be_reached_is_refused(tmp_path, broker, said):
    with pytest.raises(StationFileError, match=said):
        with_broker(tmp_path, broker)


@pytest.mark.parametrize(
    ("broker", "address"),
    [
        ("mqtt://h:1", ("h", 1)),
        ("mqtt://h:65535", ("h", 65535)),
        ("mqtt://h", ("h", 1883)),
        ("mqtt://[fe80::1]:1884", ("fe80::1", 1884)),
        ("embedded://127.0.0.1:1884", ("127.0.0.1", 1884)),
        ("embedded://localhost:1884", ("127.0.0.1", 1884)),
        ("embedded://[::1]:1884", ("127.0.0.1", 1884)),
    ],
)
def test_a_broker_has_an_address(tmp_path, broker, address):
    assert with_broker(tmp_path, broker).address == address


@pytest.mark.parametrize("scheme", ["folder", "file"])
def test_a_relative_uri_works_in_a_folder_with_odd_characters(tmp_path, scheme):
    base = tmp_path / "100%41 x?"
    base.mkdir()
    text = GOOD.replace("folder://frames", f"{scheme}://a%20b?loop=1")
    uri = parse_uri(load_station(written(base, text)).camera.uri)
    assert uri.target == str(base / "a b")
    assert uri.options == {"loop": "1"}


def with_camera(tmp_path, uri):
    return load_station(written(tmp_path, GOOD.replace("folder://frames", f"'{uri}'"))).camera.uri


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp://admin:hunter2@10.0.0.5/stream",
        "rtsp://admin:hun@ter2@10.0.0.5/stream",
        "rtsp://${env:USER}:hunter2@10.0.0.5/stream",
        "rtsp://admin:hunter2${env:PIN}@10.0.0.5/stream",
        "gst://rtspsrc location=rtsp://admin:hunter2@10.0.0.5/stream ! decodebin",
        "gst://rtspsrc%20location=rtsp:%2F%2Fadmin%3Ahunter2%4010.0.0.5",
    ],
)
def test_a_camera_password_in_the_file_is_refused_and_not_repeated(tmp_path, uri):
    with pytest.raises(StationFileError, match=r"Write \$\{env:NAME\} or \$\{cred:NAME\}") as caught:
        with_camera(tmp_path, uri)
    assert "ter2" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp://admin:${cred:camera}@10.0.0.5/stream",
        "rtsp://${env:USER}:${env:PIN}@10.0.0.5:554/stream",
        "rtsp://10.0.0.5:554/a@b",
        "folder:///frames/a:b@c",
        "v4l2:///dev/v4l/by-path/pci-0000:00:14.0-usb",
    ],
)
def test_a_camera_uri_without_a_password_in_it_stays_as_it_is(tmp_path, uri):
    assert with_camera(tmp_path, uri) == uri


def test_references_inside_a_uri_are_resolved_and_percent_encoded(tmp_path, monkeypatch):
    monkeypatch.setenv("CAMERA_USER", "line 1")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "camera").write_text("p@ss/w:${env:CAMERA_USER}\n")
    resolved = resolve_references("rtsp://${env:CAMERA_USER}:${cred:camera}@10.0.0.5/stream")
    assert resolved == "rtsp://line%201:p%40ss%2Fw%3A%24%7Benv%3ACAMERA_USER%7D@10.0.0.5/stream"
    assert resolve_references("synthetic://plate?seed=1") == "synthetic://plate?seed=1"
    with pytest.raises(StationFileError, match="the environment variable GONE is not set"):
        resolve_references("rtsp://a:${env:GONE}@10.0.0.5/stream")


@pytest.mark.parametrize("name", ["demo.yaml", "station.yaml"])
def test_the_shipped_station_files_are_correct(name):
    assert load_station(Path(__file__).parents[2] / "configs" / name).schema_ == 1


def test_the_schema_for_editors_is_the_one_of_this_version(capsys):
    assert main(["check", "--schema"]) == 0
    shipped = Path(__file__).parents[2] / "configs" / "station.schema.json"
    assert shipped.read_text() == capsys.readouterr().out, "edge-agent check --schema > configs/station.schema.json"
