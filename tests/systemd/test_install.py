"""The installer: what it lays out, what it refuses before it changes anything, and what stays when it is undone."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from staged_station import STATION, SYSTEMD, systemd_version

from edge_agent.revisions import activate, save_thresholds
from edge_agent.station import load_station
from edge_agent.thresholds import load_thresholds

ROOT = SYSTEMD.parent
CREDENTIALS = f"/etc/edge-agent/credentials/{STATION}"
OF_THE_SYSTEM = ("etc/systemd", "etc/sysusers.d", "etc/udev")
DROP_INS = f"/etc/systemd/system/edge-agent@{STATION}.service.d"


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_station_file_is_installed_byte_for_byte_and_means_the_same(installed):
    there = installed.path(f"/etc/edge-agent/{STATION}.yaml")
    assert there.read_bytes() == installed.station_file.read_bytes()
    assert mode_of(there) == 0o644
    station = load_station(there)
    assert station.recipe.resolve() == installed.path("/var/lib/edge-agent/recipes/plate")
    assert load_thresholds(station.recipe).name == load_thresholds(installed.bench / "recipes/plate").name


def test_only_settings_that_this_systemd_knows_are_installed(installed):
    names = {path.name for path in installed.path("/etc/systemd/system/edge-agent@.service.d").glob("*")}
    assert names == {f"systemd-{number}.conf" for number in (253, 254) if number <= systemd_version()}
    assert not installed.path(DROP_INS).exists()


def test_what_serves_every_station_is_installed_byte_for_byte(installed):
    for name, there in (
        ("sysusers.conf", "/etc/sysusers.d/edge-agent.conf"),
        ("udev.rules", "/etc/udev/rules.d/60-edge-agent.rules"),
        ("journald.conf", "/etc/systemd/journald.conf.d/edge-agent.conf"),
        ("edge-agent@.service", "/etc/systemd/system/edge-agent@.service"),
    ):
        assert installed.path(there).read_bytes() == (SYSTEMD / name).read_bytes()


def test_the_group_may_add_thresholds_and_change_nothing_else_of_the_recipe(installed):
    assert_only_thresholds_are_the_group_s(installed.path("/var/lib/edge-agent/recipes/plate"))


def assert_only_thresholds_are_the_group_s(recipe):
    writable = {str(path.relative_to(recipe)) for path in recipe.rglob("*") if mode_of(path) & 0o020}
    assert writable == {"thresholds", "thresholds/log.jsonl"}
    assert mode_of(recipe / "thresholds") & stat.S_ISGID
    assert all(mode_of(path) & 0o004 for path in recipe.rglob("*"))


def test_the_group_may_add_thresholds_to_a_recipe_that_a_person_put_there(stage):
    for name in ("cap-blue", "cap-new"):
        shutil.copytree(stage.bench / "recipes/plate", stage.path(f"/var/lib/edge-agent/recipes/{name}"))
    shutil.rmtree(stage.path("/var/lib/edge-agent/recipes/cap-new/thresholds"))
    assert stage.install().returncode == 0
    for name in ("cap-blue", "cap-new"):
        assert_only_thresholds_are_the_group_s(stage.path(f"/var/lib/edge-agent/recipes/{name}"))


def test_state_and_cache_are_the_service_s_own(installed):
    for folder in ("lib", "cache"):
        assert mode_of(installed.path(f"/var/{folder}/edge-agent/{STATION}")) == 0o750


def test_installed_again_nothing_changes_and_thresholds_fitted_there_stay(stage):
    assert stage.install().returncode == 0
    recipe = stage.path("/var/lib/edge-agent/recipes/plate")
    newer = save_thresholds(recipe, load_thresholds(recipe), images_csv="", versions={})
    activate(recipe, newer.name)
    before = stage.files()
    for station_file in (stage.station_file, stage.path(f"/etc/edge-agent/{STATION}.yaml")):
        done = stage.install(station_file)
        assert done.returncode == 0, done.stderr
    assert stage.files() == before
    assert load_thresholds(recipe).name == newer.name


@pytest.fixture
def refused(stage):
    """Install, expecting an exit code and words on stderr, and nothing that was changed."""

    def expect(code, *words):
        before = stage.files()
        done = stage.install()
        assert done.returncode == code, done.stderr
        assert not [word for word in words if word not in done.stderr], done.stderr
        assert "Traceback" not in done.stderr
        assert stage.files() == before

    return expect


def test_a_bad_station_file_is_refused_with_every_mistake(stage, refused):
    stage.write(trigger={"deadline_ms": 0, "dedupe_window": 60})
    refused(78, "trigger.deadline_ms", "dedupe_window", "station.yaml:")


@pytest.mark.parametrize(
    "state_dir",
    ["state", "/var/lib/edge-agent", "/var/lib/edge-agent/press5", "/data/press4", "/var/lib/edge-agent/press4/.."],
)
def test_a_state_dir_that_the_service_cannot_write_is_refused_with_the_right_one(stage, refused, state_dir):
    stage.write(state_dir=state_dir)
    refused(78, "the service may write only in", f"Write `state_dir: /var/lib/edge-agent/{STATION}`")


def test_an_archive_in_the_state_directory_will_do(stage):
    stage.write(archive={"folder": f"/var/lib/edge-agent/{STATION}/archive", "max_mb": 10, "keep_days": 1})
    assert stage.install().returncode == 0


def test_a_folder_in_the_state_directory_will_do(stage):
    stage.write(state_dir=f"/var/lib/edge-agent/{STATION}/state")
    assert stage.install().returncode == 0


@pytest.mark.parametrize("recipe", ["../plate", "plate", "recipes/a/plate", "/home/alice/recipes/plate", "/root/plate"])
def test_a_recipe_that_the_service_would_not_find_is_refused_with_the_right_place(stage, refused, recipe):
    stage.write(recipe=recipe)
    refused(78, f"to {stage.bench / 'recipes'}, and write `recipe: recipes/{Path(recipe).name}`")


@pytest.mark.parametrize("folder", ["archive", "/data/archive", "/var/lib/edge-agent/press5/archive"])
def test_an_archive_that_the_service_cannot_write_is_refused_with_the_right_place(stage, refused, folder):
    stage.write(archive={"folder": folder, "max_mb": 100, "keep_days": 7})
    refused(78, "archive.folder is ", f"Write `folder: /var/lib/edge-agent/{STATION}/archive`")


@pytest.mark.parametrize("file", ["certs/ca.pem", "/home/alice/ca.pem"])
def test_a_certificate_that_the_service_would_not_find_is_refused_with_a_place(stage, refused, file):
    stage.write(mqtt={"broker": "mqtts://127.0.0.1:1", "tls": {"ca_file": file}})
    refused(78, f"mqtt.tls.ca_file is {file}, which a service would not find", "/etc/edge-agent/ca.pem")


@pytest.mark.parametrize("uri", ["folder://frames?loop=1", "file:///home/alice/parts%20of%20monday.mp4"])
def test_recorded_frames_that_the_service_would_not_find_are_refused(stage, refused, uri):
    stage.write(camera={"uri": uri})
    refused(78, "camera.uri is ", "which a service would not find")


def test_a_station_that_was_given_another_name_in_its_file_is_refused(stage):
    """The unit would read it under the old name still, and two agents fight for one camera."""
    assert stage.install().returncode == 0
    before = stage.files()
    there = stage.path(f"/etc/edge-agent/{STATION}.yaml")
    there.write_text(there.read_text().replace(STATION, "press5"))
    done = stage.install(there)
    assert done.returncode == 78, done.stderr
    assert f"the service reads it as station {STATION}" in done.stderr
    assert {*stage.files()} == {*before}
    stage.run("uninstall.py", STATION)
    there.rename(there.with_name("press5.yaml"))
    done = stage.install(there.with_name("press5.yaml"))
    assert done.returncode == 0, done.stderr


def test_a_damaged_recipe_is_refused(stage, refused):
    (stage.bench / "recipes/plate/model.cpu.onnx").write_bytes(b"half a mod")
    refused(78, "model.cpu.onnx was altered")
    assert not stage.path("/var/lib/edge-agent/recipes").exists()


def test_another_recipe_of_the_same_name_is_refused(stage, refused):
    assert stage.install().returncode == 0
    manifest = stage.bench / "recipes/plate/manifest.json"
    manifest.write_text(manifest.read_text() + " ")
    refused(78, "another recipe lies in", "Rename the folder")


def test_a_different_station_file_is_refused_with_what_differs(stage, refused):
    assert stage.install().returncode == 0
    stage.write(trigger={"deadline_ms": 250})
    refused(78, "is there, and differs", "-  deadline_ms: 3000", "+  deadline_ms: 250", "sudo mv")
    stage.path(f"/etc/edge-agent/{STATION}.yaml").rename(stage.root / "old.yaml")
    assert stage.install().returncode == 0


def test_what_check_refuses_is_not_installed(stage, refused):
    thresholds = stage.bench / "recipes/plate/thresholds"
    shutil.rmtree(thresholds)
    done = stage.install()
    assert done.returncode == 78
    assert "edge-calibrate fit" in done.stderr
    assert "`edge-agent check` refuses the station" in done.stderr
    assert not stage.path("/etc/systemd").exists()
    assert not stage.path(f"/etc/edge-agent/{STATION}.yaml").exists()


def test_the_service_can_read_what_a_careful_root_installs(stage):
    words = [sys.executable, SYSTEMD / "install.py", stage.station_file, "--destdir", stage.root]
    done = subprocess.run(words, check=False, capture_output=True, text=True, umask=0o077)
    assert done.returncode == 0, done.stderr
    folders = [path for top in ("etc", "var") for path in stage.path(top).rglob("*") if path.is_dir()]
    own = [stage.path(f"/var/{kind}/edge-agent/{STATION}") for kind in ("lib", "cache")]
    assert [path for path in folders if not mode_of(path) & 0o001 and not any(map(path.is_relative_to, own))] == []


def test_an_installation_that_is_interrupted_takes_nothing_from_a_station_that_runs(stage):
    stage.write(mqtt={"username": "press4", "password": "${cred:mqtt-password}"})
    secret = stage.path(f"{CREDENTIALS}/mqtt-password")
    secret.parent.mkdir(parents=True)
    secret.write_text("hunter2")
    assert stage.install().returncode == 0
    before = stage.files()
    unit = stage.path("/etc/systemd/system/edge-agent@.service")
    unit.unlink()
    unit.mkdir()
    assert stage.install().returncode == 74
    assert {*before} - {*stage.files()} == {"etc/systemd/system/edge-agent@.service"}


def test_a_recipe_has_its_name_only_when_all_of_it_is_on_disk(stage):
    words = [sys.executable, "-c", WATCHED, SYSTEMD / "install.py", stage.station_file, "--destdir", stage.root]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "written back: ['.plate.partial']\n" in done.stdout


# Only a machine without power would tell.
WATCHED = """
import os, runpy, sys
write_back = os.sync
def sync():
    write_back()
    print("written back:", os.listdir(f"{sys.argv[-1]}/var/lib/edge-agent/recipes"))
os.sync = sync
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away: run as root")
def test_what_root_wrote_into_the_state_directory_becomes_the_service_s(tmp_path):
    user = next(account for account in pwd.getpwall() if account.pw_uid)
    folder = tmp_path / "press4"
    folder.mkdir()
    secret = tmp_path / "secret"
    secret.touch()
    (folder / "archive").mkdir()
    (folder / "archive/frame.png").touch()
    (folder / "link").symlink_to(secret)
    os.chown(folder, user.pw_uid, user.pw_gid)
    done = subprocess.run(
        [sys.executable, "-c", MAKE_OWN, SYSTEMD, folder, user.pw_name], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "archive/frame.png").stat().st_uid == user.pw_uid
    assert secret.stat().st_uid == 0


MAKE_OWN = """
import pathlib, pwd, sys
sys.path.insert(0, sys.argv[1])
import install
install._make_own(pathlib.Path(sys.argv[2]), pwd.getpwnam(sys.argv[3]))
"""


def test_a_missing_program_is_said(stage, refused):
    stage.path("/opt/edge-agent/.venv/bin/edge-agent").unlink()
    refused(66, "edge-agent is missing", "docs/operations.md")


def test_a_missing_station_file_is_said(stage, refused):
    stage.station_file.unlink()
    refused(66, "there is no station file")


def test_a_station_called_recipes_is_refused(stage, refused):
    stage.write(station="recipes", state_dir="/var/lib/edge-agent/recipes")
    refused(78, "the recipes lie there")


@pytest.mark.parametrize("program", ["install.py", "uninstall.py"])
def test_this_machine_is_left_alone_without_root(stage, program):
    words = [stage.station_file] if program == "install.py" else []
    done = subprocess.run(
        [sys.executable, "-c", NOT_ROOT, SYSTEMD / program, *words], check=False, capture_output=True, text=True
    )
    assert done.returncode == 64, done.stderr
    assert "a service belongs to root" in done.stderr
    assert "Run `sudo make" in done.stderr


# The tests may run as root.
NOT_ROOT = """
import os, runpy, sys
os.geteuid = lambda: 1000
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_secret_is_asked_for_and_then_loaded_by_the_unit(stage, refused):
    stage.write(mqtt={"username": "press4", "password": "${cred:mqtt-password}"})
    file = stage.path(f"{CREDENTIALS}/mqtt-password")
    refused(78, "${cred:mqtt-password} has no value", f"sudo install -D -m 600 /dev/stdin {file}")
    file.parent.mkdir(parents=True)
    file.write_text("hunter2\n")
    done = stage.install()
    assert done.returncode == 0, done.stderr
    unit = stage.path(f"{DROP_INS}/credentials.conf").read_text()
    assert unit == f"[Service]\nLoadCredential=mqtt-password:{CREDENTIALS}/mqtt-password\n"
    assert "hunter2" not in done.stdout + done.stderr


def test_a_secret_from_the_environment_is_refused(stage, refused):
    stage.write(camera={"uri": "rtsp://me:${env:CAMERA}@host/stream"})
    refused(78, "${env:CAMERA} has no value in a service", "${cred:CAMERA}")


def test_a_csi_camera_gets_its_daemon_s_socket_until_it_is_gone(stage):
    sink = "appsink drop=1 max-buffers=1 sync=false"
    stage.write(camera={"uri": f"gst://nvarguscamerasrc ! nvvidconv ! video/x-raw,format=BGRx ! {sink}"})
    assert stage.install().returncode == 0
    assert "PrivateTmp=no" in stage.path(f"{DROP_INS}/csi-camera.conf").read_text()
    stage.path(f"/etc/edge-agent/{STATION}.yaml").unlink()
    stage.write(camera={"uri": "v4l2:///dev/video0"})
    assert stage.install().returncode == 0
    assert not stage.path(f"{DROP_INS}/csi-camera.conf").exists()


def test_removed_it_leaves_what_a_person_made_and_says_where(stage):
    assert stage.install().returncode == 0
    person_s = stage.path(f"{DROP_INS}/override.conf")
    person_s.parent.mkdir(parents=True)
    person_s.write_text("[Service]\nNice=-5\n")
    (person_s.parent / "credentials.conf").write_text("[Service]\n")
    outbox = stage.path(f"/var/lib/edge-agent/{STATION}/outbox.db")
    outbox.write_bytes(b"verdicts")
    before = stage.files()
    done = stage.run("uninstall.py")
    assert done.returncode == 0, done.stderr
    left = stage.files()
    assert {path for path in left if path.startswith(OF_THE_SYSTEM)} == {f"{DROP_INS[1:]}/override.conf"}
    assert {path for path in before if not path.startswith(OF_THE_SYSTEM)} <= {*left}
    assert outbox.read_bytes() == b"verdicts"
    assert stage.path("/var/lib/edge-agent/recipes/plate/thresholds/current").exists()
    for kept in ("/etc/edge-agent", "/var/lib/edge-agent", "/var/cache/edge-agent", "/opt/edge-agent"):
        assert str(stage.path(kept)) in done.stdout
    assert stage.run("uninstall.py").returncode == 0


@pytest.fixture
def two_stations(stage):
    """press4 and press5, with a secret each."""
    for name in (STATION, "press5"):
        stage.write(station=name, state_dir=f"/var/lib/edge-agent/{name}", mqtt={"password": "${cred:mqtt-password}"})
        stage.write(mqtt={"username": name})
        secret = stage.path(f"/etc/edge-agent/credentials/{name}/mqtt-password")
        secret.parent.mkdir(parents=True)
        secret.write_text("hunter2")
        assert stage.install().returncode == 0
    return stage


def test_one_of_two_stations_is_removed_and_the_other_is_as_it_was(two_stations):
    before = two_stations.files()
    done = two_stations.run("uninstall.py", f"/etc/edge-agent/{STATION}.yaml")
    assert done.returncode == 0, done.stderr
    assert {*before} - {*two_stations.files()} == {f"{DROP_INS[1:]}/credentials.conf"}
    for kept in (f"/etc/edge-agent/{STATION}.yaml", CREDENTIALS, f"/var/lib/edge-agent/{STATION}"):
        assert str(two_stations.path(kept)) in done.stdout
    assert "press5" not in done.stdout


def test_a_station_that_is_not_there_is_not_taken_for_all(two_stations):
    before = two_stations.files()
    for station in ("station.yaml", "press"):
        done = two_stations.run("uninstall.py", station)
        assert done.returncode == 64
        assert f"there is no station {station.removesuffix('.yaml')}. " in done.stderr
        assert f"{STATION}, press5" in done.stderr
    assert two_stations.files() == before


def test_the_uninstaller_needs_nothing_but_python(stage):
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(SYSTEMD)!r}); import uninstall"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_make_installs_and_removes(stage):
    make = ["make", "-C", str(ROOT), f"DESTDIR={stage.root}", f"PYTHON={sys.executable}"]
    done = subprocess.run(
        [*make, "install-service", f"STATION={stage.station_file}"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert stage.path("/etc/systemd/system/edge-agent@.service").exists()
    wrong = subprocess.run([*make, "uninstall-service", "STATION=press"], check=False, capture_output=True, text=True)
    assert "there is no station press." in wrong.stderr
    assert stage.path("/etc/systemd/system/edge-agent@.service").exists()
    done = subprocess.run([*make, "uninstall-service"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not stage.path("/etc/systemd/system/edge-agent@.service").exists()
    nameless = subprocess.run([*make, "install-service"], check=False, capture_output=True, text=True)
    assert "STATION=/path/to/station.yaml" in nameless.stdout
    assert nameless.returncode


def test_what_is_installed_can_be_read_by_others_than_the_owner(installed):
    unreadable = [path for path in installed.path("/etc").rglob("*") if not mode_of(path) & 0o004]
    assert unreadable == []
