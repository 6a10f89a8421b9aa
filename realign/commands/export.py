"""`realign export`: a training checkpoint as a small folder of weights and configuration, on disk or on the Hub."""

import argparse
import tempfile
from pathlib import Path

from realign.commands.common import add_trust, note
from realign.errors import InputError
from realign.hub import check_repository, push


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command and its options."""
    parser = commands.add_parser("export", help="write a checkpoint as a folder of weights to share")
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a .ckpt written by `realign fit`, or an exported folder"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder to write")
    add_push_options(parser, "--hub")
    add_trust(parser)
    parser.add_argument("--half", action="store_true", help="store parameters as float16, half the size")


def add_push_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Declare the repository that something is pushed to, and how."""
    parser.add_argument(
        name, metavar="ORG/NAME",
        help="repository on the Hugging Face Hub to write to, with a model card; it is made if it does not exist",
    )  # fmt: skip
    parser.add_argument("--private", action="store_true", help="make a new repository on the Hub private")
    parser.add_argument("--license", metavar="NAME", help="licence for the model card, such as cc-by-nc-4.0")


def run(options: argparse.Namespace) -> None:
    """Load, write safetensors and YAML, print where and how large."""
    if options.hub:
        check_repository(options.hub)
    elif options.output is None:
        raise InputError("No place to write to was named; give a folder, -o DIR, or a repository, --hub ORG/NAME.")
    elif options.private or options.license:
        raise InputError("--private and --license say how to write to the Hub; name a repository with --hub ORG/NAME.")
    if options.output is not None:
        return write(options, options.output)
    with tempfile.TemporaryDirectory() as folder:
        return write(options, Path(folder) / "weights")


def write(options: argparse.Namespace, output: Path) -> None:
    """Write the folder, and push it where that is asked for."""
    from realign.checkpoint.card import describe_weights
    from realign.file_names import GUIDANCE
    from realign.tasks.base import Task
    from realign.tasks.checkpoint import load_task, save_pretrained

    task: Task = load_task(options.checkpoint, trust_code=options.trust_code)
    folder = save_pretrained(task, output, half=options.half)
    files = describe_weights(folder, options.hub, options.license) if options.hub else {}
    size = sum(file.stat().st_size for file in folder.iterdir())
    if options.output is not None:
        print(f"{folder}: {size / 1e6:.1f} MB")
    if options.hub:
        if (folder / GUIDANCE).is_file():
            note(f"{GUIDANCE} stays here, since it names folders beside this one; name --reward and --index with it.")
        print(f"{push(files, options.hub, private=options.private)}: {size / 1e6:.1f} MB")
