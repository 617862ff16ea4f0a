"""A part whose trigger was read late is nobody's, and the next one must agree first."""

import time
from types import SimpleNamespace

from edge_agent.camera.messages import CameraOpened, FrameCaptured
from edge_agent.inspection import Trigger
from edge_agent.outbox_records import OpenTrigger
from edge_agent.paired_capture import PairedCapture
from edge_agent.pairing import KNOWN_WITHIN_NS
from edge_agent.station import TriggerPart

LIMITS = TriggerPart(deadline_ms=2000, dedupe_window_s=60, pair_min_ms=-10, pair_max_ms=10)


def come_alone(capture, number, *, waited_ns=0):
    """Let a trigger come and its frame, alone; return the part."""
    received_ns = time.monotonic_ns()
    capture.expect(received_ns)
    capture.note(FrameCaptured(number, 0, 2, received_ns, received_ns, received_ns, "frame", number))
    return OpenTrigger(number, Trigger(number, None, None, None, None, received_ns, waited_ns))


def judge_alone(capture, number, *, waited_ns=0):
    """Let a trigger come and its frame, alone; return why that is not believed."""
    part = come_alone(capture, number, waited_ns=waited_ns)
    event = capture.frame_for(part)
    reason = capture.unfit(event, part)
    capture.done(part)
    # Beyond this part's window.
    time.sleep(0.05)
    return reason


def test_a_trigger_that_was_read_late_is_not_believed_nor_the_part_behind_it():
    capture = PairedCapture(SimpleNamespace(is_open=False), None, LIMITS, time.sleep)
    capture.note(CameraOpened((80, 96, 3), is_live=True, is_simulated=True))
    time.sleep(0.05)
    waited = [0, KNOWN_WITHIN_NS, KNOWN_WITHIN_NS + 1, 0, 0]
    reasons = [judge_alone(capture, number, waited_ns=one) for number, one in enumerate(waited)]
    assert reasons == [None, None, "ambiguous_pairing", "frame_gap", None]


def test_the_wait_for_the_window_is_told_apart_from_the_inference():
    capture = PairedCapture(SimpleNamespace(is_open=False), None, LIMITS, time.sleep)
    part = come_alone(capture, 1)
    event = capture.frame_for(part)
    time.sleep(0.02)
    judged_ns = time.monotonic_ns()
    capture.unfit(event, part)
    settled_ns = part.trigger.received_ns + 10_000_000 + KNOWN_WITHIN_NS
    took_ns = time.monotonic_ns() - part.trigger.received_ns
    assert max(0, settled_ns - judged_ns) <= capture.overlapping_wait_ns <= took_ns - 20_000_000
