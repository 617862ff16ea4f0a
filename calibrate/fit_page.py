"""The page of a fit: what is promised, what would be caught, and which frames a person should look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import product, takewhile
from pathlib import Path
from typing import Any

from calibrate.conformal import groups_needed, more_needed, rate_bound
from calibrate.figures import percent
from calibrate.fitted_frames import read_fitted_frames
from calibrate.known_frames import read_known_frames
from calibrate.metrics import ImageResult
from calibrate.page import picture_row, row, write_page
from calibrate.pictures import colour, heat, resized, shade
from calibrate.probe_defects import KINDS
from calibrate.recipe_engine import RecipeEngine
from calibrate.score_plots import histogram
from calibrate.sensitivity import CONTRASTS, PLACES, Trial, caught, read_card
from calibrate.unit import BLOCK_NOTE, GOOD, rests_on
from edge_agent.decision import z_map
from edge_agent.thresholds import Promise, ThresholdRevision

_PICTURE_PX = 240
_SHOWN_SUSPECTS = 12
_SETTINGS = (1, 2, 3, 5, 8, 13, 21)
_UNLABELLED = """<h2>Rejected frames that nobody has labelled</h2>
<p>They lie in the collection's folder <code>rejected</code>. Look at each, move it to <code>good</code> or to
<code>defective</code> beside it, and fit again: until then nothing is promised.</p>"""
_WISHES = (0.01, 0.001)
_LARGEST_ONE_IN = 0.1


def write_fit_page(
    engine: RecipeEngine,
    revision: ThresholdRevision,
    images: Path,
    page: Path,
    *,
    rejects: Sequence[float | None] = (),
    unlabelled: Sequence[str] = (),
) -> None:
    """Write the page of a revision that `fit` has just made.

    Args:
        engine: That it was fitted on.
        revision: Saved, with its sensitivity card.
        images: The good frames.
        page: The HTML file.
        rejects: Scores of frames that earlier thresholds rejected, None for those that cannot be scored.
        unlabelled: Names of rejected frames among the images that wait for a person.

    Raises:
        ThresholdsError: The revision has no card.
        DatasetError: A frame cannot be read any more.
    """
    calibration, promise = revision.calibration, revision.calibration.promise
    content = read_card(engine.folder, revision.name)
    frames = read_fitted_frames(engine.folder, revision.name)
    is_halved = read_known_frames(engine.folder).say_too_little((f["sha256"], f["use"]) for f in frames)
    scores = _group_scores(frames)
    results = [ImageResult(is_good=True, score=score, verdict="PASS", group="") for score in scores]
    judged = [score for score in rejects if score is not None]
    write_page(
        page,
        f"{engine.recipe.name}: thresholds {revision.name}",
        "fit.html",
        {
            "name": escape(engine.recipe.name),
            "revision": escape(revision.name),
            "origin": escape(
                f"Fitted {calibration.created[:10]} by {calibration.made_by}, for the {calibration.model} model "
                f"{calibration.model_sha256[:12]}. {calibration.note}"
            ),
            "headline": escape(_headline(promise)),
            "cards": "".join(_cards(revision, content)),
            "rests": "".join(f"<p>{escape(line)}</p>" for line in _rests(revision, is_halved=is_halved)),
            "plots": histogram(results, revision.factor),
            "card": _card_table(content),
            "places": _place_table(content),
            "settings": _settings_table(scores, content, revision.factor, judged, is_promised=not promise.void),
            "left_out": escape(_left_out(len(rejects) - len(judged))),
            "suspects": escape(_suspects(calibration.suspects)),
            "suspect_pictures": "".join(_pictures(engine, revision, images, calibration.suspects)),
            "unlabelled": _UNLABELLED if unlabelled else "",
            "unlabelled_pictures": "".join(_pictures(engine, revision, images, unlabelled)),
            "maps": picture_row(_map_pictures(revision)),
        },
    )


def _headline(promise: Promise) -> str:
    if promise.void:
        return f"Nothing is promised: {promise.void}."
    # Of larger shares a whole number would say something else: 67 % are not 1 in 1.
    one_in = f": 1 in {round(1 / promise.expected_rate)}" if promise.expected_rate <= _LARGEST_ONE_IN else ""
    return f"Of new {GOOD[promise.unit]}, about {percent(promise.expected_rate)} will be rejected{one_in}."


def _group_scores(frames: Sequence[Mapping[str, str]]) -> list[float]:
    """Return the largest score of each group that gave the factor."""
    largest: dict[str, float] = {}
    for line in frames:
        if line["use"] == "factor":
            largest[line["group"]] = max(float(line["score"]), largest.get(line["group"], float("-inf")))
    return sorted(largest.values())


def _cards(revision: ThresholdRevision, content: Mapping[str, Any]) -> Iterator[str]:
    promise = revision.calibration.promise
    if not promise.void:
        yield _card(f"≤ {percent(promise.bound_95)}", f"of new {GOOD[promise.unit]} rejected, with 95 % confidence")
    yield _card(str(promise.groups), f"{rests_on(promise).partition(' ')[2]} that the network never saw")
    spots = [cell for cell in content["by_defect"] if (cell["kind"], cell["contrast"]) == ("spot", CONTRASTS[-1])]
    sure = [*takewhile(lambda cell: 0 < cell["of"] == cell["caught"], sorted(spots, key=lambda c: -c["size_px"]))]
    if sure:
        yield _card(
            f"{sure[-1]['size_px']:g} px", f"and larger: every drawn spot of contrast {CONTRASTS[-1]} was caught"
        )


def _card(figure: str, words: str) -> str:
    return f'<div class="card"><b>{escape(figure)}</b>{escape(words)}</div>'


def _rests(revision: ThresholdRevision, *, is_halved: bool) -> Iterator[str]:
    calibration, promise = revision.calibration, revision.calibration.promise
    if promise.void:
        yield f"The limit comes from {rests_on(promise)} that were accepted, and from no rejected one."
    else:
        yield from _support(promise, is_halved=is_halved)
    if calibration.excluded:
        yield f"It is given that these show no good part, and were left out: {', '.join(calibration.excluded)}."
    if calibration.ignored_share:
        yield f"{percent(calibration.ignored_share)} of the region is never inspected."


def _support(promise: Promise, *, is_halved: bool) -> Iterator[str]:
    yield (
        f"{rests_on(promise)} were kept from the network and set the limit. With so many, nothing below "
        f"1 in {promise.groups + 1} ({percent(1 / (promise.groups + 1))}) can be promised."
    )
    missing = [(wish, groups_needed(wish, confident=False)) for wish in _WISHES if promise.expected_rate > wish]
    for wish, needed in missing:
        more = more_needed(needed, promise.groups, halved=1 if is_halved else 0)
        yield (
            f"To promise {percent(wish)}, {needed:,} {GOOD[promise.unit]} are needed: {more:,} more, half of which say what "
            "is usual."
        )
    if promise.unit == "block":
        yield BLOCK_NOTE
    yield (
        "The promise holds for parts like these: the same light, camera and position. It does not speak of parts of "
        "another day, another supplier or a cleaned lens; then fit again."
    )


def _card_table(content: Mapping[str, Any]) -> str:
    cells = {(c["kind"], c["size_px"], c["contrast"]): c for c in content["by_defect"]}
    sizes = sorted({size for _, size, _ in cells})
    head = row("", [f"contrast {contrast}" for contrast in CONTRASTS])
    body = "".join(
        f"<tr><th>{kind}, {size:g} px</th>{''.join(_cell(cells[kind, size, contrast]) for contrast in CONTRASTS)}</tr>"
        for kind, size in product(KINDS, sizes)
    )
    return f"<thead>{head}</thead><tbody>{body}</tbody>"


def _place_table(content: Mapping[str, Any]) -> str:
    cells = {(c["row"], c["column"]): c for c in content["by_place"]}
    return "".join(
        f"<tr>{''.join(_cell(cells[line, column]) for column in range(PLACES))}</tr>" for line in range(PLACES)
    )


def _cell(cell: Mapping[str, Any]) -> str:
    """Return a share with its interval, on a ground that is the greener the more was caught."""
    if not cell["of"]:
        return "<td>-</td>"
    share = cell["caught"] / cell["of"]
    ground = f"background: color-mix(in srgb, var(--right) {round(70 * share)}%, transparent)"
    return (
        f'<td class="share" style="{ground}">{share:.0%}<br><small>{cell["low"]:.0%} to {cell["high"]:.0%}</small></td>'
    )


def _settings_table(
    scores: Sequence[float], content: Mapping[str, Any], factor: float, rejects: Sequence[float], *, is_promised: bool
) -> str:
    """Return what other ranks of the same scores promise, if anything, and what of defects and rejects they catch."""
    trials = [Trial(**{**trial, "place": tuple(trial["place"])}) for trial in content["trials"]]
    n = len(scores)
    lines = []
    # The list of images keeps six digits.
    chosen = sum(one > factor * (1 + 1e-5) for one in scores) + 1
    for rank in sorted({chosen, *(rank for rank in _SETTINGS if rank <= n)}):
        limit, mark = (factor, "in this revision") if rank == chosen else (scores[n - rank], "")
        found, total = caught(trials, limit)
        cells = [f"{limit:.1f}", f"{found} of {total}"]
        if rejects:
            cells.append(f"{sum(one > limit for one in rejects)} of {len(rejects)}")
        if is_promised:
            lines.append(row(percent(rank / (n + 1)), [percent(rate_bound(n, rank)), *cells, mark]))
        else:
            lines.append(row(f"{rank - 1} of {n}", [*cells, mark]))
    titles = ["limit", "drawn defects caught"]
    if rejects:
        titles.append("archived rejects rejected again")
    if is_promised:
        head = row("promised false rejects", ["at most, with 95 % confidence", *titles, ""])
    else:
        head = row("of these rejected", [*titles, ""])
    return f"<thead>{head}</thead><tbody>{''.join(lines)}</tbody>"


def _left_out(rejects: int) -> str:
    if not rejects:
        return ""
    return f"Archived rejects that are left out, for they are of another recipe or size or cannot be read: {rejects}."


def _suspects(names: Sequence[str]) -> str:
    if not names:
        return "None."
    more = f" The first {_SHOWN_SUSPECTS} of {len(names)} are shown." if len(names) > _SHOWN_SUSPECTS else ""
    return (
        "Look at them: a defective part among the good ones makes the limit too lenient. All count for the promise; to take "
        "one out, fit again with --exclude and its name, and the promise will say so. In what is usual a few have no say; "
        f"more than may be rejected do, as a kind of good part.{more}"
    )


def _pictures(engine: RecipeEngine, revision: ThresholdRevision, images: Path, names: Sequence[str]) -> Iterator[str]:
    for name in names[:_SHOWN_SUSPECTS]:
        loaded = engine.load(images / name)
        z = z_map(engine.maps(loaded.pixels), engine.thresholds_for(loaded, revision))
        pictures = [
            (name, resized(colour(loaded.pixels), _PICTURE_PX)),
            ("what stands out", resized(heat(z, revision.factor), _PICTURE_PX)),
        ]
        yield f"<section>{picture_row(pictures)}</section>"


def _map_pictures(revision: ThresholdRevision) -> list[tuple[str, Any]]:
    inspected = ~revision.ignored
    return [
        ("usual error", resized(shade(revision.location.sum(axis=0), inspected), _PICTURE_PX)),
        ("how much it varies", resized(shade(revision.scale.sum(axis=0), inspected), _PICTURE_PX)),
    ]
