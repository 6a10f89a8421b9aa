"""`realign render`: draw motions as pictures, videos or a player, or write other files."""

import argparse
from pathlib import Path
from typing import Any

from realign.commands.common import add_export_options, add_motion_options, export_options, read_motions


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the command's options; imports nothing heavy."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "render",
        help="draw existing motions",
        description="Draw .npy motions (joints, features or MDM's results), .npz motions of AMASS (with --body-models) "
        "and .bvh or .glb recordings, several side by side. "
        "The suffix of OUT chooses the form: .gif, .mp4, .html (interactive player), .png (strip of poses), .bvh, "
        ".glb, .npz (AMASS) or .npy (joints; several motions make numbered files).",
    )
    parser.add_argument("motions", nargs="+", type=Path, metavar="MOTION", help="a .npy, .npz, .bvh or .glb file")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="OUT", help="file to write")
    parser.add_argument(
        "--caption", action="append", metavar="TEXT",
        help="caption of a motion, once for each in their order (default: the file's name)",
    )  # fmt: skip
    parser.add_argument(
        "--clean", action="store_true", help="give bones constant lengths and hold standing feet still (default: no)"
    )
    add_motion_options(parser)
    add_export_options(parser)
    parser.add_argument("--size", type=int, metavar="PIXELS", help="height of a picture, or of a pose in a strip")
    parser.add_argument(
        "--camera", choices=("auto", "fixed", "follow"), default="auto",
        help="fixed: show the whole trajectory; follow: move along; auto (default): by its length",
    )  # fmt: skip
    parser.add_argument(
        "--azimuth", type=float, default=40.0, metavar="DEGREES",
        help="camera from the front (0) towards the person's right (90) (default: 40)",
    )  # fmt: skip
    parser.add_argument(
        "--elevation", type=float, default=16.0, metavar="DEGREES", help="camera above the horizon (default: 16)"
    )
    parser.add_argument("--poses", type=int, default=8, metavar="N", help="poses in a .png strip (default: 8)")
    return parser


def run(args: argparse.Namespace) -> None:
    """Read the motions and write the file."""
    from realign.errors import InputError
    from realign.motion.skeleton import check_fps
    from realign.render.save import save_motions

    export = export_options(args, reads=args.motions)  # checked before motions are read
    if args.fps is not None:
        check_fps(args.fps, "--fps")
    clips = []
    for path in args.motions:
        found = read_motions(path, args)
        for number, clip in enumerate(found, start=1):
            clip.caption = clip.caption or (path.stem if len(found) == 1 else f"{path.stem} {number}")
        clips += found
    if args.caption:
        if len(args.caption) != len(clips):
            raise InputError(f"{len(clips)} motions and {len(args.caption)} captions: give --caption once for each")
        for clip, caption in zip(clips, args.caption, strict=True):
            clip.caption = caption
    if args.clean:
        from realign.motion.cleaning import clean_clip

        clips = [clean_clip(clip) for clip in clips]
    written = save_motions(
        args.output, clips, size=args.size, camera=args.camera, azimuth=args.azimuth, elevation=args.elevation,
        poses=args.poses, **export,
    )  # fmt: skip
    for path in written:
        print(path)
