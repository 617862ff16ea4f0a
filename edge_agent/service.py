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
    with ExitStack() as resources:
        agent = Agent(station, resources)
        # A full collection would stop a part for milliseconds to look at objects that live as long as the agent.
        gc.collect()
        gc.freeze()

        def stop(_signal: int, _frame: FrameType | None) -> None:
            agent.stop()

        def reload(_signal: int, _frame: FrameType | None) -> None:
            agent.reload()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        signal.signal(signal.SIGHUP, reload)
        agent.run()
