"""The unit: systemd finds nothing to complain about, and the agent gets ready on what it may see and write."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from ports import free_port
from staged_station import STATION, SYSTEMD, Stage, systemd_version

BASE = "edge-agent@.service"
UNIT = f"edge-agent@{STATION}.service"
READY_WITHIN_S = 30
# Older ones look only at the machine itself, and judge only what is installed there.
needs_systemd = pytest.mark.skipif(
    systemd_version() < 250, reason="needs systemd-analyze of systemd 250 or newer: apt-get install systemd"
)


@pytest.fixture(scope="module")
def system(tmp_path_factory, fitted_recipe):
    """A stage with every drop-in of a station, and the units and programs of this machine that the unit names."""
    stage = Stage(tmp_path_factory.mktemp("system"), fitted_recipe)
    secret = stage.path(f"/etc/edge-agent/credentials/{STATION}/mqtt-password")
    secret.parent.mkdir(parents=True)
    secret.write_text("hunter2")
    camera = "gst://nvarguscamerasrc ! nvvidconv ! appsink drop=1 max-buffers=1"
    stage.write(camera={"uri": camera}, mqtt={"username": "me", "password": "${cred:mqtt-password}"})
    done = stage.install()
    assert done.returncode == 0, done.stderr
    shutil.copytree("/lib/systemd/system", stage.path("/usr/lib/systemd/system"), symlinks=True)
    stage.path("/bin").mkdir()
    shutil.copy(shutil.which("kill"), stage.path("/bin/kill"))
    return stage


def analyze(*words):
    return subprocess.run(["systemd-analyze", *words], check=False, capture_output=True, text=True)


@needs_systemd
def test_systemd_understands_every_line(system):
    done = analyze("verify", f"--root={system.root}", UNIT)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("name", [BASE, "csi-camera.conf"])
def test_a_line_that_systemd_does_not_know_would_be_seen(system, tmp_path, name):
    root = tmp_path / "root"
    shutil.copytree(system.root, root, symlinks=True)
    (found,) = (root / "etc/systemd/system").rglob(name)
    found.write_text(found.read_text().replace("[Service]\n", "[Service]\nWatchdogSecs=10\n"))
    assert "WatchdogSecs" in analyze("verify", f"--root={root}", UNIT).stderr


@needs_systemd
def test_little_of_the_machine_is_exposed(system):
    """Of a station without a CSI camera, which needs the common /tmp."""
    other = "edge-agent@press5.service"
    done = analyze("security", f"--root={system.root}", "--offline=yes", "--threshold=20", "--no-pager", other)
    assert done.returncode == 0, done.stdout[-200:]
    assert "Overall exposure level" in done.stdout


def test_a_camera_that_is_plugged_in_after_the_start_may_be_opened():
    """Names count only where the driver is loaded at the start; of what has a fixed number, the number always counts."""
    allowed = values_of(SYSTEMD / BASE, "DeviceAllow")
    assert {"char-81 rw", "char-189 rw"} <= {*allowed}
    assert not {"char-video4linux rw", "char-usb_device rw"} & {*allowed}


@needs_systemd
def test_the_journal_is_kept_on_disk_whatever_the_image_says(system, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(system.path("/etc/systemd"), root / "etc/systemd")
    (root / "etc/systemd/journald.conf").write_text("[Journal]\nStorage=volatile\n")
    done = analyze("cat-config", f"--root={root}", "systemd/journald.conf")
    assert re.findall("^Storage=(.*)", done.stdout, re.MULTILINE) == ["volatile", "persistent"]


@pytest.mark.parametrize(
    ("needed", "newer"), [(253, {"Type=notify-reload"}), (254, {"RestartSteps=4", "RestartMaxDelaySec=10"})]
)
def test_settings_of_newer_systemds_are_kept_apart(needed, newer):
    assert newer <= {*lines_of(SYSTEMD / f"edge-agent@.service.d/systemd-{needed}.conf")}
    assert not newer & {*lines_of(SYSTEMD / BASE)}


def lines_of(unit):
    return [line for line in unit.read_text().splitlines() if line and not line.startswith("#")]


def values_of(unit, key):
    return [line.split("=", 1)[1] for line in lines_of(unit) if line.startswith(f"{key}=")]


@pytest.fixture
def manager(tmp_path):
    """A service manager's socket, as sd_notify(3) describes it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.bind(str(tmp_path / "notify"))
        wire.settimeout(READY_WITHIN_S)
        yield wire


def wait_for(manager, note):
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until:
        if manager.recv(4096).decode() == note:
            return
    raise AssertionError(f"{note} did not come")


def environment(stage, notify):
    """What the unit gives the agent, on the stage."""
    lines = values_of(stage.path(f"/etc/systemd/system/{BASE}"), "Environment")
    given = dict(word.split("=", 1) for word in shlex.split(" ".join(lines)))
    cache = f"{stage.root}/var/cache/edge-agent/{STATION}"
    return {
        "PATH": os.defpath,
        "OMP_NUM_THREADS": "1",
        "HOME": f"{stage.root}/var/lib/edge-agent",
        "NOTIFY_SOCKET": notify,
        "WATCHDOG_USEC": "10000000",
        "STATE_DIRECTORY": f"{stage.root}/var/lib/edge-agent/{STATION}",
        "CACHE_DIRECTORY": cache,
        "CREDENTIALS_DIRECTORY": f"{stage.root}/etc/edge-agent/credentials/{STATION}",
        **{name: value.replace("%C/edge-agent/%i", cache) for name, value in given.items()},
    }


@pytest.fixture
def service(stage, manager, as_ordinary_user):
    """The unit's ExecStart on a stage where nothing can be written but state and cache."""
    secret = stage.path(f"/etc/edge-agent/credentials/{STATION}/mqtt-password")
    secret.parent.mkdir(parents=True)
    secret.write_text("hunter2")
    stage.write(
        mqtt={"broker": f"mqtt://127.0.0.1:{free_port()}", "username": "me", "password": "${cred:mqtt-password}"}
    )
    assert stage.install().returncode == 0
    (start,) = values_of(stage.path(f"/etc/systemd/system/{BASE}"), "ExecStart")
    words = shlex.split(start.replace("%i", STATION))
    command = [str(stage.path(word)) if word.startswith("/") else word for word in words]
    config = Path(command[-1])
    # The same disk under another name.
    config.write_text(config.read_text().replace("/var/lib/", f"{stage.root}/var/lib/"))
    own = [stage.path(f"/var/{kind}/edge-agent/{STATION}") for kind in ("lib", "cache")]
    rest = [path for path in (stage.root, *stage.root.rglob("*")) if path not in own and not path.is_symlink()]
    for path in rest:
        path.chmod(path.stat().st_mode & ~0o222)
    log = stage.bench / "journal"
    with log.open("wb") as journal:
        where = os.fstat(journal.fileno())
        process = subprocess.Popen(
            [*as_ordinary_user, *command],
            env={
                **environment(stage, manager.getsockname()),
                "JOURNAL_STREAM": f"{where.st_dev}:{where.st_ino}",
            },
            stdout=journal,
            stderr=journal,
            stdin=subprocess.DEVNULL,
            cwd="/",
        )
    process.journal = log.read_text
    yield process
    process.kill()
    process.wait()
    for path in rest:
        path.chmod(path.stat().st_mode | 0o700)


def test_the_agent_gets_ready_where_only_state_and_cache_can_be_written(service, manager, stage):
    wait_for(manager, "READY=1")
    until = time.monotonic() + READY_WITHIN_S
    while "<6>level=INFO thread=MainThread state=ready reasons=-\n" not in service.journal():
        assert time.monotonic() < until, service.journal()
        wait_for(manager, "WATCHDOG=1")
    service.send_signal(signal.SIGTERM)
    wait_for(manager, "STOPPING=1")
    assert service.wait(READY_WITHIN_S) == 0, service.journal()
    assert stage.path(f"/var/lib/edge-agent/{STATION}/outbox.db").exists()
    # There is no broker: journalctl -p warning shows that.
    assert "\n<4>level=WARNING thread=mqtt mqtt not connected" in service.journal()


def test_an_agent_that_hangs_says_where(service, manager):
    """The watchdog ends it with SIGABRT."""
    wait_for(manager, "WATCHDOG=1")
    service.send_signal(signal.SIGABRT)
    assert service.wait(READY_WITHIN_S) == -signal.SIGABRT
    assert "agent.py" in service.journal()
    assert "Fatal Python error: Aborted" in service.journal()
