"""Lists as messages show them."""

from __future__ import annotations

from collections.abc import Sequence


def listed(names: Sequence[str], *, most: int = 5) -> str:
    """Return the first names in one line, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def list_lines(lines: Sequence[str], *, most: int, what: str) -> str:
    """Return the first lines below each other, indented, and how many more there are of what."""
    shown = [f"  {line}" for line in lines[:most]]
    if len(lines) > most:
        shown.append(f"  and {len(lines) - most} more {what}")
    return "\n".join(shown)
