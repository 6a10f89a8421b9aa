"""`realign import`: a published checkpoint as a folder of weights that every command reads."""

import argparse
from pathlib import Path

from realign.errors import InputError, renamed
from realign.spelling import suggestion

KINDS = ("mdm", "mld", "motionlcm", "motiondiffuse", "spm", "tmr", "guo")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command and its options."""
    parser = commands.add_parser(
        "import",
        help="import a published generator, reward or evaluator",
        description="Check a published checkpoint, and write it as a folder of weights for every command. Nothing "
        "pickled is executed.",
    )
    parser.add_argument("kind", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="the published file; guo: t2m or kit as unpacked"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--stats", type=Path, metavar="DIR", help="folder of the data set's Mean.npy and Std.npy")
    parser.add_argument("--meta", type=Path, metavar="DIR", help="motiondiffuse, guo: folder of mean.npy and std.npy")
    parser.add_argument("--args", type=Path, metavar="JSON", help="mdm: args.json (default: beside FILE)")
    parser.add_argument("--opt", type=Path, metavar="TXT", help="motiondiffuse: opt.txt (default: near FILE)")
    parser.add_argument("--mode", help="spm: its mode, such as M1T0 (default: from the name of FILE)")
    parser.add_argument("--glove", type=Path, metavar="DIR", help="guo: folder of our_vab_data.npy and so on")
    parser.add_argument(
        "--text-encoder", metavar="PATH", help="weights of the frozen text encoder (default: the published ones)"
    )


def check(options: argparse.Namespace) -> None:
    """Refuse an unknown kind; a folder alone is an old way to name an evaluator's."""
    if options.kind not in KINDS and (options.file is not None or not Path(options.kind).exists()):
        remedy = suggestion(options.kind, KINDS, f"choose one of {', '.join(KINDS)}.")
        raise InputError(f"There is no importer for {options.kind!r}; {remedy}")


def run(options: argparse.Namespace) -> None:
    """Read, check, write, and print the result."""
    from realign.checkpoint.official.importing import import_official

    given = {name: value for name, value in vars(options).items() if name not in ("command", "kind", "file", "output")}
    kind, file = options.kind, options.file
    if file is None:
        if kind in KINDS:
            raise InputError(f"Importing {kind} needs its published file; give it after the kind.")
        renamed("realign import FOLDER", "realign import guo FOLDER")
        kind, file = "guo", Path(kind)
    print(f"{options.output}: {import_official(kind, file, options.output, **given)}")
