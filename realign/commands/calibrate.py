"""`realign calibrate`: measure on held-out clips what an index and its model know, and keep it with the index."""

import argparse
import json
from pathlib import Path
from typing import Any

from realign.commands.common import local_path
from realign.commands.models import add_computing, add_model, add_set
from realign.commands.progress import add_quiet, progress_bar
from realign.hub import HubName
from realign.threads import use_threads


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command and its options."""
    parser = commands.add_parser(
        "calibrate",
        help="measure which captions a model knows and how probably hits are right",
        description="Compare held-out captions, and sentences of other kinds, with the captions of an index. What is "
        "learned is kept in the index's folder: `realign generate` and `realign search` then tell how familiar a "
        "caption is, and with which probability a hit is right. Calibrate again when the model or the index changes.",
    )
    parser.add_argument("--index", type=_own_index, required=True, metavar="DIR", help="folder of the index")
    add_model(parser, "--checkpoint", "retriever", "the model that made the index")
    add_set(parser)
    parser.add_argument("--split", default="val", help="split to calibrate on, not trained on (default: val)")
    parser.add_argument("--test", default="test", help="split to measure the calibration on (default: test)")
    parser.add_argument(
        "--style", action="store_true",
        help="count hits of another style as wrong (default: the content counts, where a set names both)",
    )  # fmt: skip
    parser.add_argument(
        "--unlike", type=Path, metavar="FILE",
        help="sentences that the model does not know, one a line (default: a list in the package, without those whose "
        "actions occur in the index's captions)",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, metavar="JSON", help="also write the measurement to a file")
    add_computing(parser)
    add_quiet(parser)


def _own_index(given: str) -> Path:
    """The folder of an index that may be written to."""
    index = local_path(given)
    if isinstance(index, HubName):
        raise argparse.ArgumentTypeError(
            f"{given} is on the Hub, but a calibration is written into the index: download it with `hf download "
            f"{given.partition('@')[0]} --local-dir my_index` and calibrate my_index"
        )
    return index


def run(options: argparse.Namespace) -> None:
    """Calibrate, print the measurement, and write it."""
    use_threads(options.threads)
    from realign.data.store import read_meta
    from realign.index.storage import read_manifest

    read_manifest(options.index)
    read_meta(options.data)
    from realign.files import atomic_path
    from realign.inference import pick_device, pretrained_folder
    from realign.inference.calibrate import calibrate
    from realign.nn.embedder import Embedder

    device = pick_device(options.device)
    embedder = Embedder.load(options.checkpoint or pretrained_folder("retriever"), trust_code=options.trust_code)
    with progress_bar(not options.quiet, "captions") as watch:
        found = calibrate(
            embedder, options.index, options.data, split=options.split, test=options.test, style=options.style,
            unlike=options.unlike, device=device, progress=watch,
        )  # fmt: skip
    if options.output:
        with atomic_path(options.output) as made:
            made.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(summary(found))


def summary(found: dict[str, Any]) -> str:
    """The measurement in three lines."""
    known, right = found["known"], found["right"]
    return (
        f"{found['captions']} captions in training; calibrated on {found['split']}, measured on {found['test']}\n"
        f"{known['captions']} known and {known['unknown']} other captions: AUROC {known['auroc']:.3f}; taken for the "
        f"other kind {known['known below half']:.1%} and {known['unknown above half']:.1%}; calibration error "
        f"{known['ece']:.3f}\n"
        f"{right['hits']} hits, {right['right']:.0%} of those of known captions right ({found['right_is']}): AUROC "
        f"{right['auroc']:.3f}; calibration error {right['ece']:.3f}, of known captions "
        f"{right['ece of known captions']:.3f}"
    )
