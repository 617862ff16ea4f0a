"""Pages that need no network and no other file: a frame with the style, templates for the content, rows of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from calibrate.pictures import data_uri
from engines.files import replace_file
from engines.images import Frame

_FOLDER = Path(__file__).parent


def write_page(page: Path, title: str, template: str, values: dict[str, str]) -> None:
    """Write a page.

    Args:
        page: The file.
        title: Plain text.
        template: Name of the template of the content, beside this module.
        values: HTML for each of its places.

    Raises:
        KeyError: A place of the template has no value.
    """
    body = Template((_FOLDER / template).read_text(encoding="utf-8")).substitute(values)
    frame = Template((_FOLDER / "page.html").read_text(encoding="utf-8"))
    replace_file(page, frame.substitute(title=escape(title), body=body).encode())


def picture_row(pictures: Sequence[tuple[str, Frame]]) -> str:
    """Return pictures side by side, each with its words below."""
    figures = "".join(
        f'<figure><img src="{data_uri(picture)}" alt="{escape(words)}"><figcaption>{escape(words)}</figcaption></figure>'
        for words, picture in pictures
    )
    return f'<div class="panels">{figures}</div>'


def row(title: str, cells: Sequence[str]) -> str:
    """Return one row of a table: plain words."""
    return f"<tr><th>{escape(title)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
