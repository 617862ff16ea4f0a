"""Stations laid out in a folder by the real installer."""

import os

import pytest
from staged_station import Stage, systemd_version


def pytest_report_header():
    return f"systemd: {systemd_version() or 'missing, the unit is not verified (apt-get install systemd)'}"


@pytest.fixture
def stage(tmp_path, fitted_recipe):
    return Stage(tmp_path, fitted_recipe)


@pytest.fixture(scope="session")
def installed(tmp_path_factory, fitted_recipe):
    """A stage with a station; read only."""
    stage = Stage(tmp_path_factory.mktemp("installed"), fitted_recipe)
    done = stage.install()
    assert done.returncode == 0, done.stderr
    return stage


@pytest.fixture
def as_ordinary_user():
    """Words before a command that take root's powers from it: file modes count then for root, too."""
    drop = ["setpriv", "--no-new-privs"]
    return [*drop, "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else drop
