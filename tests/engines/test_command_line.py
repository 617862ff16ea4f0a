"""What a command's exit code means, whatever happens inside."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from engines.command_line import run_command
from engines.errors import DatasetError


@pytest.fixture
def exit_code_of(monkeypatch):
    def exit_code_of(problem):
        def run(arguments):
            raise problem

        module = ModuleType("failing_command")
        module.HELP, module.add_arguments, module.run = "fails", lambda parser: None, run
        monkeypatch.setitem(sys.modules, "failing_command", module)
        return run_command("edge-test", "about", {"fail": "failing_command"}, ["fail"])

    return exit_code_of


def test_a_mistake_in_the_program_shows_its_traceback_and_exits_70(exit_code_of, capsys):
    assert exit_code_of(ZeroDivisionError("one over none")) == 70
    error = capsys.readouterr().err
    assert "Traceback (most recent call last)" in error
    assert "ZeroDivisionError: one over none" in error
    assert error.endswith("edge-test fail: a mistake in the program. Report it with this traceback.\n")


def test_an_error_of_ours_is_a_message_without_a_traceback(exit_code_of, capsys):
    assert exit_code_of(DatasetError("it is empty.", fix="Fill it.")) == 65
    assert capsys.readouterr().err == "edge-test fail: it is empty. Fill it.\n"


def test_a_fault_of_the_disk_exits_74(exit_code_of, capsys):
    assert exit_code_of(OSError("no space")) == 74
    assert "Check the disk" in capsys.readouterr().err


IMPORTS = """
import sys
from engines.command_line import run_command
sys.exit(run_command("edge-test", "about", {"go": "interrupted_import"}, ["go"]))
"""


@pytest.mark.parametrize("hidden_by", ["", "ImportError", "RuntimeError"])
@pytest.mark.parametrize("within", ["module", "run"])
def test_ctrl_c_while_libraries_are_imported_shows_no_traceback(tmp_path, hidden_by, within):
    # A shell lets what it starts in the background ignore Ctrl-C.
    (tmp_path / "library.py").write_text(
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n    signal.raise_signal(signal.SIGINT)\n"
        f"except KeyboardInterrupt as stop:\n    raise{f' {hidden_by} from stop' if hidden_by else ''}\n"
    )
    at_once, later = ("import library", "pass") if within == "module" else ("", "import library")
    (tmp_path / "interrupted_import.py").write_text(
        f"{at_once}\nHELP = ''\ndef add_arguments(parser): pass\ndef run(arguments):\n    {later}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS],
        check=False,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
        capture_output=True,
        text=True,
    )
    if hidden_by == "RuntimeError":
        assert "Traceback" in done.stderr
    else:
        assert (done.returncode, done.stderr) == (130, "edge-test go: interrupted\n")


def test_onnxruntime_neither_calls_home_nor_marks_this_user(tiny_recipe, tmp_path):
    """Its telemetry keeps a device id and a queue in the home directory."""
    command = Path(sys.executable).with_name("edge-engines")
    done = subprocess.run(
        [command, "bench", tiny_recipe, "--runs", "1"],
        check=False,
        env={**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not [*tmp_path.rglob("*")]
