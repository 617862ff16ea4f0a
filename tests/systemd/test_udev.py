"""The rules for USB cameras, judged by the real udev for devices of a /sys of our own."""

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from staged_station import SYSTEMD, systemd_version

SLEEPLESS, OPEN_TO_VIDEO = r"ATTR\b.*autosuspend_delay_ms.*-1", r"GROUP\b"
# A mount namespace, in which nothing of this machine's own is seen or changed.
OWN_MACHINE = """
set -e
mount -t tmpfs none /run
mount --bind "$1/sys" /sys
mount --bind "$1/rules" /etc/udev/rules.d
mount -t tmpfs none /dev
exec udevadm test /sys/devices/pci0/usb1/1-1
"""
UNSHARE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]


def can_try_rules():
    if None in map(shutil.which, ("udevadm", "unshare")) or not Path("/etc/udev/rules.d").is_dir():
        return False
    return subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode == 0


needs_udev = pytest.mark.skipif(
    not can_try_rules(), reason="needs udev, and mount namespaces for this user: apt-get install udev, or root"
)


def plug_in(folder, *interfaces):
    """A USB device as the kernel shows it, with an interface for each (class, subclass, protocol)."""
    there = folder / "sys/devices/pci0/usb1/1-1"
    (there / "power").mkdir(parents=True)
    bus = folder / "sys/bus/usb/devices"
    bus.mkdir(parents=True)
    (folder / "sys/class").mkdir()
    (bus / "1-1").symlink_to("../../../devices/pci0/usb1/1-1")
    (there / "subsystem").symlink_to("../../../../bus/usb")
    (there / "uevent").write_text("MAJOR=189\nMINOR=1\nDEVNAME=bus/usb/001/002\nDEVTYPE=usb_device\n")
    for name, value in (("idVendor", "2e1a"), ("idProduct", "1000"), ("bcdDevice", "0100"), ("dev", "189:1")):
        (there / name).write_text(f"{value}\n")
    (there / "power/autosuspend_delay_ms").write_text("0\n")
    parts = [
        struct.pack("<BBBBBBBBB", 9, 4, number, 0, 1, *kind, 0) + struct.pack("<BBBBHB", 7, 5, 0x81, 2, 512, 0)
        for number, kind in enumerate(interfaces)
    ]
    size = 9 + sum(map(len, parts))
    device = struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x200, 0xEF, 2, 1, 64, 0x2E1A, 0x1000, 0x100, 0, 0, 0, 1)
    head = struct.pack("<BBHBBBBB", 9, 2, size, len(parts), 1, 0, 0x80, 250)
    (there / "descriptors").write_bytes(device + head + b"".join(parts))


def what_udev_does(folder):
    done = subprocess.run(
        [*UNSHARE, "bash", "-c", OWN_MACHINE, "-", folder],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_DEVICE_VERIFY_SYSFS": "0", "SYSTEMD_LOG_LEVEL": "debug"},
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "ID_USB_INTERFACES=:" in said, said
    return re.findall(r"60-edge-agent\.rules:\d+,? (.*)", said)


@needs_udev
@pytest.mark.parametrize(
    ("interfaces", "wanted"),
    [
        pytest.param([(0x0E, 1, 0), (0x0E, 2, 0)], [SLEEPLESS], id="uvc"),
        pytest.param([(0x01, 1, 0), (0x0E, 1, 1), (0x0E, 2, 1)], [SLEEPLESS], id="uvc with a microphone"),
        pytest.param([(0xEF, 5, 0), (0xEF, 5, 1), (0xEF, 5, 2)], [SLEEPLESS, OPEN_TO_VIDEO], id="usb3 vision"),
        pytest.param([(0x08, 6, 0x50)], [], id="disk"),
        pytest.param([(0xEF, 4, 1), (0x03, 0x0E, 5)], [], id="numbers in other places"),
    ],
)
def test_usb_cameras_stay_awake_and_usb3_vision_is_open_to_the_service_and_nothing_else(tmp_path, interfaces, wanted):
    plug_in(tmp_path, *interfaces)
    (tmp_path / "rules").mkdir()
    shutil.copy(SYSTEMD / "udev.rules", tmp_path / "rules" / "60-edge-agent.rules")
    done = what_udev_does(tmp_path)
    assert len(done) == len(wanted), done
    assert all(re.match(pattern, line) for pattern, line in zip(wanted, done, strict=True)), done


@pytest.mark.skipif(systemd_version() < 254, reason="needs udevadm verify of systemd 254 or newer")
def test_udev_understands_every_line():
    done = subprocess.run(["udevadm", "verify", SYSTEMD / "udev.rules"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
