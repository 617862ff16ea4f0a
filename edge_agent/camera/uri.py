"""Camera URIs: `scheme://target?option=value`, read strictly."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from engines.errors import ConfigError

SCHEMES = ("folder", "file", "v4l2", "gst", "rtsp", "synthetic")
_LOCAL = frozenset({"folder", "file", "v4l2", "synthetic"})
# Properties of GStreamer's sources and query options of IP cameras; a value may be quoted, escaped and have a type.
_SECRET = re.compile(
    r"(\b(?:[\w-]*(?:user-id|user-pw|proxy-id|proxy-pw|passwo?r?d|passphrase|pwd)|user|username)\s*=\s*)"
    r"""(?:\(\w+\)\s*)?(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\\.|[^\s\\])+""",
    re.IGNORECASE,
)
_VIDEOS = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm"})


@dataclass(frozen=True)
class CameraUri:
    """A camera URI taken apart; the methods read one option each.

    `text` is the whole as typed (it may hold a password: `str` leaves it out), `target` what stands
    between `://` and the first `?`, percent-decoded.
    """

    text: str = field(repr=False)
    scheme: str
    target: str
    options: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return describe_uri(self.text)

    def allow(self, known: Collection[str]) -> None:
        """Refuse options that the camera does not have.

        Raises:
            ConfigError: An option is unknown.
        """
        for name in self.options:
            if name not in known:
                raise ConfigError(
                    f"Camera {self}: unknown option '{name}'.",
                    fix=_nearest(name, known, f"Options of {self.scheme}:// are"),
                )

    def whole(self, name: str, default: int, *, low: int, high: int) -> int:
        """Read a whole number inside [low, high]; raises ConfigError otherwise."""
        if name not in self.options:
            return default
        value = self.options[name]
        if not re.fullmatch(r"-?\d{1,18}", value) or not low <= int(value) <= high:
            raise self.wrong(name, f"must be a whole number from {low} to {high}")
        return int(value)

    def number(self, name: str, default: float, *, low: float, high: float) -> float:
        """Read a number inside [low, high]; raises ConfigError otherwise."""
        if name not in self.options:
            return default
        try:
            value = float(self.options[name])
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise self.wrong(name, f"must be a number from {low:g} to {high:g}")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """Read a switch; raises ConfigError otherwise."""
        words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        value = self.options.get(name)
        if value is None:
            return default
        if value.lower() not in words:
            raise self.wrong(name, "must be true or false")
        return words[value.lower()]

    def wrong(self, name: str, rule: str) -> ConfigError:
        """Return the error for an option whose value breaks a rule."""
        value = self.options.get(name, "")
        return ConfigError(
            f"Camera {self}: option '{name}' is '{value}'.",
            fix=f"It {rule}; correct the camera URI.",
        )


def parse_uri(text: str) -> CameraUri:
    """Take a camera URI apart.

    A pipeline (`gst://`) and an RTSP address keep their question marks: they have no options of ours.

    Raises:
        ConfigError: It is no URI, or its scheme is unknown.
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        raise ConfigError(f"'{text}' is not a camera URI.", fix=_suggest(text))
    if scheme not in SCHEMES:
        raise ConfigError(
            f"Camera {describe_uri(text)}: unknown scheme '{scheme}'.", fix=_nearest(scheme, SCHEMES, "Known are")
        )
    if scheme in {"gst", "rtsp"}:
        return CameraUri(text, scheme, unquote(rest) if scheme == "gst" else rest)
    target, _, query = rest.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    repeated = [name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index])]
    if repeated:
        raise ConfigError(
            f"Camera {describe_uri(text)}: option '{repeated[0]}' stands there twice.", fix="Keep one of them."
        )
    return CameraUri(text, scheme, unquote(target), dict(pairs))


def describe_uri(text: str) -> str:
    """Return the URI without user names and passwords, for messages and logs; in doubt it hides too much."""
    scheme = text.partition("://")[0]
    if scheme == "gst":
        text = unquote(text)
    # A password may hold '/', '@' and, where the whole text is one address, spaces: it ends at the last '@'.
    login = r"[^/\s]*@" if scheme in _LOCAL else r"\S*@" if scheme == "gst" else r".*@"
    return _SECRET.sub(r"\1***", re.sub(rf"(\w+://){login}", r"\1***@", text))


def _suggest(text: str) -> str:
    path = Path(text).expanduser()
    if path.suffix.lower() in _VIDEOS:
        return f"For a video file write file://{path.absolute()}"
    if text.startswith("/dev/video"):
        return f"For this camera write v4l2://{text}"
    if path.is_dir() or "/" in text:
        return f"For a folder of images write folder://{path.absolute()}"
    return "Write for example folder://PATH, v4l2:///dev/video0 or synthetic://plate."


def _nearest(word: str, known: Collection[str], lead: str) -> str:
    near = difflib.get_close_matches(word, known, 1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"{lead} {', '.join(sorted(known))}.{hint}"
