"""The generated part of a document: what stands between two marks is replaced, what people wrote around it stays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from engines.errors import UsageError
from engines.files import replace_file


def marks(part: str = "") -> tuple[str, str]:
    """Return the lines between which a generated part of a document stands."""
    name = f"generated {part}" if part else "generated"
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


BEGIN, END = marks()


def write_generated(path: Path, content: str, *, title: str, part: str = "") -> None:
    """Replace the generated part of a document; a document that does not exist is begun with a title.

    Args:
        path: The document.
        content: What stands between the marks from now on.
        title: Of a new document.
        part: Which part, where several programs write into the document.

    Raises:
        UsageError: The marks are not there, each once and in order.
    """
    begin, end = marks(part)
    before, after = f"# {title}\n\n", "\n"
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise UsageError(
                f"{path} has no place for the generated tables.",
                fix=f"Put the lines `{begin}` and `{end}` where they belong.",
            )
        before, after = text.split(begin)[0], text.split(end)[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, f"{before}{begin}\n\n{content.strip()}\n\n{end}{after}".encode())


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, digits: int = 4) -> str:
    """Write a figure; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def interval(value: float | None, bounds: Sequence[float] | None) -> str:
    """Write a figure with its interval: 0.9889 [0.971, 1.000]."""
    if value is None or bounds is None:
        return number(value)
    return f"{value:.4f} [{bounds[0]:.3f}, {bounds[1]:.3f}]"
