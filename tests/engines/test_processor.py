import os
import platform
import subprocess
import sys

import pytest

# What a step does: several blocks of some megabytes, used and given up, again and again.
PROGRAM = """
import os, resource, sys
if sys.argv[1] == "prepared":
    from engines.processor import prepare_processor
    prepare_processor()
for round in range(12):
    if round == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [bytearray(20 << 20) for _ in range(4)]
    del blocks
print(os.environ.get("OMP_WAIT_POLICY"), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(how, **variables):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    policy, faults = answer.stdout.split()
    return policy, int(faults)


def test_threads_sleep_unless_the_user_decides():
    assert run("plain")[0] == "None"
    assert run("prepared")[0] == "PASSIVE"
    assert run("prepared", OMP_WAIT_POLICY="ACTIVE")[0] == "ACTIVE"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_is_kept_for_the_next_step():
    assert run("plain")[1] > 10_000
    assert run("prepared")[1] < 1_000
