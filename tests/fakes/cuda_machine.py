"""The one simulated CUDA device that all fakes of a test share."""

from __future__ import annotations

from fakes.cuda_allocations import Allocations
from fakes.cuda_contexts import Contexts
from fakes.cuda_device import DeviceSettings
from fakes.cuda_graphs import Graphs
from fakes.cuda_streams import Copies


class CudaMachine(Contexts, Allocations, Copies, Graphs):
    """A machine with one device.

    Its methods are the driver's functions. They raise `CudaError` where the driver returns a code and
    `BrokenRuleError` where it would notice nothing and go wrong.
    """

    def __init__(self, settings: DeviceSettings | None = None) -> None:
        super().__init__(settings or DeviceSettings())
