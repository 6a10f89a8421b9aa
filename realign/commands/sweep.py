"""`realign sweep`: measure guidance over strengths and steps."""

import argparse
from pathlib import Path

from realign.commands.evaluate import add_measuring, measure
from realign.commands.guiding import add_guidance_files, own_guidance, window
from realign.extras import EXTRAS
from realign.guidance.arguments import add_guidance_options
from realign.guidance.config import GuidanceConfig
from realign.threads import use_threads

NEEDS = EXTRAS["train"]
_GRID = ("steps", "guidance_scale", "window", *GuidanceConfig.options())


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command and its options."""
    parser = commands.add_parser(
        "sweep",
        help="measure guidance over strengths and steps: a CSV, and R-precision against FID",
        description="Measure the generator without guidance and with every combination of the values given, as "
        "`realign evaluate` does. Writes OUT.csv, a picture (.png) and the results (.json) beside it; the same command "
        "continues after a kill, and further values are added.",
    )
    add_measuring(parser)
    parser.add_argument("-o", "--output", type=Path, default=Path("sweep.csv"), help="(default: sweep.csv)")
    group = parser.add_argument_group("grid, every combination")
    group.add_argument("--steps", type=int, nargs="+", metavar="N", help="denoising steps (default: the model's)")
    group.add_argument(
        "--guidance-scale", type=float, nargs="+", metavar="W",
        help="of classifier-free guidance (default: the model's)",
    )  # fmt: skip
    group.add_argument(
        "--window",
        type=window,
        nargs="+",
        metavar="START,STOP",
        help="fractions of the steps to guide in, such as .2,1",
    )
    add_guidance_options(group, many=True)
    group = parser.add_argument_group("all settings")
    add_guidance_files(group)
    group.add_argument(
        "--common", default="", metavar="WORDS",
        help='further options, such as "profile=signal norm=clip scheduler=dpm through_decoder=true"',
    )  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Evaluate every setting, write and print the paths."""
    use_threads(options.threads, options.batch_size, options.devices)
    from realign.distributed import launch
    from realign.evaluation.results import Results
    from realign.evaluation.sweep import sweep_settings, write_sweep
    from realign.evaluation.tables import markdown
    from realign.inference import pick_device

    grid = {name: getattr(options, name) for name in _GRID if getattr(options, name) is not None}
    settings = sweep_settings(grid, options.common, own_guidance(options.generator))  # checked before models are loaded
    kept = options.output.with_suffix(".json")
    launch(measure, options.devices, pick_device(options.device), options, settings, kept)
    results = Results.load(kept)
    print(markdown(results))
    print(*(str(path) for path in (*write_sweep(options.output, results), kept)), sep="\n")
