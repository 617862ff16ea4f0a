"""A line that a test may break."""

from contextlib import ExitStack

import pytest
from mosquitto import find_mosquitto

from chaos.line import Line

CAMERA = "synthetic://plate?size=96x80&seed=1"


@pytest.fixture
def make_line(tmp_path, fitted_recipe):
    """Make lines that end with the test; the camera may be given as further options of the synthetic one."""
    if find_mosquitto() is None:
        pytest.skip("needs Mosquitto: apt-get install mosquitto")
    with ExitStack() as stack:

        def make(options="", *, folder=tmp_path, recipe=fitted_recipe, **changes):
            line = Line(folder, recipe, f"{CAMERA}{options}", **changes)
            stack.callback(line.close)
            return line

        yield make


@pytest.fixture
def line(make_line):
    """A line that is ready."""
    return make_line().start()
