from pathlib import Path

import pytest

from edge_agent.station import load_station, resolve_secret
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
        ("", "trigger.capture_within_ms: missing"),
        ("  capture_within_ms: 0\n", "capture_within_ms: 0 is not allowed"),
        ("  capture_within_ms: 600001\n", "capture_within_ms: 600001 is not allowed"),
    ],
)
def test_only_the_line_knows_when_a_frame_is_too_late(tmp_path, line, said):
    with pytest.raises(StationFileError, match=said):
        load_station(written(tmp_path, GOOD.replace("  capture_within_ms: 100\n", line)))


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
    with pytest.raises(StationFileError, match="the credential gone of the service is not set"):
        resolve_secret("${cred:gone}")


@pytest.mark.parametrize("name", ["demo.yaml", "station.yaml"])
def test_the_shipped_station_files_are_correct(name):
    assert load_station(Path(__file__).parents[2] / "configs" / name).schema_ == 1
