"""The long round fails when it must, and its tables can be written from any rows."""

import pytest

from chaos.tables import failures, tables

ORIGIN = {"commit": "abc", "machine": {"processor": "one", "cpus": 2}, "load": 1.0, "run": "1"}


def kill(study="kills", violations=None):
    return {
        "study": study,
        "victim": "daemon",
        "step": "sent",
        "recovered_s": 1.5,
        "violations": violations or {},
        **ORIGIN,
    }


def walk(violations=None):
    return {**kill("walks", violations), "actions": ["ask"] * 30, "parts": 40}


def block(memory_mb=100.0, threads=9, waiting=0):
    used = {"memory_mb": memory_mb, "threads": threads, "descriptors": 20}
    figures = {"frames": 5000, "delivered": 5000, "waiting": waiting, "frames_per_s": 300.0}
    return {"study": "frames", **figures, "agent": used, "camera": used, **ORIGIN}


def fuzzed(failed=None):
    figures = {"decoder": "station_file", "inputs": 70_000, "seconds": 60, "covered": 900, "kept": 300}
    return {"study": "fuzz", **figures, "failed": failed, **ORIGIN}


GOOD = [kill(), kill("control", {"lost": [1]}), walk(), block(), block(memory_mb=101.9), fuzzed()]


def test_a_round_in_which_all_is_well():
    assert failures(GOOD) == []
    assert "| all | 1 |" in tables(GOOD)
    assert "| 1 | 30 | 40 |" in tables(GOOD)
    assert "10,000 frames" in tables(GOOD)
    assert "| station file | 70,000 | 60 | 900 | 300 | no |" in tables(GOOD)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([kill(violations={"lost": [1]})], "lost"),
        ([walk(violations={"stale": [1]})], "stale"),
        ([kill("control")], "nothing was seen to be lost"),
        ([block(), block(memory_mb=102.1)], "memory_mb went from 100.0 to 102.1"),
        ([block(), block(threads=10)], "threads"),
        ([block(waiting=1)], "1 verdicts stayed"),
        ([fuzzed("RecursionError")], "station_file: RecursionError"),
    ],
)
def test_what_makes_it_fail(rows, says):
    assert any(says in failure for failure in failures(rows))
