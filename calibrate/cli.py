"""`edge-calibrate`: the technician's command."""

from __future__ import annotations

from collections.abc import Sequence

from engines.command_line import run_command

COMMANDS = {
    "fit": "calibrate.commands.fit",
    "history": "calibrate.commands.history",
    "diff": "calibrate.commands.diff",
    "activate": "calibrate.commands.activate",
    "rollback": "calibrate.commands.rollback",
    "evaluate": "calibrate.commands.evaluate",
    "report": "calibrate.commands.report",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `edge-calibrate`; returns a sysexits code."""
    return run_command("edge-calibrate", "Fit thresholds on good parts, and see what they do.", COMMANDS, argv)
