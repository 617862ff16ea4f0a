"""The rule itself: it finds each way in which a line can lie."""

from dataclasses import replace

import pytest

from chaos.proxy import Witness
from chaos.rule import Evidence, Part, assert_pass_rule, find_violations
from chaos.usage import Usage

ASKED_NS = 1_800_000_000_000_000_000


def verdict(**changes):
    return {
        "result_id": "r1",
        "boot_id": "b1",
        "verdict": "PASS",
        "reasons": [],
        "score": 0.5,
        "frame_seq": 7,
        "captured_at": "2027-01-15T08:00:00.010000Z",
        "decided_at": "2027-01-15T08:00:00.020000Z",
        "latency_ms": 15.0,
        "is_historical": False,
        **changes,
    }


def evidence(*verdicts, action="accept", **changes):
    return Evidence({1: Part(1, ASKED_NS, action, list(verdicts))}, frozenset({1}), **changes)


def test_a_part_with_its_one_verdict_is_well_also_when_that_comes_twice():
    assert_pass_rule(evidence(verdict(), verdict(is_historical=True)))


def test_a_part_that_was_never_accepted_may_time_out():
    assert_pass_rule(replace(evidence(action="reject"), accepted=frozenset()))


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        (evidence(action="reject"), "lost"),
        (evidence(verdict(), verdict(result_id="r2")), "doubled"),
        (evidence(verdict(), verdict(verdict="FAIL")), "contradicted"),
        (evidence(verdict(verdict="FAIL")), "let_go"),
        (evidence(verdict(is_historical=True)), "let_go"),
        (evidence(verdict(captured_at="2027-01-15T07:59:59.999000Z", latency_ms=99.0)), "stale"),
        (evidence(verdict(latency_ms=9.0)), "stale"),
        (evidence(verdict(), action=None), "undecided"),
        (evidence(verdict(), converged_s=[("a fault", 5.1), ("a fault", 0.1)]), "slow_state"),
        (evidence(verdict(), usage=[Usage(100, 9, 20), Usage(150, 9, 20)]), "growth"),
        (evidence(verdict(), usage=[Usage(100, 9, 20), Usage(100, 11, 20)]), "growth"),
        (evidence(verdict(), usage=[Usage(100, 9, 20), Usage(100, 9, 25)]), "growth"),
    ],
)
def test_whatever_breaks_the_rule_is_found(broken, found):
    assert vars(find_violations(broken))[found]
    with pytest.raises(AssertionError):
        assert_pass_rule(broken)


def test_one_frame_may_judge_one_part_only():
    parts = {n: Part(n, ASKED_NS, "accept", [verdict(result_id=f"r{n}")]) for n in (1, 2)}
    assert find_violations(Evidence(parts, frozenset(parts))).stale == [2]


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_the_witness_sees_a_trigger_accepted_however_its_bytes_are_cut(step):
    accepted = []
    witness = Witness(accepted)
    topic, payload = b"edge/v1/test/cell/trigger", b'{"meas_id": 41}' + b" " * 200
    body = len(topic).to_bytes(2, "big") + topic + b"\x00\x07" + payload
    publish = bytes([0x32, len(body) & 0x7F | 0x80, len(body) >> 7]) + body
    other = b"\x40\x02\x00\x08"
    for begin in range(0, len(publish), step):
        witness.see("to_agent", publish[begin : begin + step])
    witness.see("to_broker", other)
    assert accepted == []
    witness.see("to_broker", b"\x40\x02\x00\x07")
    assert accepted == [41]
