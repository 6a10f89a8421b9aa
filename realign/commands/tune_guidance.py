"""`realign tune-guidance`: choose a generator's guidance on validation clips."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from realign.commands.common import note
from realign.commands.evaluate import add_measuring, measure
from realign.commands.guiding import add_guidance_files, window
from realign.commands.models import SAMPLING, add_sampling
from realign.errors import InputError
from realign.threads import use_threads

if TYPE_CHECKING:
    from realign.evaluation.results import Results
    from realign.evaluation.settings import Setting


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command and its options."""
    parser = commands.add_parser(
        "tune-guidance",
        help="choose strength, window and point of a generator's guidance on validation clips",
        description="Measure the generator unguided and guided by a reward: strengths at each point, then windows at "
        "the best, then strengths around it. The best setting is the one with the largest relative rise of R@1 and "
        "fall of FID among those in which neither R@1 nor FID (by any evaluator) nor foot skating is worse than "
        "unguided; without such a setting the generator is better left alone, and the file says so. Writes "
        "guidance.yaml, which `realign generate` reads beside the generator's weights, and the results (.json) beside "
        "it; the same command continues after a kill.",
    )
    add_measuring(parser)
    parser.set_defaults(split="val", protocol="mocap", replications=3)
    add_guidance_files(parser.add_argument_group("guidance"))
    group = parser.add_argument_group("search")
    group.add_argument("--points", nargs="+", choices=("x0", "x_t"), default=["x0", "x_t"], help="(default: x0 x_t)")
    group.add_argument(
        "--strengths", nargs="+", type=float, metavar="W", help="of the first stage (default: 30 to 1e4)"
    )
    group.add_argument("--windows", nargs="+", type=window, metavar="START,STOP", help="the first one is used first")
    group.add_argument("--mu", type=float, default=1.0, help="weight of the caption (default: 1)")
    group.add_argument(
        "--eta", type=float, default=1.0, help="weight of a retrieved motion (default: 1; 0 needs no index)"
    )
    group.add_argument(
        "--tolerance", type=float, default=0.01, metavar="F",
        help="fraction by which a measure may be worse than unguided (default: .01)",
    )  # fmt: skip
    add_sampling(parser.add_argument_group("sampling"))
    parser.add_argument("-o", "--output", type=Path, help="(default: guidance.yaml beside the generator's weights)")


def run(options: argparse.Namespace) -> None:
    """Search, write and print."""
    use_threads(options.threads, options.batch_size, options.devices)
    from realign.checkpoint.guidance import name_of
    from realign.distributed import launch
    from realign.evaluation.results import Results
    from realign.evaluation.settings import Setting
    from realign.evaluation.tuning import Search, search, write_guidance
    from realign.guidance.config import GuidanceConfig
    from realign.guidance.own import OwnGuidance
    from realign.inference import pick_device

    output = _output(options)
    kept = output.with_suffix(".json")
    reward, index = _names(options)
    base = GuidanceConfig(mu=options.mu, eta=options.eta, start=0.0, interval=2)
    given = {"strengths": options.strengths, "windows": options.windows}
    plan = Search(
        base,
        Setting(**{name: getattr(options, name) for name in SAMPLING}),
        points=options.points,
        **{name: value for name, value in given.items() if value},
    )

    def measured(settings: "list[Setting]") -> "Results":
        launch(measure, options.devices, pick_device(options.device), options, settings, kept)
        return Results.load(kept)

    guidance, verdicts = search(plan, measured, options.tolerance)
    before = OwnGuidance.read(output.parent)
    known = None if before is None or before.known is None else name_of(before.known)
    write_guidance(output, guidance, reward, index, known)
    for verdict in verdicts:
        print(f"{verdict.gain:+.3f}  {verdict.name}{'; worse: ' + ', '.join(verdict.worse) if verdict.worse else ''}")
    if guidance.method != "none":
        tell_absent(output, {"reward": reward} | ({"index": index} if guidance.eta else {}))
    print("No setting is better than no guidance." if guidance.method == "none" else f"Best: {verdicts[0].name}.")
    print(output, kept, sep="\n")


def tell_absent(output: Path, names: Mapping[str, str]) -> None:
    """Tell which of the folders that a guidance.yaml names do not lie where `realign generate` looks for them."""
    from realign.checkpoint.guidance import place_of

    for what, name in names.items():
        place = place_of(output.parent, name, what)
        if isinstance(place, Path) and not place.exists():
            note(
                f"{output} names the {what} {name!r}, which is not at {place}; put its folder there (`realign export` "
                "makes one of a .ckpt) and write the folder's name"
            )


def _output(options: argparse.Namespace) -> Path:
    """The file to write."""
    if options.output is not None:
        return Path(options.output)
    if options.generator is None or not Path(options.generator).is_dir():
        raise InputError("Give -o FILE: guidance.yaml can only be written beside the weights of a generator's folder.")
    return Path(options.generator) / "guidance.yaml"


def _names(options: argparse.Namespace) -> tuple[str, str]:
    """Names of the reward's and the index's folder, as guidance.yaml holds them: those given, else the own ones."""
    from realign.checkpoint.guidance import name_of
    from realign.guidance.own import OwnGuidance
    from realign.inference import pretrained_folder

    if options.reward is None:
        own = OwnGuidance.read(options.generator or pretrained_folder("generator"))
        if own is None:
            raise InputError("Give --reward: the generator has no guidance of its own yet.")
        return name_of(own.reward), name_of(own.index)
    if options.index is None and options.eta:
        raise InputError("Give --index, made with the reward by `realign index build`, or --eta 0.")
    return name_of(options.reward), "reward_index" if options.index is None else name_of(options.index)
