import mmap
import os
import subprocess
import sys

import numpy as np
import pytest

from edge_agent.ring import FrameRing
from engines.errors import DeviceError

SHAPE = (80, 96, 3)
WRITER = """
import os, signal, sys
from edge_agent.ring import FrameRing
ring = FrameRing.attach(int(sys.argv[1]), (80, 96, 3), 2)
ring.begin_write(1)
ring.slot(1)[...] = 200
if sys.argv[2] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
ring.end_write(1)
"""


@pytest.fixture
def ring():
    ring = FrameRing.create(SHAPE, 2)
    yield ring
    ring.close()


def write_elsewhere(ring, how):
    command = [sys.executable, "-c", WRITER, str(ring.fd), how]
    return subprocess.run(command, pass_fds=[ring.fd], timeout=20, check=False).returncode


def test_slots_are_page_aligned_contiguous_and_always_the_same_array(ring):
    for index in range(len(ring)):
        slot = ring.slot(index)
        assert slot.shape == SHAPE
        assert slot.dtype == np.uint8
        assert slot.flags.c_contiguous
        assert slot.ctypes.data % mmap.PAGESIZE == 0
        assert ring.slot(index) is slot
    assert not np.shares_memory(ring.slot(0), ring.slot(1))


def test_another_process_writes_into_the_same_memory(ring):
    slot, address = ring.slot(1), ring.slot(1).ctypes.data
    assert write_elsewhere(ring, "finish") == 0
    assert (slot == 200).all()
    assert (ring.slot(0) == 0).all()
    assert [ring.generation(0), ring.generation(1)] == [0, 2]
    assert ring.slot(1).ctypes.data == address


def test_a_writer_that_dies_leaves_an_odd_generation_that_the_next_one_takes_over(ring):
    address = ring.slot(1).ctypes.data
    assert write_elsewhere(ring, "die") == -9
    assert ring.generation(1) == 1
    assert write_elsewhere(ring, "finish") == 0
    assert ring.generation(1) == 4
    assert ring.slot(1).ctypes.data == address


def test_generation_is_odd_only_while_writing(ring):
    ring.begin_write(0)
    assert ring.generation(0) % 2 == 1
    ring.end_write(0)
    assert ring.generation(0) == 2


def test_nobody_can_shrink_the_memory_under_a_reader(ring):
    with pytest.raises(PermissionError):
        os.ftruncate(ring.fd, 4096)


def test_attaching_with_another_shape_is_refused(ring):
    fd = os.dup(ring.fd)
    with pytest.raises(DeviceError, match="same installation"):
        FrameRing.attach(fd, (160, 96, 3), 2)
    os.close(fd)


@pytest.mark.parametrize(("shape", "slots"), [((0, 96, 3), 2), ((80, 96, 3), 0)])
def test_empty_rings_are_refused(shape, slots):
    with pytest.raises(ValueError, match="at least 1"):
        FrameRing.create(shape, slots)


def test_too_large_a_ring_says_how_much_it_needs():
    with pytest.raises(DeviceError, match="MB of memory"):
        FrameRing.create((1 << 20, 1 << 20, 4), 1 << 20)


def test_close_without_views_unmaps():
    ring = FrameRing.create(SHAPE, 1)
    assert ring.close()
    assert ring.close()
    assert ring.fd == -1
    with pytest.raises(ValueError, match="closed"):
        ring.generation(0)


def test_a_view_stays_valid_after_close_and_close_says_so():
    ring = FrameRing.create(SHAPE, 1)
    view = ring.slot(0)
    assert not ring.close()
    view[...] = 7
    assert (view == 7).all()
    del view
    assert ring.close()
