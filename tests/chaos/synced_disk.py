"""What a power cut would have left of a folder: every file as of its last sync, rebuilt from the system calls.

`kill -9` keeps the page cache, so it proves nothing about power. Here strace writes down every write and every sync of the
agent; of each file only what was written before its last sync is put back, and a file whose directory was not synced after
it was made is gone. That is harder than any disk, which may keep more.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_CALLS = "openat,write,pwrite64,ftruncate,fsync,fdatasync,unlink,unlinkat,rename,renameat,renameat2"
AGENT_UNDER_STRACE = ["-D", "-f", "--seccomp-bpf", "-q", "-y", "-xx", "-s", "1000000", "-e", f"trace={_CALLS}"]

_CALL = re.compile(r"^(?P<pid>\d+) +(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
_UNFINISHED = re.compile(r"^(?P<pid>\d+) +(?P<begin>.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(?P<pid>\d+) +<\.\.\. \w+ resumed>(?P<end>.*)$")
_DESCRIPTOR = re.compile(r"^\d+<(?P<path>[^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@cache
def find_strace() -> str | None:
    """Return its path, None where it is missing or may not trace."""
    strace = shutil.which("strace")
    may_trace = strace and subprocess.run([strace, "-o", "/dev/null", "true"], check=False, capture_output=True)
    return strace if may_trace and may_trace.returncode == 0 else None


@dataclass
class _File:
    """A file as the kernel has it, as the disk has it, and whether its name is on the disk."""

    content: bytearray = field(default_factory=bytearray)
    synced: bytes | None = None
    is_named: bool = False

    def write(self, at: int, data: bytes) -> None:
        self.content.extend(b"\0" * (at + len(data) - len(self.content)))
        self.content[at : at + len(data)] = data


def is_complete(log: Path, pid: int) -> bool:
    """Return whether strace has written everything that a process did before it was killed."""
    return re.search(rf"^{pid} +\+\+\+ killed", log.read_text(errors="replace"), re.MULTILINE) is not None


def restore_synced(log: Path, folder: Path) -> list[str]:
    """Replace the files of a folder, which was empty when the log began, by what was synced.

    Returns:
        The files of which something was lost.

    Raises:
        ValueError: The log has a call that is not understood.
    """
    files: dict[str, _File] = {}
    for name, arguments, result in _calls(log):
        _apply(name, arguments, result, folder, files)
    lost = []
    for path in folder.iterdir():
        if path.is_dir():
            continue
        path.unlink()
    for path, file in files.items():
        if file.is_named and file.synced is not None:
            Path(path).write_bytes(file.synced)
        if not file.is_named or file.synced != bytes(file.content):
            lost.append(Path(path).name)
    return lost


def _calls(log: Path):
    """Yield name, arguments and result of every call that succeeded, joined where another thread came between."""
    begun: dict[str, str] = {}
    for line in log.read_text(errors="replace").splitlines():
        if found := _UNFINISHED.match(line):
            begun[found["pid"]] = found["begin"]
            continue
        whole = line
        if found := _RESUMED.match(line):
            whole = f"{found['pid']} {begun.pop(found['pid'])}{found['end']}"
        if (call := _CALL.match(whole)) and int(call["result"]) >= 0:
            yield call["name"], call["arguments"], int(call["result"])


def _apply(name: str, arguments: str, result: int, folder: Path, files: dict[str, _File]) -> None:
    if descriptor := _DESCRIPTOR.match(arguments):
        path = _decoded(descriptor["path"]).decode()
        if path == str(folder):
            for file in files.values():
                file.is_named = True
        elif path in files:
            _change(files[path], name, arguments, result)
        return
    paths = [_decoded(text).decode() for text in _TEXT.findall(arguments)]
    match name:
        case "openat":
            if "O_CREAT" in arguments and Path(paths[0]).parent == folder:
                file = files.setdefault(paths[0], _File())
                if "O_TRUNC" in arguments:
                    file.content.clear()
        case "unlink" | "unlinkat":
            files.pop(paths[0], None)
        case _ if paths[0] in files:
            files[paths[1]] = files.pop(paths[0])
            files[paths[1]].is_named = False


def _change(file: _File, name: str, arguments: str, result: int) -> None:
    match name:
        case "pwrite64":
            file.write(int(arguments.rsplit(", ", 1)[1]), _decoded(_TEXT.search(arguments)[1])[:result])
        case "write":
            # Only appended to: the lock and the logs.
            file.write(len(file.content), _decoded(_TEXT.search(arguments)[1])[:result])
        case "ftruncate":
            size = int(arguments.rsplit(", ", 1)[1])
            del file.content[size:]
            file.content.extend(b"\0" * (size - len(file.content)))
        case "fsync" | "fdatasync":
            file.synced = bytes(file.content)


def _decoded(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", "")) if text.startswith("\\x") else text.encode()
