"""Allocating, registering and freeing memory, and finding what an address means."""

from __future__ import annotations

from fakes.cuda_codes import CUresult
from fakes.cuda_memory import ALIGNMENT, DEVICE_MAP, PAGE, READ_ONLY, Block, mapping_of
from fakes.cuda_state import MachineState
from fakes.cuda_work import Use, pending


class Allocations(MachineState):
    """The part of `CudaMachine` that knows memory."""

    def alloc_device(self, nbytes: int) -> Block:
        context = self.enter("cuMemAlloc", unsafe=True)
        return self.memory.allocate("device", nbytes, flags=0, context=context)

    def alloc_host(self, nbytes: int, flags: int) -> Block:
        context = self.enter("cuMemHostAlloc", unsafe=True)
        same = not self.settings.strict_aliases and not flags & 0x04
        return self.memory.allocate("pinned", nbytes, flags=flags, context=context, same_address=same)

    def alloc_managed(self, nbytes: int, flags: int) -> Block:
        context = self.enter("cuMemAllocManaged", unsafe=True)
        if flags not in {1, 2}:
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_VALUE, "managed-flags", f"flags {flags}")
        return self.memory.allocate("managed", nbytes, flags=flags, context=context, same_address=True)

    def register_host(self, address: int, nbytes: int, flags: int) -> Block:
        """Lock the caller's pages; two registrations may not share one."""
        context = self.enter("cuMemHostRegister", unsafe=True)
        if not self.settings.host_register_supported:
            raise self.refuse(CUresult.CUDA_ERROR_NOT_SUPPORTED, "register-supported", "this device cannot register")
        if address % PAGE or nbytes <= 0:
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_VALUE, "register-page", f"{address:#x}, {nbytes} bytes")
        mapping = mapping_of(address, nbytes)
        if mapping is None:
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_VALUE, "register-mapped", f"{address:#x}, {nbytes} bytes")
        if mapping == "r" and not flags & READ_ONLY:
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_VALUE, "register-read-only", f"{address:#x} is read-only")
        end = address + -(-nbytes // PAGE) * PAGE
        for block in self.memory.alive("registered", "pinned", "managed"):
            if address < block.host + -(-block.nbytes // PAGE) * PAGE and block.host < end:
                code = CUresult.CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED
                raise self.refuse(code, "register-twice", f"{address:#x} shares a page with {block.host:#x}")
        same = self.settings.host_pointer_is_device_pointer
        return self.memory.register(address, nbytes, flags=flags, context=context, same_address=same)

    def unregister_host(self, address: int) -> None:
        self.enter("cuMemHostUnregister", unsafe=True)
        found = [block for block in self.memory.alive("registered") if block.host == address]
        if not found:
            code = CUresult.CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED
            raise self.refuse(code, "unregister-unknown", f"{address:#x} is no base address of a registration")
        self._bury(found[0])

    def device_pointer(self, address: int, flags: int = 0) -> int:
        """Return the address by which the device sees host memory; inside a block the offset is kept."""
        self.enter("cuMemHostGetDevicePointer")
        block = self.memory.by_host(address)
        if block is None or flags or block.kind == "managed":
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_VALUE, "device-pointer", f"{address:#x} is not locked")
        if not block.flags & DEVICE_MAP:
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_VALUE, "device-map", f"{address:#x} has no DEVICEMAP flag")
        return block.device + address - block.host

    def free_device(self, address: int) -> None:
        """Free device or managed memory by its first address."""
        self.enter("cuMemFree", unsafe=True)
        self._bury(self._owned(address, "device", "managed"))

    def free_host(self, address: int) -> None:
        self.enter("cuMemFreeHost", unsafe=True)
        found = [block for block in self.memory.alive("pinned") if block.host == address]
        if not found:
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_VALUE, "free-twice", f"{address:#x} is not allocated")
        self._bury(found[0])

    def use(self, address: int, nbytes: int, *, writes: bool) -> Use:
        """Check a range of device addresses and return it for a piece of work.

        Raises:
            CudaError: No memory of the device lies there, or it ends too early.
            BrokenRuleError: The memory was freed.
        """
        block = self.memory.by_device(address)
        if block is None:
            host = self.memory.by_host(address) is not None or mapping_of(address, 1) is not None
            what = f"{address:#x} is {'a host pointer' if host else 'no address of the device'}"
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_VALUE, "device-pointer" if host else "bounds", what)
        if not block.alive:
            raise self.broke("use-after-free", f"{address:#x} was freed")
        if address + nbytes > block.device + block.nbytes:
            detail = f"{nbytes} bytes at {address:#x} end beyond {block.nbytes} bytes at {block.device:#x}"
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_VALUE, "bounds", detail)
        if writes and block.flags & READ_ONLY and block.kind == "registered":
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_VALUE, "register-read-only", f"{address:#x} is read-only")
        return Use(block, address, address + nbytes, writes)

    def is_aligned(self, address: int) -> bool:
        return address % ALIGNMENT == 0

    def _owned(self, address: int, *kinds: str) -> Block:
        block = self.memory.by_device(address)
        if block is None or not block.alive or block.kind not in kinds or block.device != address:
            raise self.refuse(CUresult.CUDA_ERROR_INVALID_VALUE, "free-twice", f"{address:#x} is not allocated")
        return block

    def _bury(self, block: Block) -> None:
        for task in pending(self.streams.values()):
            if any(use.block is block for use in task.work.uses):
                raise self.broke(
                    "free-in-flight", f"{block.kind} memory {block.device:#x} is used by {task.work.label}"
                )
        block.alive = False
