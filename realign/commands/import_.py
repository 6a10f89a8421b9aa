"""`realign import`: the published evaluator of Guo et al. as a folder of weights that every command reads."""

import argparse
from pathlib import Path


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command and its options."""
    parser = commands.add_parser(
        "import",
        help="import the published evaluator of Guo et al.",
        description="Check the published files of the evaluator of Guo et al. (CVPR 2022), and write them as a folder "
        "of weights, for `realign evaluate --evaluator`. Nothing pickled is executed.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="t2m or kit, with text_mot_match/model/finest.tar")
    parser.add_argument("--glove", type=Path, required=True, metavar="DIR", help="folder of our_vab_data.npy and so on")
    parser.add_argument("--meta", type=Path, metavar="DIR", help="folder of the evaluator's mean.npy and std.npy")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write")


def run(options: argparse.Namespace) -> None:
    """Read, check, write, and print which motions it evaluates."""
    from realign.tasks.official import adopt_official

    task = adopt_official(options.folder, options.glove, options.output, options.meta)
    print(f"{options.output}: evaluator of {task.skeleton}, {task.evaluator.features} features a frame")
