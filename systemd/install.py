"""`sudo make install-service STATION=FILE`: make a station a service that starts with the machine.

Everything is looked at before anything is changed. Where it is installed already, it takes over new units and leaves
recipe and data as they are.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import places
import yaml
from activation import settle_machine, start
from installation import Installation, look_at

from engines.errors import AgentError, ConfigError
from engines.files import replace_file, sync_directory
from engines.recipe import MANIFEST, THRESHOLDS_FOLDER

_HERE = Path(__file__).parent
_EX_IOERR = 74


def install(wanted: Installation) -> None:
    """Install what was looked at; the station file and the units only after `edge-agent check` has agreed.

    Raises:
        ConfigError: It did not agree.
    """
    owner = None if wanted.staged else _make_user()
    for folder in (places.STATION_FILES, places.RECIPES):
        (wanted.root / folder).mkdir(parents=True, exist_ok=True)
    for folder in (places.DATA, places.CACHE):
        _make_own(wanted.root / folder / wanted.name, owner)
    if not wanted.recipe.exists():
        _copy_recipe(wanted, owner)
    for manifest in (wanted.root / places.RECIPES).glob(f"*/{MANIFEST}"):
        # Also one that a person has put there.
        if not _is_handed_over(manifest.parent, owner):
            _hand_over(manifest.parent, owner)
    _check(wanted, owner)
    link = wanted.root / places.STATION_FILES / places.RECIPES.name
    if not link.exists():
        # So `recipe: recipes/NAME` means the same here as where the station file came from.
        link.symlink_to(os.path.relpath(wanted.root / places.RECIPES, link.parent))
    files = {**dict(_system_files(wanted)), wanted.station_file: wanted.text}
    for target, text in files.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, text)
    # Only now: what is interrupted before has taken nothing from a station that runs.
    for station in ("", wanted.name):
        for old in {*places.our_drop_ins(wanted.root, station)} - {*files}:
            old.unlink()


def _make_user() -> pwd.struct_passwd:
    subprocess.run(["systemd-sysusers", _HERE / "sysusers.conf"], check=True)
    return pwd.getpwnam(places.USER)


def _make_own(folder: Path, owner: pwd.struct_passwd | None) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    if owner is None:
        return
    # A new one, a disk that was mounted there, one from another device, or what somebody wrote as root.
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    for _, folders, files, there in os.fwalk(folder):
        for name in (*folders, *files):
            # An agent that runs may have removed it.
            with suppress(FileNotFoundError):
                if os.stat(name, dir_fd=there, follow_symlinks=False).st_uid != owner.pw_uid:
                    os.chown(name, owner.pw_uid, owner.pw_gid, dir_fd=there, follow_symlinks=False)


def _copy_recipe(wanted: Installation, owner: pwd.struct_passwd | None) -> None:
    """Copy it whole or not at all."""
    partial = wanted.recipe.with_name(f".{wanted.recipe.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(wanted.source, partial, copy_function=shutil.copyfile)
    _hand_over(partial, owner)
    # A name that outlasts a power cut must not stand for files that do not.
    os.sync()
    partial.rename(wanted.recipe)
    sync_directory(wanted.recipe.parent)


def _is_handed_over(recipe: Path, owner: pwd.struct_passwd | None) -> bool:
    folder = recipe / THRESHOLDS_FOLDER
    if not folder.is_dir():
        return False
    found = folder.stat()
    return bool(found.st_mode & stat.S_ISGID) and (owner is None or found.st_gid == owner.pw_gid)


def _hand_over(recipe: Path, owner: pwd.struct_passwd | None) -> None:
    """Let the service's group add threshold revisions to a recipe, and change nothing else of it."""
    log = recipe / THRESHOLDS_FOLDER / "log.jsonl"
    log.parent.mkdir(exist_ok=True)
    log.touch()
    for path in (recipe, *recipe.rglob("*")):
        if owner:
            os.chown(path, 0, owner.pw_gid)
        path.chmod(0o755 if path.is_dir() else 0o644)
    log.chmod(0o664)
    log.parent.chmod(0o2775)


def _check(wanted: Installation, owner: pwd.struct_passwd | None) -> None:
    """Let `edge-agent check` look as the service will: with its user, its secrets and its folders."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        content = yaml.safe_load(wanted.text)
        content["recipe"] = str(wanted.recipe)
        content["state_dir"] = str(wanted.root / wanted.station.state_dir.relative_to("/"))
        (scratch / "station.yaml").write_text(yaml.safe_dump(content))
        for secret in wanted.credentials:
            shutil.copyfile(wanted.root / places.CREDENTIALS / wanted.name / secret, scratch / secret)
        as_service: dict[str, Any] = {}
        if owner:
            for path in (scratch, *scratch.iterdir()):
                os.chown(path, owner.pw_uid, owner.pw_gid)
            groups = os.getgrouplist(places.USER, owner.pw_gid)
            as_service = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": groups}
        done = subprocess.run(
            [wanted.root / places.PROGRAMS / "edge-agent", "check", "--config", scratch / "station.yaml"],
            check=False,
            cwd="/",
            env=_environment(wanted, scratch),
            **as_service,
        )
    if done.returncode:
        raise ConfigError(
            f"`edge-agent check` refuses the station with exit code {done.returncode}; the service is as it was.",
            fix="Do what it says above, then install again.",
        )


def _environment(wanted: Installation, credentials: Path) -> dict[str, str]:
    cache = wanted.root / places.CACHE / wanted.name
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(wanted.root / places.DATA),
        "CREDENTIALS_DIRECTORY": str(credentials),
        "STATE_DIRECTORY": str(wanted.root / places.DATA / wanted.name),
        "CACHE_DIRECTORY": str(cache),
        "XDG_CACHE_HOME": str(cache),
    }


def _system_files(wanted: Installation) -> Iterator[tuple[Path, bytes]]:
    for name, place in places.COMMON.items():
        yield wanted.root / place, (_HERE / name).read_bytes()
    folder = places.drop_in_folder()
    for drop_in in (_HERE / folder.name).iterdir():
        if int(drop_in.stem.removeprefix("systemd-")) <= _systemd_version():
            yield wanted.root / folder / drop_in.name, drop_in.read_bytes()
    own = wanted.root / places.drop_in_folder(wanted.name)
    if wanted.credentials:
        secrets = Path("/") / places.CREDENTIALS / wanted.name
        lines = [f"LoadCredential={name}:{secrets / name}\n" for name in wanted.credentials]
        yield own / "credentials.conf", "".join(["[Service]\n", *lines]).encode()
    if "nvarguscamerasrc" in wanted.station.camera.uri:
        yield own / "csi-camera.conf", (_HERE / "csi-camera.conf").read_bytes()


def _systemd_version() -> int:
    """Return the number of the newest systemd whose settings this machine knows, 0 without one."""
    if shutil.which("systemctl") is None:
        return 0
    said = subprocess.run(["systemctl", "--version"], check=True, capture_output=True, text=True).stdout
    return int(said.split()[1])


def main() -> int:
    """Run the program; returns a sysexits code."""
    parser = argparse.ArgumentParser(prog="install-service", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("station", type=Path, metavar="FILE", help="station file")
    parser.add_argument("--destdir", type=Path, metavar="DIR", help="install into this folder, and start nothing")
    arguments = parser.parse_args()
    # Root's own may be 077, and then the service could not read what is installed.
    os.umask(0o022)
    try:
        wanted = look_at(arguments.station, arguments.destdir)
        install(wanted)
        if not wanted.staged:
            settle_machine()
            start(wanted.name)
    except AgentError as error:
        print(f"install-service: {error}", file=sys.stderr)
        return error.exit_code
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"install-service: {error}. Check the disk, the path and its permissions.", file=sys.stderr)
        return _EX_IOERR
    became = f"laid out in {wanted.root}" if wanted.staged else "installed, and runs"
    print(f"Station {wanted.name} is {became}. docs/operations.md says how to live with it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
