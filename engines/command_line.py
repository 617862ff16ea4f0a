"""What the three commands share: sub-commands, exit codes, progress bars and `--json`."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from engines.errors import AgentError, UsageError
from engines.files import replace_file

Item = TypeVar("Item")


def run_command(program: str, about: str, commands: Mapping[str, str], argv: Sequence[str] | None) -> int:
    """Run one sub-command and turn its errors into a message and a sysexits code.

    Args:
        program: The command's name.
        about: One line for `--help`.
        commands: Module by sub-command. A module has `HELP`, `add_arguments(parser)` and `run(arguments) -> int`;
            only the one that is asked for is imported, so that the agent starts fast.
        argv: Words after the program's name; None takes those of the process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if argv is None:
            # A service manager's stop cleans up as Ctrl-C does.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        return _run_words(program, about, commands, words)
    except (KeyboardInterrupt, ImportError) as problem:
        if not _was_interrupted(problem):
            raise
        print(f"{' '.join([program, *words[:1]])}: interrupted", file=sys.stderr)
        return 130


def _run_words(program: str, about: str, commands: Mapping[str, str], words: list[str]) -> int:
    # ONNX Runtime 1.29 and newer sends what it runs on and runs to its maker; before it is imported it can be told not to.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    chosen = [words[0]] if words and words[0] in commands else list(commands)
    parser = argparse.ArgumentParser(prog=program, description=about)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {}
    try:
        for name in chosen:
            module = importlib.import_module(commands[name])
            modules[name] = module
            module.add_arguments(subparsers.add_parser(name, help=module.HELP, description=module.HELP))
    except ModuleNotFoundError as error:
        return _say_missing(f"{program} {' '.join(chosen[:1])}", error)
    try:
        arguments = parser.parse_args(words)
    except SystemExit as stop:
        return 64 if stop.code else 0
    return _run(f"{program} {arguments.command}", modules[arguments.command], arguments)


def _run(called: str, module: ModuleType, arguments: argparse.Namespace) -> int:
    try:
        return int(module.run(arguments))
    except AgentError as error:
        print(f"{called}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader (`| head`) went away; Python would complain again while it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 74
    except OSError as error:
        print(f"{called}: {error}. Check the disk, the path and its permissions.", file=sys.stderr)
        return 74
    except ModuleNotFoundError as error:
        return _say_missing(called, error)
    except Exception as error:
        # Whatever it is, it must not look like a verdict or a misuse.
        if _was_interrupted(error):
            raise
        traceback.print_exc()
        print(f"{called}: a mistake in the program. Report it with this traceback.", file=sys.stderr)
        return 70


def _was_interrupted(problem: BaseException | None) -> bool:
    # Where Ctrl-C meets a library of pybind11 that is being loaded, it comes out as the cause of an ImportError.
    interrupted = isinstance(problem, KeyboardInterrupt)
    return interrupted or (isinstance(problem, ImportError) and _was_interrupted(problem.__cause__))


def _say_missing(called: str, error: ModuleNotFoundError) -> int:
    hint = (
        "pip install 'edge-agent[cv]', or use JetPack's" if error.name == "cv2" else "pip install 'edge-agent[train]'"
    )
    print(f"{called}: needs {error.name}, which is not installed. Run: {hint}.", file=sys.stderr)
    return 69


def rate(text: str) -> float:
    """Read a share between 0 and 1 from the command line."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1; write 0.01 for one in a hundred")
    return value


def positive(text: str) -> int:
    """Read a whole number from 1 on from the command line."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def map_size(text: str) -> int | tuple[int, int]:
    """Read `N`, or `WxH` as (h, w), from the command line."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text} is not understood; give one number, such as 256, or WxH, as 320x192")
    return (int(match[2]), int(match[1])) if match[2] else int(match[1])


def track(items: Iterable[Item], *, label: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items while a progress bar on stderr shows the count and the time left.

    Args:
        items: Anything that can be iterated over.
        label: What is being done.
        total: How many there are, where `items` cannot tell.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(items, total=total, description=label)


def check_can_write(option: str, path: Path | None) -> None:
    """Refuse a file that cannot be written, before the work whose result it shall hold.

    Raises:
        UsageError: Its folder does not exist or may not be written to, or it is a folder itself.
    """
    if path is not None and (path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK)):
        raise UsageError(
            f"{option}: {path} cannot be written.",
            fix="Name a file in a folder that exists and in which you may write.",
        )


def check_can_fill(option: str, folder: Path | None) -> None:
    """Refuse a folder that can neither be made nor written to, before the work of which it shall tell.

    Raises:
        UsageError: It, or what of its path there is already, is no folder in which this user may write.
    """
    if folder is None:
        return
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(
            f"{option}: nothing can be written into {folder}, since {there} is no folder in which you may write.",
            fix="Name a folder that is there, or can be made, and in which you may write.",
        )


def write_json(path: Path | None, content: Mapping[str, Any]) -> None:
    """Write a result where `--json` asked for it."""
    if path is not None:
        replace_file(path, (json.dumps(content, indent=1) + "\n").encode())
