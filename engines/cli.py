"""`edge-engines`: from good images to an engine."""

from __future__ import annotations

from collections.abc import Sequence

from engines.command_line import run_command

COMMANDS = {
    "train": "engines.commands.train",
    "build": "engines.commands.build",
    "verify": "engines.commands.verify",
    "bench": "engines.commands.bench",
    "inspect": "engines.commands.inspect",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `edge-engines`; returns a sysexits code."""
    return run_command("edge-engines", "From good images of a part to an INT8 engine.", COMMANDS, argv)
