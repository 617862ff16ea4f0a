"""A threshold revision in words."""

from __future__ import annotations

from collections.abc import Iterator

from calibrate.figures import percent
from calibrate.unit import BLOCK_NOTE, GOOD, rests_on
from edge_agent.thresholds import ThresholdRevision

_SHOWN_SUSPECTS = 10


def describe(revision: ThresholdRevision) -> Iterator[str]:
    """Say a revision's promise as a technician would read it to a colleague, line by line."""
    calibration, promise = revision.calibration, revision.calibration.promise
    yield f"Threshold revision {revision.name}: factor {revision.factor:.3f}, minimum area {revision.min_area_map_px} map px."
    if promise.void:
        yield f"Nothing is promised: {promise.void}."
    else:
        yield (
            f"Promise: of new {GOOD[promise.unit]}, about {promise.expected_rate:.2%} will be rejected "
            f"(95 % bound {promise.bound_95:.2%}), asked was {promise.wished_rate:.2%}."
        )
    yield f"It rests on {rests_on(promise)} that the network never saw."
    if promise.unit == "block":
        yield BLOCK_NOTE
    if calibration.note:
        yield f"Note: {calibration.note}"
    if calibration.excluded:
        yield f"Given that these show no good part, and were left out: {', '.join(calibration.excluded)}."
    if calibration.suspects:
        shown = ", ".join(calibration.suspects[:_SHOWN_SUSPECTS])
        more = len(calibration.suspects) - _SHOWN_SUSPECTS
        yield f"Suspects, which stand out among the good frames: {shown}{f' and {more} more' if more > 0 else ''}."
        yield (
            "Look at them, all count for the promise; if one shows no good part, fit again with --exclude NAME. In what is "
            "usual a few have no say; more than may be rejected do, as a kind of good part."
        )
    if calibration.ignored_share:
        yield f"Never inspected: {percent(calibration.ignored_share)} of the region, as --ignore says."
    yield f"It belongs to the {calibration.model} model {calibration.model_sha256[:12]}."
