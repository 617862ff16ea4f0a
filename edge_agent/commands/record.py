"""`edge-agent record`: frames of a camera as files, for training, calibration and replay."""

from __future__ import annotations

import argparse
from collections import Counter
from contextlib import closing
from pathlib import Path

from edge_agent.camera.recording import Recording, record
from edge_agent.camera.source import check_camera_uri
from edge_agent.camera.uri import describe_uri, parse_uri
from edge_agent.synthetic import SyntheticPart
from engines.command_line import track, write_json
from engines.errors import NoInputError, UsageError

HELP = "record frames of a camera as PNG files"
EXIT_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--camera", required=True, metavar="URI", help="v4l2://, gst://, rtsp://, folder://, file:// or synthetic://"
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the frames go; made if it is missing")
    parser.add_argument(
        "--frames", type=_at_least_one, metavar="N", help="stop after so many (default: at the camera's end)"
    )
    parser.add_argument("--labelled", action="store_true", help="MVTec AD layout with masks (synthetic cameras only)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts there")


def run(arguments: argparse.Namespace) -> int:
    check_camera_uri(arguments.camera)
    part = _truth_of(arguments.camera) if arguments.labelled else None
    recording = Recording(arguments.folder)
    recording.check_unused()
    labels: list[str] = []
    bad: list[str] = []
    stopped = False
    with closing(record(arguments.camera, recording, frames=arguments.frames, left_out=bad, part=part)) as saved:
        try:
            for label in track(saved, label="recording", total=arguments.frames):
                labels.append(label)  # noqa: PERF402 - what was saved counts, also after Ctrl-C
        except KeyboardInterrupt:
            stopped = True
    _report(arguments, labels, bad)
    return EXIT_INTERRUPTED if stopped and arguments.frames else 0


def _report(arguments: argparse.Namespace, labels: list[str], bad: list[str]) -> None:
    if not labels:
        raise NoInputError(
            f"Camera {describe_uri(arguments.camera)} delivered no frame.", fix="Check the camera and its URI."
        )
    counts = Counter(label for label in labels if label)
    kinds = f" ({', '.join(f'{count} {label}' for label, count in sorted(counts.items()))})" if counts else ""
    left_out = f"; {len(bad)} left out" if bad else ""
    print(f"{len(labels)} frames in {arguments.folder}{kinds}{left_out}.")
    content = {"folder": str(arguments.folder), "frames": len(labels), "labels": dict(counts), "left_out": bad}
    write_json(arguments.json, content)


def _truth_of(uri: str) -> SyntheticPart:
    parsed = parse_uri(uri)
    if parsed.scheme != "synthetic":
        raise UsageError(
            f"--labelled needs a synthetic camera: nobody knows what {describe_uri(uri)} shows.",
            fix="Leave out --labelled and sort the frames by hand, or use synthetic://plate.",
        )
    from edge_agent.camera.synthetic import part_from_uri

    return part_from_uri(parsed)


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value
