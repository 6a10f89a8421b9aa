"""`realign sweep`: what guidance changes, over strengths and steps."""

import argparse
from pathlib import Path

from realign.commands.common import model_path
from realign.commands.evaluate import add_measuring, measure, own_guidance
from realign.errors import InputError

_GRID = ("strength", "steps", "guidance_scale", "mu", "eta", "interval", "window")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command and its options."""
    parser = commands.add_parser(
        "sweep",
        help="measure guidance over strengths and steps: a CSV, and R-precision against FID",
        description="Measure the generator without guidance and with every combination of the values given, as "
        "`realign evaluate` does. Writes OUT.csv, a picture (.png) and the results (.json) beside it; the same command "
        "goes on after a kill, and further values join what is there.",
    )
    add_measuring(parser)
    parser.add_argument("-o", "--output", type=Path, default=Path("sweep.csv"), help="(default: sweep.csv)")
    group = parser.add_argument_group("grid, every combination")
    group.add_argument("--strength", type=float, nargs="+", required=True, metavar="W", help="of guidance; 0 is none")
    group.add_argument("--steps", type=int, nargs="+", metavar="N", help="denoising steps (default: the model's)")
    group.add_argument(
        "--guidance-scale",
        type=float,
        nargs="+",
        metavar="W",
        help="of classifier-free guidance (default: the model's)",
    )
    group.add_argument("--mu", type=float, nargs="+", metavar="M", help="weights of the likeness to the caption")
    group.add_argument("--eta", type=float, nargs="+", metavar="E", help="weights of the likeness to a real motion")
    group.add_argument("--interval", type=int, nargs="+", metavar="K", help="guide at every K-th step")
    group.add_argument(
        "--window", type=window, nargs="+", metavar="START,STOP", help="shares of the steps to guide in, such as .2,1"
    )
    group = parser.add_argument_group("all settings")
    group.add_argument("--reward", type=model_path, metavar="CHECKPOINT", help="guides, and scores every row's motions")
    group.add_argument("--index", type=model_path, metavar="DIR", help="index made with the reward, for --eta")
    group.add_argument(
        "--common", default="", metavar="WORDS",
        help='further options, such as "profile=signal norm=clip scheduler=dpm through_decoder=true"',
    )  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Evaluate every setting, write and print the paths."""
    from realign.distributed import launch
    from realign.evaluation.results import Results
    from realign.evaluation.sweep import sweep_settings, write_sweep
    from realign.evaluation.tables import markdown
    from realign.inference import pick_device

    if options.output.suffix != ".csv":
        raise InputError(f"The sweep goes into a .csv file, not {options.output}; choose another -o.")
    grid = {name: getattr(options, name) for name in _GRID if getattr(options, name) is not None}
    settings = sweep_settings(grid, options.common, own_guidance(options))  # refused before models are loaded
    kept = options.output.with_suffix(".json")
    launch(measure, options.devices, pick_device(options.device), options, settings, kept)
    results = Results.load(kept)
    print(markdown(results))
    print(*(str(path) for path in (*write_sweep(options.output, results), kept)), sep="\n")


def window(text: str) -> tuple[float, float]:
    """Two numbers with a comma between them."""
    start, _, stop = text.partition(",")
    return float(start), float(stop)
