"""What the pictures of a page show."""

import numpy as np

from calibrate.pictures import heat
from edge_agent.decision import NOT_INSPECTED


def test_what_is_never_inspected_does_not_look_usual():
    z = np.zeros((4, 6), np.float32)
    z[:, 3:] = NOT_INSPECTED
    picture = heat(z, 2.0)
    assert (picture[:, :3] == picture[0, 0]).all()
    assert picture[0, 0].max() < 20
    assert (picture[:, 3:] == 120).all()
