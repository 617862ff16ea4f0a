"""CUDA tensors for a torch without CUDA: tensors whose numbers lie in the memory of the simulated device.

The CPU can compute with them, which real CUDA tensors would not allow from NumPy; otherwise `data_ptr()` is an address
of the device, `is_cuda` and `device` say so, slices have addresses inside the same block, and the memory is given back
with the last tensor that uses it. torch makes its own context, so none needs to be current.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from fakes.cuda_machine import CudaMachine


def device_tensor_type(machine: CudaMachine) -> type[torch.Tensor]:
    """Make the class of the tensors that lie on a machine's device."""

    class DeviceTensor(torch.Tensor):
        is_cuda = property(lambda _: True)
        device = property(lambda _: torch.device("cuda", 0))

        def data_ptr(self) -> int:
            address = super().data_ptr()
            for block in machine.memory.alive("device"):
                offset = address - block.backing.ctypes.data
                if 0 <= offset < block.nbytes:
                    return block.device + offset
            return address

        def cpu(self) -> torch.Tensor:
            return self.as_subclass(torch.Tensor).clone()

    return DeviceTensor


def on_device(machine: CudaMachine, tensor: torch.Tensor) -> torch.Tensor:
    """Copy a tensor into new memory of the device, contiguously; one that lies there stays as it is."""
    if isinstance(tensor, machine.tensor_type):
        return tensor
    values = tensor.detach().as_subclass(torch.Tensor).contiguous().numpy()
    block = machine.memory.allocate("device", values.nbytes, flags=0, context=machine.primary)
    # An array of its own, whose end is that of the last tensor.
    lent = block.backing[:]
    weakref.finalize(lent, setattr, block, "alive", False)  # noqa: FBT003 - no call
    lent[:] = values.reshape(-1).view(np.uint8)
    made = torch.from_numpy(lent).view(tensor.dtype).reshape(tensor.shape)
    return made.as_subclass(machine.tensor_type)


@contextmanager
def cuda_tensors(machine: CudaMachine) -> Iterator[None]:
    """Let `tensor.cuda()` and `tensor.to("cuda")` work on a machine."""
    machine.tensor_type = device_tensor_type(machine)
    plain_to = torch.Tensor.to

    def to(self: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        device = kwargs.get("device", args[0] if args else None)
        if isinstance(device, str | torch.device) and torch.device(device).type == "cuda":
            return on_device(machine, self)
        return plain_to(self, *args, **kwargs)

    plain_cuda = torch.Tensor.cuda
    torch.Tensor.cuda, torch.Tensor.to = (lambda self, *_, **__: on_device(machine, self)), to
    try:
        yield
    finally:
        torch.Tensor.cuda, torch.Tensor.to = plain_cuda, plain_to
