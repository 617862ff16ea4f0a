"""A real Mosquitto on loopback for the tests, with its own configuration, ended by its own handle."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

from ports import free_port

START_TIMEOUT_S = 10.0


def find_mosquitto() -> str | None:
    """Debian installs it where ordinary users do not look."""
    return shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))


class Mosquitto:
    """One broker that keeps its port over stops and starts; nothing is persistent."""

    def __init__(
        self,
        folder: Path,
        *,
        user: tuple[str, str] | None = None,
        persistent: bool = False,
        tls: tuple[Path, Path, Path] | None = None,
        config: str | None = None,
    ) -> None:
        self.port = free_port()
        self._config = folder / f"mosquitto-{self.port}.conf"
        lines = [f"listener {self.port} 127.0.0.1", "set_tcp_nodelay true"]
        if user is None:
            lines.append("allow_anonymous true")
        else:
            passwords = folder / "passwords"
            passwords.write_text(f"{user[0]}:{user[1]}\n")
            passwords.chmod(0o600)
            subprocess.run([_beside("mosquitto_passwd"), "-U", str(passwords)], check=True, capture_output=True)
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        if persistent:
            lines += ["persistence true", f"persistence_location {folder}/", "autosave_interval 1"]
        if tls is not None:
            lines += [f"{key} {path}" for key, path in zip(("cafile", "certfile", "keyfile"), tls, strict=True)]
            lines.append("require_certificate true")
        if config is not None:
            # One that is shipped; its first listener is ours.
            lines = [re.sub(r"^listener 8883$", lines[0], config, flags=re.MULTILINE)]
        if os.getuid() == 0:
            lines.append("user root")
        self._config.write_text("\n".join(lines) + "\n")
        self._log = folder / f"mosquitto-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(find_mosquitto()), "-c", str(self._config)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"mosquitto did not start: {self._log.read_text()}")
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """As a power cut: no will, no goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _beside(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/bin", "/usr/sbin")))
    if found is None:
        raise RuntimeError(f"{name} is missing. Install it: apt-get install mosquitto")
    return found
