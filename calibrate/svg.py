"""Just enough SVG for the plots of a page: axes, bars, lines and text; the page's style gives the colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 20, 14, 40
_TICK = 5


@dataclass(frozen=True)
class Axis:
    """What one direction shows.

    Attributes:
        low: Value at the left or at the bottom.
        high: Value at the right or at the top.
        ticks: Where a mark stands, and its text.
        title: What it means.
    """

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    title: str


class Plot:
    """One drawing with two axes; things are drawn over each other in the order of the calls."""

    def __init__(self, x: Axis, y: Axis, *, width_px: int = 460, height_px: int = 300) -> None:
        self._axes = x, y
        self._size = width_px, height_px
        self._parts: list[str] = []
        self._grid()

    def bar(self, left: float, right: float, bottom: float, top: float, style: str) -> None:
        """Fill a rectangle, given in the values of the axes."""
        x, y = self._x(left), self._y(max(bottom, top))
        width, height = self._x(right) - x, self._y(min(bottom, top)) - y
        self._parts.append(
            f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{max(width - 1, 0.5):.1f}" height="{height:.1f}"/>'
        )

    def line(self, points: Sequence[tuple[float, float]], style: str) -> None:
        """Join points, given in the values of the axes."""
        path = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)
        self._parts.append(f'<polyline class="{style}" points="{path}"/>')

    def dot(self, x: float, y: float, style: str) -> None:
        """Mark one point."""
        self._parts.append(f'<circle class="{style}" cx="{self._x(x):.1f}" cy="{self._y(y):.1f}" r="5"/>')

    def text(
        self, x: float, y: float, words: str, style: str, *, anchor: str = "start", dx: int = 0, dy: int = 0
    ) -> None:
        """Write beside a point; `dx` and `dy` move it by pixels."""
        self._parts.append(
            f'<text class="{style}" text-anchor="{anchor}" x="{self._x(x) + dx:.1f}" y="{self._y(y) + dy:.1f}">'
            f"{escape(words)}</text>"
        )

    def svg(self, description: str) -> str:
        """Return the element; a screen reader says the description."""
        width, height = self._size
        return (
            f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(description)}">'
            f"{''.join(self._parts)}</svg>"
        )

    def _grid(self) -> None:
        x, y = self._axes
        for value, words in x.ticks:
            self.line([(value, y.low), (value, y.high)], "grid")
            self.text(value, y.low, words, "tick", anchor="middle", dy=_TICK + 11)
        for value, words in y.ticks:
            self.line([(x.low, value), (x.high, value)], "grid")
            self.text(x.low, value, words, "tick", anchor="end", dx=-_TICK, dy=4)
        self.text((x.low + x.high) / 2, y.low, x.title, "axis", anchor="middle", dy=_BOTTOM - 5)
        middle = self._size[1] / 2
        self._parts.append(
            f'<text class="axis" text-anchor="middle" transform="translate(12 {middle:.0f}) rotate(-90)">'
            f"{escape(y.title)}</text>"
        )

    def _x(self, value: float) -> float:
        axis = self._axes[0]
        return _LEFT + (value - axis.low) / (axis.high - axis.low) * (self._size[0] - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        axis = self._axes[1]
        return self._size[1] - _BOTTOM - (value - axis.low) / (axis.high - axis.low) * (self._size[1] - _TOP - _BOTTOM)
