"""Where a training runs, and how it multiplies there."""

import pytest

from engines.device import is_faster_in_bf16


@pytest.mark.parametrize(
    ("vendor", "flags", "faster"),
    [
        ("AuthenticAMD", "fma avx2 avx512f avx512_bf16", True),
        ("AuthenticAMD", "fma avx2", False),
        ("GenuineIntel", "fma avx512f avx512_bf16 amx_bf16 amx_tile", True),
        ("GenuineIntel", "fma avx512f avx512_bf16 avx512_fp16", False),
        ("GenuineIntel", "fma avx512f", False),
    ],
)
def test_bf16_is_used_where_it_is_faster(tmp_path, vendor, flags, faster):
    described = tmp_path / "cpuinfo"
    described.write_text(f"vendor_id\t: {vendor}\nflags\t\t: {flags}\n")
    assert is_faster_in_bf16(described) is faster


def test_a_processor_that_describes_itself_otherwise_trains_in_float32(tmp_path):
    assert not is_faster_in_bf16(tmp_path / "missing")
