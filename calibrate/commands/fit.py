"""`edge-calibrate fit`: a threshold revision from good parts only."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal, get_args

from calibrate.archived_rejects import rejected_below, score_frames
from calibrate.collected import Collected, ask_for_collection, newest_collection, read_collection
from calibrate.commands.activate import TAKEN_UP
from calibrate.conformal import groups_needed, in_all
from calibrate.description import describe
from calibrate.fit import FitWish, fit
from calibrate.fit_page import write_fit_page
from calibrate.groups import BLOCK_FRAMES, GroupBy, write_blocks
from calibrate.recipe_engine import RecipeEngine, has_tensorrt
from calibrate.sensitivity import card_lines, read_card
from edge_agent.camera.recording import Recording, record
from edge_agent.revisions import activate
from edge_agent.station import Station, load_station
from edge_agent.thresholds import ThresholdRevision
from engines.command_line import check_can_write, positive, rate, track, write_json
from engines.errors import PromiseError, StorageError, UsageError
from engines.recipe import THRESHOLDS_FOLDER

HELP = "fit thresholds on good parts and put them in force"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="recipe folder")
    _add_frames(parser)
    _add_wish(parser)
    parser.add_argument("--no-activate", action="store_true", help="write the revision without putting it in force")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page: promise, what is caught, suspects")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the calibration there")


def _add_frames(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="good frames, the set-aside among them; with --camera, where its frames are kept",
    )
    parser.add_argument("--camera", metavar="URI", help="take --frames good frames from a camera first")
    parser.add_argument(
        "--station",
        type=Path,
        metavar="FILE",
        help="take the frames that this station's agent has collected while the line went on, or collects now",
    )
    parser.add_argument(
        "--frames",
        type=positive,
        metavar="N",
        help="how many frames; with --station the running agent begins to collect them",
    )
    parser.add_argument(
        "--rejects",
        type=Path,
        metavar="DIR",
        help="rejected frames: --html says which would be rejected again (default with --station: its archive)",
    )


def _add_wish(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--false-reject-rate",
        type=rate,
        required=True,
        metavar="RATE",
        help="share of good parts that may be rejected: 0.01 is one in a hundred",
    )
    parser.add_argument(
        "--engine",
        choices=["auto", "tensorrt", "cpu"],
        default="auto",
        help="what will run on the line; auto is what the file of --station says, else TensorRT where it is installed "
        "(default: %(default)s)",
    )
    parser.add_argument("--confident", action="store_true", help="ask that the 95 %% bound meets the rate")
    parser.add_argument(
        "--sensitivity",
        type=_sensitivity,
        default=1.0,
        metavar="S",
        help="2 catches defects of half the error, 0.5 rejects fewer good parts; the promise follows (default: %(default)s)",
    )
    parser.add_argument(
        "--min-area-px",
        type=positive,
        metavar="N",
        help="area of the smallest defect that counts, in camera pixels (default: a quarter of the smoothing box)",
    )
    parser.add_argument(
        "--exclude",
        metavar="NAME",
        action="append",
        default=[],
        help="a file that shows no good part after all; the other frames of that part leave with it. Give it again for more. "
        "The promise then says so",
    )
    parser.add_argument(
        "--group-by",
        choices=get_args(GroupBy),
        help="what counts as one: a part, as groups.csv says, a block of 20 frames, or none: each frame (default: what "
        "groups.csv says, else what training was told of the frames that it got, else each frame; of a camera, blocks)",
    )
    parser.add_argument(
        "--ignore", type=Path, metavar="PICTURE", help="what is never inspected, white on black, as large as a frame"
    )
    parser.add_argument("--note", default="", metavar="TEXT", help="why, for the history")


def run(arguments: argparse.Namespace) -> int:
    _check(arguments)
    station = load_station(arguments.station) if arguments.station else None
    if station is not None:
        _check_is_no_copy(arguments.recipe, station)
    chosen = _engine(arguments, station)
    with closing(RecipeEngine(arguments.recipe, model=chosen, runtime=chosen)) as engine:
        wish = _wish(arguments)
        if station is None:
            images = _good_frames(arguments)
        else:
            if arguments.frames is not None:
                _check_enough_frames(arguments, come_in_blocks=station.camera.mode == "free_run")
            collected = _collected(station, engine.recipe.name, arguments.frames)
            images = collected.images
            wish = replace(wish, exclude=wish.exclude + collected.defective, unlabelled=collected.unlabelled)
        revision = fit(engine, images, wish, with_card=True)
        _tell(arguments, revision, images)
        write_json(arguments.json, revision.calibration.model_dump(by_alias=True))
        # Last: what goes wrong with the page must not hide the revision.
        if arguments.html:
            rejects = arguments.rejects or (station and station.archive and station.archive.folder)
            scores = score_frames(engine, revision, rejected_below(rejects)) if rejects else []
            write_fit_page(engine, revision, images, arguments.html, rejects=scores, unlabelled=sorted(wish.unlabelled))
    return 0


def _tell(arguments: argparse.Namespace, revision: ThresholdRevision, images: Path) -> None:
    """Put the revision in force where that needs no person, and say what it is."""
    is_proposal = arguments.no_activate or arguments.station
    # First: who reads may leave before the end, as `head` does.
    if not is_proposal:
        _put_in_force(arguments, revision.name)
    for line in (*describe(revision), *card_lines(read_card(arguments.recipe, revision.name))):
        print(line)
    if arguments.camera:
        print(f"Its good frames are in {images}.")
    if is_proposal:
        print(f"It is not in force yet: edge-calibrate activate {arguments.recipe} {revision.name}")
    else:
        print(TAKEN_UP)


def _engine(arguments: argparse.Namespace, station: Station | None) -> Literal["tensorrt", "cpu"]:
    """Return what will run on the line: what the station's file says, where there is one."""
    asked: Literal["auto", "tensorrt", "cpu"] = arguments.engine
    if station is None:
        if asked == "auto":
            return "tensorrt" if has_tensorrt() else "cpu"
        return asked
    if asked not in ("auto", station.engine.runtime):
        raise UsageError(
            f"--engine {asked} contradicts {arguments.station}, whose engine.runtime is {station.engine.runtime}.",
            fix="Leave out --engine.",
        )
    return station.engine.runtime


def _put_in_force(arguments: argparse.Namespace, name: str) -> None:
    try:
        activate(arguments.recipe, name, note=arguments.note)
    except OSError as problem:
        raise StorageError(
            f"threshold revision {name} is saved but not in force: {problem.strerror}.",
            fix=f"Free space on that disk or correct its permissions, then: edge-calibrate activate "
            f"{arguments.recipe} {name}",
        ) from problem


def _sensitivity(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 10:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.1 and 10; 1 keeps the wish")
    return value


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what contradicts itself before anything is computed."""
    _check_source(arguments)
    if arguments.camera is not None and arguments.frames is None:
        raise UsageError("--camera needs --frames N.", fix="Say how many good frames it shall take.")
    if arguments.camera is not None and arguments.exclude:
        raise UsageError(
            "--exclude names a file, and a camera takes new ones.", fix="Fit again with --images and the kept frames."
        )
    check_can_write("--html", arguments.html)
    check_can_write("--json", arguments.json)
    _check_can_save(arguments.recipe)
    if arguments.rejects is not None and (arguments.html is None or not arguments.rejects.is_dir()):
        raise UsageError(
            f"--rejects {arguments.rejects} needs a folder of rejected frames, and --html for the page that tells of them.",
            fix="Give both, or leave out --rejects.",
        )


def _check_can_save(recipe: Path) -> None:
    folder = recipe / THRESHOLDS_FOLDER if (recipe / THRESHOLDS_FOLDER).is_dir() else recipe
    if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
        raise StorageError(
            f"{folder} may not be written to, and there the new thresholds belong.",
            fix="On a station join the group that may, `sudo usermod -aG edge-agent USER`, and log in again; else copy the "
            "recipe to a disk that can be written.",
        )


def _check_source(arguments: argparse.Namespace) -> None:
    if arguments.station is not None:
        if arguments.images is not None or arguments.camera is not None:
            raise UsageError("--station has its own frames.", fix="Leave out --images and --camera.")
        return
    if arguments.camera is None and (arguments.images is None or arguments.frames is not None):
        raise UsageError(
            "where are the good frames?",
            fix="Give --images DIR, or --camera URI and --frames N, or --station FILE.",
        )


def _check_is_no_copy(recipe: Path, station: Station) -> None:
    """Refuse a recipe that the station's agent does not look at: its new thresholds would change nothing there."""
    its = station.recipe.resolve().parent
    if recipe.resolve().parent != its:
        raise UsageError(
            f"{recipe} is a copy: station {station.station} takes its recipes from {its}.",
            fix=f"Give the one there, for example {its / recipe.resolve().name}.",
        )


def _wish(arguments: argparse.Namespace) -> FitWish:
    return FitWish(
        arguments.false_reject_rate,
        confident=arguments.confident,
        min_area_px=arguments.min_area_px,
        note=arguments.note,
        exclude=tuple(arguments.exclude),
        group_by=arguments.group_by,
        sensitivity=arguments.sensitivity,
        ignore=arguments.ignore,
        is_new=bool(arguments.camera or arguments.station),
    )


def _collected(station: Station, recipe_name: str, frames: int | None) -> Collected:
    """Return what the station's agent has collected, after asking it for so many frames if that is wished."""
    if frames is None:
        folder = newest_collection(station)
        print(f"Taken is the newest collection, {folder}.", file=sys.stderr)
    else:
        folder = ask_for_collection(station, frames)
        print("The agent collects, and inspects as before. Ctrl-C ends only this waiting.", file=sys.stderr)
    collected = read_collection(folder, recipe_name)
    if collected.status.ended != "complete":
        print(f"The collection ended early: {collected.status.ended}.", file=sys.stderr)
    if collected.unlabelled:
        print(
            f"{len(collected.unlabelled)} rejected frames lie in {collected.folder}/rejected. Look at each, move it to "
            "`good` or to `defective` beside it, and fit again.",
            file=sys.stderr,
        )
    return collected


def _check_enough_frames(arguments: argparse.Namespace, *, come_in_blocks: bool) -> None:
    """Refuse a wish that so many new frames cannot promise, before a line has delivered them."""
    are_blocks = arguments.group_by == "block" or (come_in_blocks and arguments.group_by is None)
    each, what = (BLOCK_FRAMES, f" in blocks of {BLOCK_FRAMES}") if are_blocks else (1, "")
    needed = each * in_all(groups_needed(arguments.false_reject_rate, confident=arguments.confident))
    if arguments.frames < needed:
        raise PromiseError(
            f"--frames {arguments.frames} cannot promise a false-reject rate of {arguments.false_reject_rate:g}: half of "
            f"them{what} say what is usual, the others set the limit.",
            fix=f"Take --frames {needed}, or wish for a higher rate.",
        )


def _good_frames(arguments: argparse.Namespace) -> Path:
    """Return the folder of the good frames, after taking them from the camera if there is one; they are kept."""
    if arguments.camera is None:
        images: Path = arguments.images
        return images
    _check_enough_frames(arguments, come_in_blocks=True)
    folder = arguments.images or Path(mkdtemp(prefix="good-frames-"))
    recording = Recording(folder)
    recording.check_unused()
    print(f"The good frames are kept in {folder}.", file=sys.stderr)
    with closing(record(arguments.camera, recording, frames=arguments.frames, left_out=[])) as saved:
        taken = sum(1 for _ in track(saved, label="taking good frames", total=arguments.frames))
    if taken < arguments.frames:
        print(f"The camera delivered {taken} of {arguments.frames} frames.", file=sys.stderr)
    write_blocks(folder)
    return folder
