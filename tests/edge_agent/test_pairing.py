"""Frames and triggers in every order: whatever comes, no part is judged by the frame of another."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.camera.messages import BadFrame, FrameCaptured, FrameSkipped
from edge_agent.pairing import KNOWN_WITHIN_NS, Pairing, settles_within_ns

MS = 1_000_000
MIN, MAX, PATIENCE = -10, 40, 200


def captured(at_ms, slot=0, seq=0):
    return FrameCaptured(seq, slot, 2, 0, 0, round(at_ms * MS), "frame", seq)


@pytest.fixture
def pairing():
    pairing = Pairing(MIN * MS, MAX * MS, PATIENCE * MS)
    pairing.see_again(0)
    return pairing


def settle(pairing, at_ms):
    return pairing.settle(round(at_ms * MS))


def feed(pairing, triggers=(), frames=(), skipped=()):
    for at_ms in triggers:
        pairing.expect(round(at_ms * MS))
    for slot, at_ms in enumerate(frames):
        pairing.add(captured(at_ms, slot))
    for at_ms in skipped:
        pairing.add(FrameSkipped(round(at_ms * MS)))


@pytest.mark.parametrize(
    ("frame_ms", "reason"),
    [(89.999, "no_frame"), (90, None), (100, None), (140, None), (140.001, "no_frame")],
)
def test_both_ends_of_the_window_belong_to_it(pairing, frame_ms, reason):
    feed(pairing, [100], [frame_ms])
    assert (pairing.frame_of(100 * MS) is None) is (reason is not None)
    assert settle(pairing, 100) == reason


@pytest.mark.parametrize(
    ("triggers", "frames", "reasons"),
    [
        pytest.param([100], [], ["no_frame"], id="none"),
        pytest.param([100], [110, 120], ["ambiguous_pairing"], id="two frames for one trigger"),
        pytest.param([100, 120], [125], ["ambiguous_pairing"] * 2, id="two triggers for one frame"),
        pytest.param([100, 100], [110], ["ambiguous_pairing"] * 2, id="two triggers at the same time"),
        pytest.param([100, 120], [112, 130], ["ambiguous_pairing"] * 2, id="two of each"),
        pytest.param([100, 145], [138, 160], ["ambiguous_pairing"] * 2, id="one frame in both windows"),
        pytest.param([100, 151], [110, 160], [None, None], id="windows that do not touch"),
        pytest.param([100, 140], [105, 160], [None, None], id="windows that overlap, and nothing there"),
    ],
)
def test_only_one_frame_alone_with_one_trigger_is_believed(pairing, triggers, frames, reasons):
    feed(pairing, triggers, frames)
    assert [settle(pairing, at_ms) for at_ms in triggers] == reasons


def test_a_trigger_that_was_answered_still_claims_its_frame(pairing):
    feed(pairing, [100, 120], [125])
    pairing.done(100 * MS)
    pairing.release(126 * MS)
    assert settle(pairing, 120) == "ambiguous_pairing"


def test_a_repeated_trigger_claims_nothing(pairing):
    feed(pairing, [100, 120], [125])
    pairing.forget(100 * MS)
    assert settle(pairing, 120) is None


def test_a_frame_that_could_not_be_read_is_a_frame(pairing):
    feed(pairing, [100], [110])
    pairing.add(BadFrame(1, 1, "unreadable_frame", "", "x", 0, 120 * MS))
    assert settle(pairing, 100) == "ambiguous_pairing"


def test_what_was_lost_makes_parts_invalid_until_one_pair_has_come_alone(pairing):
    feed(pairing, [100, 300, 500], [310, 510], skipped=[110])
    assert pairing.frame_of(100 * MS) is None
    assert [settle(pairing, at_ms) for at_ms in (100, 300, 500)] == ["frame_gap", "frame_gap", None]


def test_a_pair_from_before_the_loss_does_not_show_that_they_agree(pairing):
    feed(pairing, [100, 300, 500], [110, 310, 510], skipped=[200])
    assert [settle(pairing, at_ms) for at_ms in (100, 300, 500)] == ["frame_gap", "frame_gap", None]


def test_after_a_missing_frame_they_must_agree_again(pairing):
    feed(pairing, [100, 300, 500], [310, 510])
    assert [settle(pairing, at_ms) for at_ms in (100, 300, 500)] == ["no_frame", "frame_gap", None]


def test_an_ambiguous_pair_does_not_show_that_they_agree(pairing):
    feed(pairing, [100, 300, 500, 700], [310, 315, 510, 710])
    reasons = [settle(pairing, at_ms) for at_ms in (100, 300, 500, 700)]
    assert reasons == ["no_frame", "ambiguous_pairing", "frame_gap", None]


@pytest.mark.parametrize(("opened_ms", "reason"), [(89.999, None), (90, "frame_gap"), (140, "frame_gap")])
def test_a_window_that_began_before_the_camera_was_open_is_not_believed(opened_ms, reason):
    pairing = Pairing(MIN * MS, MAX * MS, PATIENCE * MS)
    feed(pairing, [100], [120])
    pairing.see_again(round(opened_ms * MS))
    assert settle(pairing, 100) == reason


def test_nothing_is_believed_while_the_camera_is_away(pairing):
    feed(pairing, [100], [120])
    pairing.go_blind()
    assert settle(pairing, 100) == "frame_gap"


@pytest.mark.parametrize(("frames", "settles_ms"), [([], 140), ([95], 140), ([135], 145), ([500], 140)])
def test_a_part_settles_when_no_rival_can_come_any_more(pairing, frames, settles_ms):
    feed(pairing, [100], frames)
    assert pairing.settles_ns(100 * MS) == settles_ms * MS + KNOWN_WITHIN_NS


@pytest.mark.parametrize("min_ms", [-60, -10, 0, 10])
def test_a_part_settles_at_the_latest_with_a_frame_at_the_windows_end(min_ms):
    pairing = Pairing(min_ms * MS, MAX * MS, PATIENCE * MS)
    feed(pairing, [100], [100 + MAX])
    assert pairing.settles_ns(100 * MS) == 100 * MS + settles_within_ns(min_ms * MS, MAX * MS)


def test_a_slot_is_held_until_no_trigger_can_need_its_frame(pairing):
    feed(pairing, [100], [110, 300])
    claimable_until = 300 * MS - MIN * MS + KNOWN_WITHIN_NS
    assert pairing.release(claimable_until - 1) == []
    assert pairing.held_slots() == {1}
    assert [(frame.slot, nearest_ms) for frame, nearest_ms in pairing.release(claimable_until + 1)] == [(1, 200.0)]
    assert pairing.held_slots() == set()
    assert pairing.release(claimable_until + 2) == []


def test_a_part_that_waits_keeps_its_frame_until_it_is_done_or_its_time_is_over(pairing):
    feed(pairing, [100, 400], [110, 410])
    assert pairing.release(299 * MS) == []
    assert pairing.held_slots() == {0, 1}
    pairing.release(301 * MS)
    assert pairing.held_slots() == {1}
    assert pairing.frame_of(100 * MS) is None
    pairing.release(500 * MS)
    assert pairing.held_slots() == {1}
    pairing.done(400 * MS)
    assert pairing.release(500 * MS) == []
    assert pairing.held_slots() == set()


def test_what_is_long_past_is_forgotten(pairing):
    for at_ms in range(0, 10_000, 100):
        feed(pairing, [at_ms], [at_ms + 5])
        pairing.done(at_ms * MS)
        pairing.release(at_ms * MS)
    assert len(pairing._frames) <= 5
    assert len(pairing._triggers) <= 5


# --- every order --------------------------------------------------------------------------------------------------

part = st.fixed_dictionaries(
    {
        "after_ms": st.integers(0, 80),
        "fired_after_ms": st.integers(MIN, MAX),
        "frame": st.sampled_from(["seen", "seen", "seen", "skipped", "lost"]),
        "trigger": st.sampled_from(["sent", "sent", "sent", "lost"]),
    }
)


def run_line(parts):
    """Let all of it happen in its order, settle every trigger when it is due; return (part, frame's part, reason)."""
    events, at_ms = [], 1000
    for number, one in enumerate(parts):
        at_ms += one["after_ms"]
        if one["trigger"] == "sent":
            events.append((at_ms * MS, 0, number))
        if one["frame"] != "lost":
            events.append(((at_ms + one["fired_after_ms"]) * MS, 1 + (one["frame"] == "skipped"), number))
    pairing = Pairing(MIN * MS, MAX * MS, PATIENCE * MS)
    pairing.see_again(0)
    verdicts, waiting = [], []

    def settle_until(now_ns):
        while waiting and pairing.settles_ns(waiting[0][0]) < now_ns:
            received_ns, number = waiting.pop(0)
            event = pairing.frame_of(received_ns)
            reason = pairing.settle(received_ns)
            pairing.done(received_ns)
            verdicts.append((number, None if event is None else event.seq, reason))

    for at_ns, kind, number in sorted(events):
        settle_until(at_ns)
        pairing.release(at_ns)
        if kind == 0:
            pairing.expect(at_ns)
            waiting.append((at_ns, number))
        else:
            pairing.add(FrameSkipped(at_ns) if kind == 2 else captured(at_ns / MS, number, number))
    settle_until(10**18)
    return verdicts


def of_another(verdicts):
    return [(number, frame) for number, frame, reason in verdicts if reason is None and frame not in {number, None}]


@settings(max_examples=400, deadline=None)
@given(st.lists(part, min_size=1, max_size=8))
def test_no_part_is_judged_by_anothers_frame_while_every_trigger_comes(parts):
    assert of_another(run_line([{**one, "trigger": "sent"} for one in parts])) == []


@settings(max_examples=400, deadline=None)
@given(st.lists(part, min_size=1, max_size=8))
def test_no_part_is_judged_by_anothers_frame_while_every_frame_is_known(parts):
    known = [{**one, "frame": "seen" if one["frame"] == "lost" else one["frame"]} for one in parts]
    assert of_another(run_line(known)) == []


@settings(max_examples=200, deadline=None)
@given(st.lists(part, min_size=1, max_size=8))
def test_parts_further_apart_than_the_window_are_all_judged_by_their_own(parts):
    apart = [{**one, "after_ms": 60 + one["after_ms"], "frame": "seen", "trigger": "sent"} for one in parts]
    assert run_line(apart) == [(number, number, None) for number in range(len(parts))]


def test_the_line_of_these_tests_sees_a_wrong_pair():
    """Both a frame and a trigger lost at once looks like a pair, and nothing but the ids of the PLC could tell."""
    seen = {"fired_after_ms": 0, "frame": "seen", "trigger": "lost"}
    lost = {"fired_after_ms": 0, "frame": "lost", "trigger": "sent"}
    assert of_another(run_line([{**seen, "after_ms": 0}, {**lost, "after_ms": 5}])) == [(1, 0)]
