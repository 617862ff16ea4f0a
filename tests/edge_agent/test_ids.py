import uuid

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.ids import kernel_boot_id, new_boot_id, uuid7


@given(st.integers(0, 2**48 * 10**6 - 1))
def test_uuid7_carries_version_variant_and_time(unix_ns):
    value = uuid.UUID(uuid7(unix_ns))
    assert (value.int >> 76) & 0xF == 7
    assert (value.int >> 62) & 0b11 == 0b10
    assert value.int >> 80 == unix_ns // 10**6


def test_uuid7_sorts_by_time_within_a_millisecond():
    ids = [uuid7(1_700_000_000_000_000_000 + step) for step in range(0, 1_000_000, 1000)]
    assert ids == sorted(ids)


def test_boots_differ_and_the_kernel_has_one():
    assert new_boot_id() != new_boot_id()
    assert kernel_boot_id() == kernel_boot_id()
