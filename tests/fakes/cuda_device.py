"""What the simulated device is: the settings of one machine and the attributes that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class DeviceSettings:
    """One device; the defaults are a Jetson Orin.

    `host_pointer_is_device_pointer` is CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM. With `strict_aliases` even memory of
    `cuMemHostAlloc` gets a device address of its own, as on a machine without unified addressing: code that asks
    for the device pointer works with both.
    """

    name: str = "Orin"
    compute_capability: tuple[int, int] = (8, 7)
    integrated: bool = True
    host_register_supported: bool = True
    host_pointer_is_device_pointer: bool = False
    strict_aliases: bool = True
    concurrent_managed_access: bool = False
    total_bytes: int = 512 * MIB
    driver_version: int = 12060
    uuid: bytes = bytes(range(16))
    pci_bus_id: str = "0000:00:00.0"
    multiprocessors: int = 8

    def attribute(self, number: int) -> int:
        """Return a device attribute by the number of `CUdevice_attribute`; 0 for those that are not modelled."""
        return {
            16: self.multiprocessors,
            18: int(self.integrated),
            19: 1,
            41: 1,
            75: self.compute_capability[0],
            76: self.compute_capability[1],
            83: 1,
            89: int(self.concurrent_managed_access),
            91: int(self.host_pointer_is_device_pointer),
            99: int(self.host_register_supported),
            113: 1,
        }.get(number, 0)


def discrete_device(**changes: object) -> DeviceSettings:
    """Return the settings of a card in a slot."""
    settings = {
        "name": "NVIDIA RTX A2000",
        "compute_capability": (8, 6),
        "integrated": False,
        "host_pointer_is_device_pointer": True,
        "concurrent_managed_access": True,
        "pci_bus_id": "0000:01:00.0",
    }
    return DeviceSettings(**(settings | changes))


# `CUdevice_attribute` of cuda.bindings 12.9.10; `pycuda.driver.device_attribute` has them without the prefix.
ATTRIBUTES = {
    "MULTIPROCESSOR_COUNT": 16,
    "INTEGRATED": 18,
    "CAN_MAP_HOST_MEMORY": 19,
    "PCI_BUS_ID": 33,
    "PCI_DEVICE_ID": 34,
    "UNIFIED_ADDRESSING": 41,
    "PCI_DOMAIN_ID": 50,
    "COMPUTE_CAPABILITY_MAJOR": 75,
    "COMPUTE_CAPABILITY_MINOR": 76,
    "MANAGED_MEMORY": 83,
    "PAGEABLE_MEMORY_ACCESS": 88,
    "CONCURRENT_MANAGED_ACCESS": 89,
    "CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM": 91,
    "HOST_REGISTER_SUPPORTED": 99,
    "PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES": 100,
}
