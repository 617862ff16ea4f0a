"""Every error of the three commands, sorted by who must act.

AgentError
|- ConfigError            a person edits a file                       exit 78, no restart
|  |- StationFileError    the station file
|  |- RecipeError         a recipe is damaged, missing or foreign
|  |- ThresholdsError     a threshold revision is missing or belongs to another model
|  |- DatasetError        images or labels                            exit 65
|  |  |- NoInputError     there are none                              exit 66
|  |- PromiseError        the wished false-reject rate cannot be met  exit 65
|- UsageError             the command line                            exit 64
|- FrameError             this frame only: INVALID, carry on          exit 65
|- MessageError           a message from outside is malformed        exit 65
|- DeviceError            hardware: back off and try again            exit 69
|  |- CameraError         the camera cannot be opened, or is lost
|  |- EngineError         the engine cannot be loaded, or failed
|  |- OutboxError         the outbox cannot be read or written        exit 74
|  |- StorageError        a disk is full, or fails                    exit 74
|- PublishError           the broker: the verdict stays in the outbox exit 75
|  |- BrokerRefusedError  it is there, but does not let us in
"""

from __future__ import annotations


class AgentError(Exception):
    """What went wrong, and what to do about it."""

    exit_code = 70

    def __init__(self, problem: str, *, fix: str) -> None:
        super().__init__(f"{problem} {fix}")
        self.problem = problem
        self.fix = fix


class ConfigError(AgentError):
    """A person must edit a file; a restart does not help."""

    exit_code = 78


class StationFileError(ConfigError):
    """The station file has mistakes; `problem` lists them all."""


class RecipeError(ConfigError):
    """A recipe is incomplete, altered, or not the one expected."""


class ThresholdsError(ConfigError):
    """A threshold revision is missing, damaged, or was fitted on another model."""


class DatasetError(ConfigError):
    """Images, masks or labels cannot be used."""

    exit_code = 65


class NoInputError(DatasetError):
    """A folder or file that should hold the input does not exist or is empty."""

    exit_code = 66


class PromiseError(ConfigError):
    """The good parts do not support the false-reject rate that was asked for."""

    exit_code = 65


class UsageError(AgentError):
    """The command line contradicts itself."""

    exit_code = 64


class FrameError(AgentError):
    """One frame cannot be judged; `reason` is what its INVALID verdict says."""

    exit_code = 65

    def __init__(self, problem: str, *, reason: str, fix: str) -> None:
        super().__init__(problem, fix=fix)
        self.reason = reason


class MessageError(AgentError):
    """A message from outside is malformed; nothing was changed by it."""

    exit_code = 65


class DeviceError(AgentError):
    """Hardware or the operating system refused; trying again later may help."""

    exit_code = 69


class CameraError(DeviceError):
    """The camera cannot be opened, or stopped delivering."""


class EngineError(DeviceError):
    """The engine cannot be loaded on this machine, or an inference failed."""


class NotRejectedError(EngineError):
    """A part that is known to be bad was not rejected: thresholds and engine do not belong together."""


class OutboxError(DeviceError):
    """The outbox cannot be read or written; nothing may be accepted until it can."""

    exit_code = 74


class StorageError(DeviceError):
    """A disk is full or failed; what was being written is incomplete."""

    exit_code = 74


class PublishError(AgentError):
    """The broker is away or refuses us; what was to be sent stays in the outbox."""

    exit_code = 75


class BrokerRefusedError(PublishError):
    """The broker refuses the login or a topic: a person must act, there or here."""
