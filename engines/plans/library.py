"""TensorRT's binding, imported here and nowhere else; without it everything but an engine works.

10.3 to 11 differ in what they still have: 11 has only strongly typed networks, and neither precision flags nor the
flag of explicit batches. Whatever a version lacks is named here, so that the rest of the code is the same for all.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any

from engines.errors import EngineError

OLDEST = (10, 3)
_STRONGLY_TYPED_ONLY = 11
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Library:
    """The binding.

    Attributes:
        trt: The module `tensorrt`.
        version: Such as `10.3.0`, as the binding states it.
    """

    trt: Any
    version: str

    @property
    def has_weak_typing(self) -> bool:
        """Whether a network without types of its own can still be built."""
        return _numbers(self.version)[0] < _STRONGLY_TYPED_ONLY

    def new_log(self) -> Any:
        """Return a logger for the library that remembers complaints.

        It must outlive everything that is made with it. Its `complaints` are warnings and errors, in order.
        """
        trt = self.trt
        # A base class that is known only now.
        base: Any = trt.ILogger

        class Log(base):  # type: ignore[misc]
            def __init__(self) -> None:
                base.__init__(self)
                self.complaints: list[str] = []

            def log(self, severity: Any, message: str) -> None:
                # The library calls this from threads of its own, and an exception here would end the process.
                if severity in (trt.ILogger.WARNING, trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                    self.complaints.append(message)
                    _LOG.warning("%s", message)
                else:
                    _LOG.debug("%s", message)

        return Log()


def load_library() -> Library:
    """Import TensorRT.

    Raises:
        EngineError: It is not installed, or older than 10.3.
    """
    try:
        import tensorrt as trt
    except ImportError as problem:
        raise EngineError(
            f"TensorRT cannot be imported: {problem}.",
            fix="On a Jetson it comes with JetPack: make the environment with `python3 -m venv --system-site-packages`. "
            "Elsewhere use the engine `cpu`.",
        ) from problem
    version = str(trt.__version__)
    if _numbers(version)[:2] < OLDEST:
        raise EngineError(
            f"TensorRT is {version}; 10.3 is the oldest that works.", fix="Update to JetPack 6.1 or newer."
        )
    return Library(trt, version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
