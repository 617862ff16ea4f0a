import pytest

from calibrate import sensitivity


@pytest.fixture(autouse=True)
def small_cards(monkeypatch):
    """One defect of each kind, size and contrast: most tests of `fit` are not about the card."""
    monkeypatch.setattr(sensitivity, "SAMPLES", 1)
