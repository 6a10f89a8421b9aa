"""`realign prepare`: make a set to train on from a folder of motions."""

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from realign.commands.common import add_motion_options
from realign.commands.progress import add_quiet, progress_bar
from realign.commands.text_features import keep_text, text_readers
from realign.errors import InputError
from realign.files import missing

_PLAIN = ("captions", "skeleton", "fps", "rig", "up", "units", "body_models")
"""Options of a folder that is recognised by what it holds."""
RECIPES = {"amass": ("body_models", "humanml3d", "resample"), "cmu": ("humanml3d",), "bandai": ("compose",)}
"""Data sets that are made from their sources as published, by the word before the folder, and their own options."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the command's options; imports nothing heavy."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "prepare",
        help="turn a folder of motions into a set to train on",
        description="Compute features, Mean, Std and splits of a HumanML3D- or KIT-layout folder, or of files of "
        "motions (.bvh, .glb, .gltf, .npz of AMASS, .npy of joints, features or MDM's results, also in .parquet or "
        ".tar files) with captions, and write them as one memory-mapped set. Clips that cannot be used are reported. "
        "`realign prepare amass AMASS` makes HumanML3D from recordings of AMASS, `realign prepare cmu CMU` its part "
        "that is cut from the CMU library, from BVH or AMC files.",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="+",
        help="folder with new_joints or new_joint_vecs, or with .bvh, .glb, .npz, .npy, .parquet or .tar files; or a "
        "word and a folder: amass and the AMASS downloads, cmu and a release of the CMU library, bandai and a clone of "
        "Bandai-Namco's data set",
    )
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder to make")
    parser.add_argument(
        "--captions",
        metavar="FILE",
        help="CSV, JSONL or Parquet: id or file, caption[, start, end][, split]; or a tar of KEY.txt, or a folder of "
        "Parquet and tar files",
    )
    parser.add_argument("--skeleton", choices=("humanml3d", "kit"), help="default: found from the files")
    add_motion_options(parser)
    parser.add_argument(
        "--splits",
        metavar="FOLDER|PERCENT",
        help="folder with train.txt, val.txt, test.txt, or percentages such as 80/5/15",
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that read and compute (default: 1)"
    )
    parser.add_argument(
        "--text-encoder",
        action="append",
        default=[],
        metavar="NAME|CONFIG",
        help="keep the captions' features beside the set, as `fit` does at its first start: by minilm or clip, or by "
        "the encoders of a training configuration, which may read less (may be given several times)",
    )
    add_quiet(parser)
    parser.add_argument("--overwrite", action="store_true", help="make the set again even when OUT is there")
    own = parser.add_argument_group("prepare amass, cmu, bandai")
    own.add_argument("--humanml3d", metavar="FOLDER", help="clone of the repository of HumanML3D")
    own.add_argument(
        "--body-models",
        metavar="FOLDER",
        help="amass, or a folder with .npz files: models of SMPL+H as downloaded: male/model.npz, ...",
    )
    own.add_argument(
        "--resample",
        action="store_true",
        help="amass: true 20 frames per second (default: every int(fps / 20)-th frame)",
    )
    own.add_argument(
        "--compose",
        action="store_true",
        help="bandai: also compose motions of two recordings, arms on a walk and one action after the other",
    )
    return parser


def check(args: argparse.Namespace) -> None:
    """Refuse options of another kind of source, and a folder that is not there."""
    recipe, source = _recipe(args)
    if recipe:
        _needed(recipe, args)
    if not Path(source).exists():
        raise missing("folder of motions", Path(source))


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    recipe, source = _recipe(args)
    from rich.console import Console

    readers = [reader for name in args.text_encoder for reader in text_readers(name)]
    console = Console(highlight=False, soft_wrap=True)
    with progress_bar(not args.quiet, "clips") as watch:
        report = _MAKE[recipe](
            source,
            args,
            splits=args.splits,
            overwrite=args.overwrite,
            workers=args.workers,
            progress=None if watch is None else lambda done, total: watch("clips", done, total),
        )
        kept = [keep_text(report.folder, reader, watch) for reader in readers]
    for line in (*summary(report), *kept):
        console.print(line, markup=False)
    return 0


def _recipe(args: argparse.Namespace) -> tuple[str, str]:
    """The recipe, "" for a folder that is recognised, and the folder; options of another kind of source are refused."""
    *words, source = args.source
    known = ", ".join(RECIPES)
    if len(words) > 1 or (words and words[0] not in RECIPES):
        raise InputError(
            f"`realign prepare {' '.join(args.source)}` names {len(args.source)} sources; give one folder, or one of "
            f"{known} and a folder."
        )
    recipe = words[0] if words else ""
    own = RECIPES.get(recipe, _PLAIN)
    for name in {*_PLAIN, *(option for options in RECIPES.values() for option in options)} - {*own}:
        if getattr(args, name) not in (None, False):
            others = [each for each, options in RECIPES.items() if name in options]
            wanted = (
                f"`realign prepare {' or '.join(others)} FOLDER`" if others else "a folder in a form that is recognised"
            )
            raise InputError(f"--{name.replace('_', '-')} is for {wanted}; drop the option.")
    return recipe, source


def _make_plain(source: str, args: argparse.Namespace, **common: Any) -> Any:
    from realign.data.prepare.run import prepare

    return prepare(source, args.output, **{name: getattr(args, name) for name in _PLAIN}, **common)


def _make_amass(source: str, args: argparse.Namespace, **common: Any) -> Any:
    own = _needed("amass", args)
    from realign.data.prepare.amass import prepare_amass

    return prepare_amass(source, args.output, **own, **common)


def _make_cmu(source: str, args: argparse.Namespace, **common: Any) -> Any:
    own = _needed("cmu", args)
    from realign.data.prepare.cmu import prepare_cmu

    return prepare_cmu(source, args.output, **own, **common)


def _make_bandai(source: str, args: argparse.Namespace, **common: Any) -> Any:
    from realign.data.prepare.bandai_folder import prepare_bandai

    return prepare_bandai(source, args.output, **_needed("bandai", args), **common)


def _needed(recipe: str, args: argparse.Namespace) -> dict[str, Any]:
    """Options of a recipe by name; the folders among them must be given."""
    own = {name: getattr(args, name) for name in RECIPES[recipe]}
    for name, what in (("body_models", "models of SMPL+H"), ("humanml3d", "repository of HumanML3D")):
        if name in own and own[name] is None:
            raise InputError(f"prepare {recipe} needs the {what}; give its folder with --{name.replace('_', '-')}.")
    return own


_MAKE: dict[str, Callable[..., Any]] = {"": _make_plain, "amass": _make_amass, "cmu": _make_cmu, "bandai": _make_bandai}


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
    lines.append(f"hash: {meta['content']}")
    if "method" in meta:
        lines.append(f"method: {meta['method']}")
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
    lines += _remarks(report.doubtful)
    if report.left_out or report.outside or report.doubtful:
        lines.append(f"each of them: {report.folder}/report.jsonl")
    return lines


def _remarks(records: list[dict[str, Any]]) -> list[str]:
    """Remarks that several clips share, each with their number, and one of the others for all."""
    shared = Counter(record["detail"] for record in records).most_common()
    lines = [f"{records[0]['reason']}: {detail}: {number} clips" for detail, number in shared if number > 1]
    single = {detail for detail, number in shared if number == 1}
    rest = [record for record in records if record["detail"] in single]
    if rest:
        lines.append(f"{rest[0]['reason']}: {len(rest)} ({rest[0]['id']}: {rest[0]['detail']})")
    return lines
