"""`realign export`: weights as a small folder, on disk or on the Hub, and prepared sets on the Hub."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from realign.commands.common import add_trust
from realign.errors import InputError
from realign.file_names import GUIDANCE
from realign.files import resolve_model
from realign.hub import check_remote, check_repository, push

_GUIDING = ("reward", "index", "known", "without_guidance")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command and its options."""
    parser = commands.add_parser(
        "export", help="write a checkpoint as a folder of weights to share, or send it or a prepared set to the Hub"
    )
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="a .ckpt written by `realign fit`, or an exported folder; with --hub, also a prepared set",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder to write")
    add_push_options(parser, "--hub")
    parser.add_argument(
        "--reward", metavar="ORG/NAME", help="repository of the reward that the generator's guidance.yaml names"
    )
    parser.add_argument("--index", metavar="ORG/NAME", help="repository of the index that guidance.yaml names")
    parser.add_argument("--known", metavar="ORG/NAME", help="repository of the index that it names as known")
    parser.add_argument("--without-guidance", action="store_true", help="leave the generator's guidance.yaml out")
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
    elif any(getattr(options, name) for name in _GUIDING):
        raise InputError("--reward, --index, --known and --without-guidance are for the Hub; name a repository: --hub.")
    source = resolve_model(options.checkpoint)
    if (source / "index.faiss").is_file():
        raise InputError(f"{source} is an index; write `realign index push {source} ORG/NAME`.")
    if (source / "clips.npy").is_file():
        return push_set(options, source)
    guidance = _guidance(options, source)
    if options.output is not None:
        return write(options, options.output, guidance)
    with tempfile.TemporaryDirectory() as folder:
        return write(options, Path(folder) / "weights", guidance)


def push_set(options: argparse.Namespace, source: Path) -> None:
    """Check a prepared set, push it, and print the address."""
    for name in ("output", "half", *_GUIDING):
        if getattr(options, name):
            raise InputError(f"--{name.replace('_', '-')} is for weights, not for the prepared set {source}.")
    from realign.data.share import describe_set

    with tempfile.TemporaryDirectory() as folder:
        files = describe_set(source, Path(folder), options.hub, options.license)
        size = sum(file.stat().st_size for file in files.values())
        print(f"{push(files, options.hub, private=options.private, kind='dataset')}: {size / 1e6:.1f} MB")


def _guidance(options: argparse.Namespace, source: Path) -> dict[str, Any] | None:
    """The guidance to push with a generator, whose repositories are there; None for none."""
    if not options.hub or options.without_guidance:
        return None
    from realign.checkpoint.guidance import PLACES, for_hub, place_of

    given = {name: getattr(options, name) for name in PLACES}
    homes = [each for each in (source, options.output) if each is not None and each.is_dir()]
    content = next((found for each in homes if (found := for_hub(each, given)) is not None), None)
    for name in PLACES:
        if content is None and given[name]:
            raise InputError(f"--{name} is for a guidance, but {source} has no {GUIDANCE}; leave it out.")
        if content is not None and content.get(name) is not None:
            check_remote(str(place_of(source, content[name], name)))
    return content


def write(options: argparse.Namespace, output: Path, guidance: dict[str, Any] | None) -> None:
    """Write the folder, and push it where that is asked for."""
    from realign.checkpoint.card import describe_weights
    from realign.tasks.base import Task
    from realign.tasks.checkpoint import load_task, save_pretrained

    task: Task = load_task(options.checkpoint, trust_code=options.trust_code)
    folder = save_pretrained(task, output, half=options.half)
    files = describe_weights(folder, options.hub, options.license, guidance) if options.hub else {}
    size = sum(file.stat().st_size for file in folder.iterdir())
    if options.output is not None:
        print(f"{folder}: {size / 1e6:.1f} MB")
    if options.hub:
        print(f"{push(files, options.hub, private=options.private)}: {size / 1e6:.1f} MB")
