"""`edge-agent outbox`: what waits, what can be rescued of a damaged file, and what a person gives up."""

import json
import os
import pwd
from contextlib import ExitStack

import pytest

from edge_agent.cli import main
from edge_agent.inspection import Trigger
from edge_agent.outbox import Outbox
from edge_agent.state_dir import lock_state_dir
from engines.errors import OutboxError

STATION = """
schema: 1
site: test
station: cell
recipe: recipe
state_dir: state
camera: {uri: "synthetic://plate", mode: triggered}
trigger: {deadline_ms: 100, capture_within_ms: 100, dedupe_window_s: 60}
mqtt: {broker: "mqtt://127.0.0.1:1883", consumer: plc}
"""


@pytest.fixture
def config(tmp_path):
    (tmp_path / "station.yaml").write_text(STATION)
    (tmp_path / "state").mkdir()
    return tmp_path / "station.yaml"


def filled(path, count, *, first=0):
    outbox = Outbox(path, dedupe_window_s=60)
    for number in range(first, first + count):
        content = dict.fromkeys(("meas_id", "part_id", "reasons", "decided_at"))
        content |= {"seq": number, "result_id": f"r{number}", "verdict": "FAIL", "filling": "x" * 3000}
        outbox.store(seq=outbox.next_seq(), result_id=f"r{number}", boot_id="b", payload=json.dumps(content).encode())
    outbox.close()


def run(config, *more):
    return main(["outbox", "--config", str(config), *more])


def waiting(config, tmp_path):
    assert run(config, "--json", str(tmp_path / "out.json")) == 0
    return [one["result_id"] for one in json.loads((tmp_path / "out.json").read_text())["verdicts"]]


def test_it_shows_what_waits_also_while_the_agent_runs(config, tmp_path, capsys, exit_stack):
    lock_state_dir(tmp_path / "state", exit_stack)
    filled(tmp_path / "state" / "outbox.db", 30)
    assert len(waiting(config, tmp_path)) == 30
    said = capsys.readouterr().out
    assert "30 verdicts wait to be acknowledged, 0 parts have none yet." in said
    assert "... and 10 more" in said
    assert "The file is whole." in said


def test_a_damaged_verdict_is_shown_as_such(config, tmp_path, capsys):
    filled(tmp_path / "state" / "outbox.db", 1)
    outbox = Outbox(tmp_path / "state" / "outbox.db", dedupe_window_s=60)
    outbox.store(seq=outbox.next_seq(), result_id="half", boot_id="b", payload=b"\xff{")
    outbox.close()
    assert waiting(config, tmp_path) == ["r0", "half"]
    assert "damaged" in capsys.readouterr().out


@pytest.mark.parametrize("what", [["--give-up"], ["--rescue", "damaged.db"]])
def test_what_another_user_would_leave_there_is_refused(config, tmp_path, capsys, monkeypatch, what):
    """As root, who may write everywhere: the agent could not open its outbox any more."""
    with ExitStack() as agent_that_has_stopped:
        lock_state_dir(tmp_path / "state", agent_that_has_stopped)
    filled(tmp_path / "state" / "outbox.db", 1)
    agent = pwd.getpwuid(os.geteuid()).pw_name
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 54321)
    assert run(config, *what) == 64
    assert f"sudo -u '{agent}'" in capsys.readouterr().err
    assert waiting(config, tmp_path) == ["r0"]


def test_without_an_outbox_it_says_so(config, capsys):
    assert run(config) == 66
    assert "holds no outbox" in capsys.readouterr().err


@pytest.mark.parametrize("what", [["--give-up"], ["--rescue", "x"]])
def test_nothing_is_changed_beside_a_running_agent(config, tmp_path, capsys, exit_stack, what):
    filled(tmp_path / "state" / "outbox.db", 2)
    lock_state_dir(tmp_path / "state", exit_stack)
    assert run(config, *what) == 69
    assert "another process runs" in capsys.readouterr().err
    assert waiting(config, tmp_path) == ["r0", "r1"]


def test_what_is_given_up_is_named_in_the_audit_log(config, tmp_path):
    filled(tmp_path / "state" / "outbox.db", 2)
    assert run(config, "--give-up") == 0
    assert waiting(config, tmp_path) == []
    (line,) = (tmp_path / "state" / "audit.jsonl").read_text().splitlines()
    assert json.loads(line)["event"] == "outbox_given_up"
    assert json.loads(line)["result_ids"] == ["r0", "r1"]


def test_a_damaged_outbox_is_rescued_as_far_as_it_can_be_read(config, tmp_path, capsys):
    path = tmp_path / "state" / "outbox.db"
    filled(path, 200)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 3 * 4096] = b"\xa5" * (3 * 4096)
    path.write_bytes(content)
    with pytest.raises(OutboxError, match="damaged file was kept as"):
        Outbox(path, dedupe_window_s=60)
    (damaged,) = [p for p in path.parent.glob("outbox.db.damaged-*") if not p.name.endswith(("-wal", "-shm"))]
    filled(path, 5, first=1000)
    assert run(config, "--rescue", str(damaged)) == 0
    rescued = waiting(config, tmp_path)
    assert {f"r{n}" for n in range(1000, 1005)} <= set(rescued), "what came since is still there"
    assert {"r0", "r199"} <= set(rescued)
    assert 150 < len(rescued) <= 205
    assert len(set(rescued)) == len(rescued)
    assert run(config, "--rescue", str(damaged)) == 0
    assert waiting(config, tmp_path) == rescued, "a second time changes nothing"
    outbox = Outbox(path, dedupe_window_s=60)
    assert outbox.accept(Trigger("1", None, None, None, None, 1)).trigger_id
    outbox.close()


def test_a_file_that_is_not_there_is_said(config, tmp_path, capsys):
    filled(tmp_path / "state" / "outbox.db", 1)
    assert run(config, "--rescue", str(tmp_path / "nothing")) == 66
    assert "outbox.db.damaged-" in capsys.readouterr().err
