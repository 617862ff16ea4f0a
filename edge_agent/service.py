"""The agent as a process: signals, and what makes Python's own housekeeping small."""

from __future__ import annotations

import gc
import signal
import sys
from contextlib import ExitStack
from types import FrameType

from edge_agent.agent import Agent
from edge_agent.station import Station

_SWITCH_INTERVAL_S = 0.0001


def run_station(station: Station) -> None:
    """Run a station until SIGTERM or SIGINT.

    Raises:
        ConfigError: A person must change something first.
        DeviceError: The engine or the outbox cannot be opened.
    """
    # A thread that waits for the interpreter gets it after so long at the latest; 5 ms is Python's own choice.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    signals = _Signals()
    with ExitStack() as resources:
        agent = Agent(station, resources)
        # A full collection would stop a part for milliseconds to look at objects that live as long as the agent.
        gc.collect()
        gc.freeze()
        signals.hand_over(agent)
        try:
            agent.run()
        finally:
            signals.agent = None


class _Signals:
    """SIGTERM, SIGINT and SIGHUP; from the start on, since compiling an engine can take minutes."""

    def __init__(self) -> None:
        self.agent: Agent | None = None
        signal.signal(signal.SIGHUP, self._reload)

    def hand_over(self, agent: Agent) -> None:
        """Let the agent end after the part in hand from now on; before, a signal ends the process."""
        self.agent = agent
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        if self.agent is not None:
            self.agent.stop()

    def _reload(self, _signal: int, _frame: FrameType | None) -> None:
        # Before the agent is there, it reads what is in force anyway.
        if self.agent is not None:
            self.agent.reload()
