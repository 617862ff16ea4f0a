"""Where plans are kept on the device, and why a file there can be trusted.

A plan is native code: whoever can write one into the cache runs code in the agent. So a file is opened without
following links, must belong to this user or to root and be writable by nobody else, and carries a keyed hash, whose key
lies in the state directory; only the very bytes that were checked are given to TensorRT. Whatever does not pass is
refused and built again, never loaded.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engines.errors import EngineError
from engines.files import replace_file
from engines.plans.builder import BuildOptions
from engines.untrusted import parse_json

_LOG = logging.getLogger(__name__)
_KEY_BYTES = 32
_NAME_DIGITS = 24


@dataclass(frozen=True)
class PlanKey:
    """Everything that makes a plan another one.

    Attributes:
        model_sha256: Of the file that it was built from.
        tensorrt: Version of TensorRT.
        gpu: Name and compute capability.
        driver: Version of the CUDA driver.
        options: How it was built.
    """

    model_sha256: str
    tensorrt: str
    gpu: str
    driver: int
    options: BuildOptions

    @property
    def name(self) -> str:
        """The beginning of its files' names."""
        return hashlib.sha256(_canonical(asdict(self))).hexdigest()[:_NAME_DIGITS]

    @property
    def timing_name(self) -> str:
        """The same for all models: what was measured on this machine with this TensorRT."""
        parts = [self.tensorrt, self.gpu, str(self.driver)]
        return hashlib.sha256(_canonical(parts)).hexdigest()[:_NAME_DIGITS]


@dataclass(frozen=True)
class StoredPlan:
    """A plan that may be deserialised.

    Attributes:
        content: The bytes that were checked.
        facts: What its side file says of it: how it was built, and what came of it.
    """

    content: bytes
    facts: dict[str, Any]


class PlanStore:
    """The cache directory and the key.

    Args:
        folder: For the plans; made where it is missing, and may be emptied at any time.
        key_file: For the key; made at first use.
    """

    def __init__(self, folder: Path, key_file: Path) -> None:
        self._folder, self._key_file = folder, key_file

    def path_of(self, key: PlanKey) -> Path:
        """Return where the plan of a key is, or would be."""
        return self._folder / f"{key.name}.plan"

    def load(self, key: PlanKey) -> StoredPlan | None:
        """Return a plan that may be deserialised; None where there is none, or one that cannot be trusted.

        Raises:
            EngineError: The key cannot be read.
        """
        path = self.path_of(key)
        try:
            content = _read_own(path)
            side = parse_json(_read_own(path.with_suffix(".json")))
            facts, claimed = side["facts"], side["mac"]
            genuine = hmac.compare_digest(str(claimed), self._mac(key, facts, content))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as problem:
            _LOG.warning("the plan %s is refused and built again: %s", path, problem)
            return None
        if not genuine:
            _LOG.warning("the plan %s is refused and built again: it is damaged, or was made elsewhere", path)
            return None
        return StoredPlan(content, facts)

    def save(self, key: PlanKey, content: bytes, facts: dict[str, Any]) -> StoredPlan:
        """Keep a plan that was just built.

        Raises:
            EngineError: The cache or the key cannot be written.
        """
        path = self.path_of(key)
        side = {"key": asdict(key), "facts": facts, "mac": self._mac(key, facts, content)}
        try:
            _private_folder(self._folder)
            replace_file(path, content, mode=0o600)
            replace_file(path.with_suffix(".json"), json.dumps(side, indent=1).encode(), mode=0o600)
        except OSError as problem:
            raise EngineError(
                f"the plan cannot be kept in {self._folder}: {problem}.",
                fix="Free space there, or mend its permissions.",
            ) from problem
        return StoredPlan(content, facts)

    def discard(self, key: PlanKey) -> None:
        """Remove a plan that has turned out to be wrong: the next one who asks builds it anew."""
        path = self.path_of(key)
        for one in (path, path.with_suffix(".json")):
            one.unlink(missing_ok=True)

    def timing_cache(self, key: PlanKey) -> bytes:
        """Return what earlier builds on this machine measured; empty where nothing is to be trusted."""
        path = self._folder / f"{key.timing_name}.timing"
        try:
            content = _read_own(path)
        except OSError:
            return b""
        digest, cache = content[: hashlib.sha256().digest_size], content[hashlib.sha256().digest_size :]
        return cache if hmac.compare_digest(digest, self._digest(cache)) else b""

    def save_timing_cache(self, key: PlanKey, cache: bytes) -> None:
        """Keep what a build measured; a failure costs time at the next build, and nothing else."""
        try:
            _private_folder(self._folder)
            replace_file(self._folder / f"{key.timing_name}.timing", self._digest(cache) + cache, mode=0o600)
        except OSError as problem:
            _LOG.warning("the timing cache cannot be kept: %s", problem)

    def _mac(self, key: PlanKey, facts: dict[str, Any], content: bytes) -> str:
        return self._digest(_canonical([asdict(key), facts]) + b"\0" + content).hex()

    def _digest(self, content: bytes) -> bytes:
        return hmac.new(self._key(), content, hashlib.sha256).digest()

    def _key(self) -> bytes:
        try:
            return self._read_key()
        except FileNotFoundError:
            pass
        try:
            _private_folder(self._key_file.parent)
            fd = os.open(self._key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            pass
        except OSError as problem:
            raise EngineError(
                f"the key {self._key_file} cannot be made: {problem}.", fix="Mend the permissions of its folder."
            ) from problem
        return self._read_key()

    def _read_key(self) -> bytes:
        try:
            key = _read_own(self._key_file, secret=True)
        except FileNotFoundError:
            raise
        except OSError as problem:
            raise EngineError(
                f"the key {self._key_file} cannot be used: {problem}.",
                fix="Delete it: a new one is made, and the plans are built again.",
            ) from problem
        if len(key) != _KEY_BYTES:
            raise EngineError(
                f"the key {self._key_file} has {len(key)} bytes instead of {_KEY_BYTES}.",
                fix="Delete it: a new one is made, and the plans are built again.",
            )
        return key


def default_store() -> PlanStore:
    """Return the store of this user, or of the service that systemd started."""
    home = Path.home()
    cache = _first_of("CACHE_DIRECTORY") or _home_of("XDG_CACHE_HOME", home / ".cache")
    state = _first_of("STATE_DIRECTORY") or _home_of("XDG_STATE_HOME", home / ".local" / "state")
    return PlanStore(cache / "plans", state / "plan.key")


def _first_of(variable: str) -> Path | None:
    # systemd lists several directories with colons between them.
    value = os.environ.get(variable, "").split(":")[0]
    return Path(value) if value else None


def _home_of(variable: str, otherwise: Path) -> Path:
    return Path(os.environ.get(variable) or otherwise) / "edge-agent"


def _private_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _read_own(path: Path, *, secret: bool = False) -> bytes:
    """Read a file that only this user, or root, can have written.

    Raises:
        OSError: There is none, it is a link, or somebody else could have written it (or, if secret, read it).
    """
    # Without O_NONBLOCK a pipe in its place would stop the agent.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise PermissionError(f"{path} is not a plain file")
        if status.st_uid not in (0, os.geteuid()):
            raise PermissionError(f"{path} belongs to user {status.st_uid}")
        forbidden = 0o077 if secret else 0o022
        if status.st_mode & forbidden:
            raise PermissionError(f"{path} has mode {stat.S_IMODE(status.st_mode):04o}: others could have changed it")
        return file.read()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
