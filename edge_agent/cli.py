"""`edge-agent`: the line's command."""

from __future__ import annotations

from collections.abc import Sequence

from engines.command_line import run_command

COMMANDS = {
    "run": "edge_agent.commands.run",
    "check": "edge_agent.commands.check",
    "replay": "edge_agent.commands.replay",
    "record": "edge_agent.commands.record",
    "watch": "edge_agent.commands.watch",
    "outbox": "edge_agent.commands.outbox",
    "doctor": "edge_agent.commands.doctor",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `edge-agent`; returns a sysexits code."""
    return run_command("edge-agent", "Inspect every part and publish the verdict.", COMMANDS, argv)
