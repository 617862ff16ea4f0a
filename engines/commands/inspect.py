"""`edge-engines inspect`: look at what is otherwise hidden in training."""

from __future__ import annotations

import argparse
from pathlib import Path

from engines.command_line import map_size
from engines.errors import UsageError

HELP = "draw a contact sheet of the corruptions that training practises on"
DEFAULT_SHEET = Path("corruptions.png")
_MOST_FRAMES = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corruptions", type=Path, metavar="IMAGES", help="draw each kind on images of this folder")
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_SHEET, metavar="FILE", help=f"the picture, {DEFAULT_SHEET} if not given"
    )
    parser.add_argument("--size", type=map_size, default=256, metavar="N|WxH", help="size of the frames, as in train")
    parser.add_argument("--rotates", action="store_true", help="the part lies at any angle")
    parser.add_argument(
        "--resize", choices=["letterbox", "stretch"], help="how images of other sizes are made one size"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed gives the same sheet")


def run(arguments: argparse.Namespace) -> int:
    if arguments.corruptions is None:
        raise UsageError("there is nothing to inspect.", fix="Give --corruptions IMAGES.")
    if arguments.out.suffix.lower() != ".png":
        raise UsageError(f"--out {arguments.out} is no PNG file.", fix="Give a name that ends in .png.")
    if arguments.seed < 0:
        raise UsageError(f"--seed {arguments.seed} is negative.", fix="Give 0 or more.")
    from engines.corruption_sheet import draw_sheet
    from engines.files import replace_file
    from engines.images import encode_png
    from engines.some_frames import read_some

    pictures = read_some(
        arguments.corruptions, arguments.size, resize=arguments.resize or "none", seed=arguments.seed, most=_MOST_FRAMES
    )
    sheet = draw_sheet(pictures, rotates=arguments.rotates, seed=arguments.seed)
    replace_file(arguments.out, encode_png(sheet))
    print(f"{arguments.out}  {sheet.shape[1]} x {sheet.shape[0]} pixels, {len(pictures)} images at ", end="")
    print(f"{pictures.shape[2]} x {pictures.shape[1]}")
    return 0
