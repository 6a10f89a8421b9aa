"""`realign prepare`: a folder of motions into one set to train on."""

import argparse
from typing import Any

from realign.commands.common import add_motion_options


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the command's options; imports nothing heavy."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "prepare",
        help="turn a folder of motions into a set to train on",
        description="Compute features, Mean, Std and splits of a HumanML3D- or KIT-layout folder, or of BVH files with "
        "a captions file, and write them as one memory-mapped set. Clips that cannot be used are reported.",
    )
    parser.add_argument("source", metavar="SOURCE", help="folder with new_joints or new_joint_vecs, or with .bvh files")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder to make")
    parser.add_argument("--captions", metavar="FILE", help="CSV or JSONL: id or file, caption[, start, end][, split]")
    parser.add_argument("--skeleton", choices=("humanml3d", "kit"), help="default: found from the files")
    add_motion_options(parser)
    parser.add_argument(
        "--splits",
        metavar="FOLDER|PERCENT",
        help="folder with train.txt, val.txt, test.txt, or per cent of each, such as 80/5/15",
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that read and compute (default: 1)"
    )
    parser.add_argument("--overwrite", action="store_true", help="make the set again even when OUT is there")
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the command; an InputError says what to correct."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from realign.data.prepare.run import prepare

    console = Console(highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("preparing clips", total=None)
        report = prepare(
            args.source,
            args.output,
            captions=args.captions,
            skeleton=args.skeleton,
            rig=args.rig,
            splits=args.splits,
            fps=args.fps,
            up=args.up,
            overwrite=args.overwrite,
            workers=args.workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for line in summary(report):
        console.print(line, markup=False)
    return 0


def summary(report: Any) -> list[str]:
    """Lines that say what was made and what was left out."""
    counts, meta = report.meta["counts"], report.meta
    head = f"made {report.folder}"
    if report.up_to_date:
        head = f"{report.folder} is up to date (--overwrite makes it again)"
    lines = [
        f"{head}: {counts['motions']} motions, {counts['captions']} captions, {counts['frames']} frames "
        f"at {meta['fps']:g} fps ({meta['skeleton']})",
        f"splits: {counts['train']} train, {counts['val']} val, {counts['test']} test",
        f"captions: {meta['captions']}",
        f"Mean and Std: {meta['statistics']}",
    ]
    if counts["composed"]:
        lines.append(f"composed from other clips, not recorded: {counts['composed']}")
    if meta["mirrored_included"]:
        lines.append("mirrored doubles (M...) are in the source: mirroring on the fly is off by default")
    for reason, number in report.reasons.items():
        ids = [record["id"] for record in report.left_out if record["reason"] == reason]
        named = ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")
        lines.append(f"left out, {reason}: {number} ({named})")
    if report.outside:
        lines.append(f"{report.outside[0]['reason']}: {len(report.outside)}")
    if report.doubtful:
        first = report.doubtful[0]
        lines.append(f"{first['reason']}: {len(report.doubtful)} ({first['id']}: {first['detail']})")
    if report.left_out or report.outside or report.doubtful:
        lines.append(f"each of them: {report.folder}/report.jsonl")
    return lines
