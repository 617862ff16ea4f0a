"""The documentation is true: its commands run, and every command, key and reason that exists is described."""

import argparse
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from calibrate.cli import COMMANDS as CALIBRATE
from edge_agent.cli import COMMANDS as AGENT
from edge_agent.drift import FIGURES
from edge_agent.inspection import REASONS
from edge_agent.messages import State, parse_ack, parse_trigger
from edge_agent.station import Station
from engines import errors
from engines.cli import COMMANDS as ENGINES
from engines.objectives import objective_names

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```sh(?P<why> not-run: [^\n]+)?\n(?P<commands>.*?)^```$", re.MULTILINE | re.DOTALL)
# The same commands with less to do.
SHORTER = (("--minutes 15", "--steps 40 --size 64"), ("--frames 120", "--frames 60"))


def documents():
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def text_of(*names):
    return "\n".join((ROOT / name).read_text() for name in names)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="training needs Python 3.11: run with a newer one")
def test_the_commands_of_the_readme_run_in_order(tmp_path):
    blocks = [match["commands"] for match in BLOCK.finditer(text_of("README.md")) if not match["why"]]
    assert len(blocks) >= 7
    script = "set -euo pipefail\n" + "\n".join(blocks)
    for long, short in SHORTER:
        assert long in script
        script = script.replace(long, short)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "10 parts" in done.stdout
    assert "No verdict and no mask changed." in done.stdout


MODULES = {
    f"{program} {name}": module
    for program, modules in (("edge-engines", ENGINES), ("edge-calibrate", CALIBRATE), ("edge-agent", AGENT))
    for name, module in modules.items()
}


@pytest.mark.parametrize("command", MODULES)
def test_every_command_is_documented(command):
    assert f"`{command} " in text_of("docs/commands.md") or f"`{command}`" in text_of("docs/commands.md")


def arguments_of(command):
    parser = argparse.ArgumentParser(add_help=False)
    importlib.import_module(MODULES[command]).add_arguments(parser)
    return parser._actions


@pytest.mark.parametrize("command", MODULES)
def test_help_says_what_every_argument_is_and_its_default(command):
    for argument in arguments_of(command):
        assert argument.help, argument.dest
        assert argument.metavar or argument.choices or argument.nargs == 0, argument.dest
        assert argument.default in (None, False, "", []) or "(default: %(default)s)" in argument.help, argument.dest
        assert not re.search(r"(?:where|if) not given", argument.help), argument.dest


def section_of(command):
    return text_of("docs/commands.md").split(f"## `{command}`\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(
    "command", ["edge-engines train", "edge-engines inspect", "edge-calibrate fit", "edge-calibrate evaluate"]
)
def test_every_option_is_documented_in_the_section_of_its_command(command):
    section = section_of(command)
    options = {option for argument in arguments_of(command) for option in argument.option_strings}
    assert options
    assert not {option for option in options if not re.search(rf"`{option}\b", section)}


@pytest.mark.parametrize("name", objective_names())
def test_every_objective_is_documented(name):
    assert f"| `{name}`" in text_of("docs/objectives.md")


def keys_of(model: type[BaseModel], prefix=""):
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        part = field.annotation
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield from keys_of(part, f"{key}.")
        else:
            yield key


@pytest.mark.parametrize("key", list(keys_of(Station)))
def test_every_station_key_is_documented(key):
    assert f"`{key}`" in text_of("docs/station-file.md")


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_documented_with_its_meaning(reason):
    assert f"| `{reason}` | {REASONS[reason]} |" in text_of("docs/plc.md")


def test_the_plc_s_example_messages_are_understood():
    lines = dict(re.findall(r"^    (trigger|ack) +(\{.*\})$", text_of("docs/plc.md"), re.MULTILINE))
    trigger, ack = parse_trigger(lines["trigger"].encode(), 0), parse_ack(lines["ack"].encode())
    assert (trigger.meas_id, trigger.recipe, trigger.expires_ms) == (41, "plate", 300)
    assert ack.consumer == "plc-press4"


def states_and_reasons():
    """Every state, and every reason for one that the agent's code gives."""
    code = "\n".join(path.read_text() for path in (ROOT / "edge_agent").glob("*.py"))
    reasons = re.findall(r'(?:set_(?:fault|weakness)\(|waiting_for(?:: str \| None)? = |"error", \()"(\w+)"', code)
    reasons += [f"drift_{figure}" for figure in FIGURES] + [f"max_consecutive_{kind}" for kind in ("fail", "invalid")]
    return sorted({*reasons, *get_args(State), "ack_broker"})


@pytest.mark.parametrize("name", [*states_and_reasons(), *REASONS])
def test_a_technician_finds_every_state_and_reason(name):
    rows = [line for line in text_of("docs/operations.md").splitlines() if line.startswith("|")]
    assert any(f"`{name}`" in row.split(" | ")[0] for row in rows)


def test_every_exit_code_is_documented():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AgentError)]
    for code in {kind.exit_code for kind in kinds}:
        assert f"| {code} |" in text_of("docs/commands.md")


@pytest.mark.parametrize("document", documents(), ids=lambda p: str(p.relative_to(ROOT)))
def test_links_point_to_files_that_exist(document):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target
