"""A disk that is full, that may not be written, or that loses power."""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from running_station import COMMAND

from chaos.journal import steps_of
from chaos.outbox_calls import strace_of
from chaos.synced_disk import AGENT_UNDER_STRACE, find_strace, is_complete, restore_synced

_DISK_MB = 2
_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


@contextmanager
def small_disk(folder):
    """A file system of its own, small enough to be filled."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "tmpfs", folder], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip(f"needs a file system that may be filled: run as root ({done.stderr.decode().strip()})")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def can_run_as_nobody():
    if shutil.which("setpriv") is None:
        return False
    return subprocess.run([*_NOBODY, COMMAND, "--help"], check=False, capture_output=True).returncode == 0


def fill(path):
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return


def test_a_full_disk_is_said_in_every_verdict_and_forgotten_once_there_is_room(make_line, tmp_path):
    with small_disk(tmp_path / "state"):
        line = make_line().start()
        try:
            line.plc.ask()
            fill(tmp_path / "state" / "filler")
            full = [line.plc.ask() for _ in range(5)]
            line.converges("error", "outbox", after="disk full")
            (tmp_path / "state" / "filler").unlink()
            line.converges("ready", after="disk has room")
            assert line.next_verdict()["score"] is not None
            line.check()
            assert {result.action for result in full} == {"reject"}
            assert {reason for result in full if result.verdict for reason in result.verdict["reasons"]} <= {"outbox"}
            assert any(result.verdict for result in full)
        finally:
            line.close()


@pytest.mark.parametrize(("call", "error"), [("pwrite64", "ENOSPC"), ("fdatasync", "EIO")])
@pytest.mark.parametrize("first", [4, 8])
def test_a_disk_that_fails_for_a_while(make_line, call, error, first):
    if find_strace() is None:
        pytest.skip("needs strace that may trace: apt-get install strace")
    line = make_line().start()
    assert line.station.stop() == 0
    line.station.prefix = strace_of(line, call, f"error={error}:when={first}..{first + 4}")
    line.restart_daemon()
    results = [line.plc.ask() for _ in range(15)]
    line.wait_for_state("ready")
    line.check()
    assert any(result.verdict and result.verdict["reasons"] == ["outbox"] for result in results)
    assert line.next_verdict()["score"] is not None


def test_a_state_directory_that_may_not_be_written_is_said_at_start(make_line, fitted_recipe):
    # pytest's folders are for their owner alone.
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        recipe = folder / "recipe"
        shutil.copytree(fitted_recipe, recipe)
        (folder / "state").mkdir(mode=0o555)
        line = make_line(folder=folder, recipe=recipe)
        if os.getuid() == 0:
            if not can_run_as_nobody():
                pytest.skip("root may write anywhere: needs setpriv and a program that the user nobody can reach")
            line.station.prefix = _NOBODY
        line.station.start()
        code = line.station.process.wait(30)
        log = line.station.log.read_text()
        assert code == 74, log
        assert str(folder / "state") in log
        assert "Traceback" not in log
    finally:
        shutil.rmtree(folder)


def test_a_power_cut_leaves_only_what_was_synced(make_line, tmp_path):
    if find_strace() is None:
        pytest.skip("needs strace that may trace: apt-get install strace")
    line = make_line(timeout_ms=3000)
    line.station.prefix = [find_strace(), *AGENT_UNDER_STRACE, "-o", str(tmp_path / "strace.log")]
    line.start()
    for _ in range(5):
        line.plc.ask()
    line.plc.acknowledges = False
    unacknowledged = [line.plc.send() for _ in range(3)]
    line.until(lambda: all(line.plc.verdicts_of(trigger) for trigger in unacknowledged), "verdicts")
    os.kill(line.camera_pid(), signal.SIGSTOP)
    open_part = line.plc.send()
    line.until(lambda: open_part.meas_id in line.proxy.accepted, "the PUBACK")
    # The marks of what was sent are not synced: something must be there to be lost.
    sent = len(line.plc.verdicts_of(unacknowledged[0]))
    line.until(lambda: len(line.plc.verdicts_of(unacknowledged[0])) > sent, "the verdict once more")
    pid = line.pid
    line.kill_daemon()
    line.until(lambda: is_complete(tmp_path / "strace.log", pid), "the end of the log")
    before = steps_of(line.outbox)
    lost = restore_synced(tmp_path / "strace.log", line.outbox.parent)
    assert lost, "nothing was left unsynced: the test proves nothing"
    assert before[open_part.meas_id] == "journalled"
    line.station.prefix = []
    line.plc.acknowledges = True
    line.restart_daemon()
    assert line.next_verdict()
    line.check()
    assert [v["reasons"] for v in line.plc.verdicts_of(open_part)] == [["restart"]]
