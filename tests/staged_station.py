"""A folder that stands for a station's disk, into which the real installer installs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import yaml

SYSTEMD = Path(__file__).parents[1] / "systemd"
STATION = "press4"


def systemd_version() -> int:
    """The number of this machine's systemd, 0 without one."""
    if shutil.which("systemd-analyze") is None:
        return 0
    said = subprocess.run(["systemd-analyze", "--version"], check=True, capture_output=True, text=True).stdout
    return int(said.split()[1])


class Stage:
    """The folder, with the program in it, and a bench beside it, where the technician has made station file and recipe."""

    def __init__(self, folder: Path, recipe: Path) -> None:
        self.root, self.bench = folder / "root", folder / "bench"
        programs = self.root / "opt/edge-agent/.venv/bin"
        programs.mkdir(parents=True)
        # Links would lead Python away from the environment in which the tests run.
        for name, words in (
            ("edge-agent", f"{Path(sys.executable).with_name('edge-agent')}"),
            ("python", sys.executable),
        ):
            (programs / name).write_text(f'#!/bin/sh\nPYTHONPATH={SYSTEMD.parent} exec {words} "$@"\n')
            (programs / name).chmod(0o755)
        shutil.copytree(recipe, self.bench / "recipes/plate")
        self.station_file = self.bench / "station.yaml"
        self.content = {
            "schema": 1,
            "site": "plant1",
            "station": STATION,
            "recipe": "recipes/plate",
            "state_dir": f"/var/lib/edge-agent/{STATION}",
            "camera": {"uri": "synthetic://plate?size=96x80", "mode": "triggered"},
            "engine": {"threads": 1},
            "trigger": {"deadline_ms": 3000, "capture_within_ms": 3000, "dedupe_window_s": 60},
            "mqtt": {"broker": "mqtt://127.0.0.1:1", "consumer": "plc"},
        }
        self.write()

    def write(self, **changes) -> None:
        """Change the bench's station file."""
        for key, value in changes.items():
            self.content[key] = {**self.content.get(key, {}), **value} if isinstance(value, dict) else value
        self.station_file.write_text(yaml.safe_dump(self.content))

    def path(self, where: str) -> Path:
        """Where an absolute path of the station lies."""
        return self.root / where.lstrip("/")

    def run(self, program: str, *words: str | Path, staged: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, SYSTEMD / program, *words, *(["--destdir", self.root] if staged else [])]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)

    def install(self, station_file: Path | None = None) -> subprocess.CompletedProcess[str]:
        return self.run("install.py", station_file or self.station_file)

    def files(self) -> dict[str, bytes]:
        """Every file of the station, by its path there."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and "recipes" not in path.parts
        }
