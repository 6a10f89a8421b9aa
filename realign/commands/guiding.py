"""Options of guidance, for several commands."""

import argparse
from pathlib import Path
from typing import Any, get_args

from realign.commands.common import local_path
from realign.guidance.arguments import add_guidance_options, given_options
from realign.guidance.config import Word


def add_guidance(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Declare the method, the files and the options of guidance; None is not given.

    Args:
        parser: Of the command.
        several: Take several methods, a setting each.
    """
    group = parser.add_argument_group("guidance by a reward", "defaults are the generator's own, else as listed")
    group.add_argument(
        "--guidance", choices=get_args(Word), nargs="+" if several else None,
        help="none; reward: steer every step by its gradient; best-of: keep the best of N motions; default: as the "
        "generator's own guidance says" + ("; several make a setting each" if several else ""),
    )  # fmt: skip
    add_guidance_files(group)
    group.add_argument("--window", type=window, metavar="START,STOP", help="both --start and --stop, such as .2,1")
    add_guidance_options(group)


def add_guidance_files(group: "argparse._ArgumentGroup") -> None:
    """Declare where the reward and its index come from."""
    group.add_argument(
        "--reward",
        type=local_path,
        metavar="CHECKPOINT",
        help="a reward's .ckpt, folder of weights, shipped name or ORG/NAME on the Hub",
    )
    group.add_argument(
        "--index", type=local_path, metavar="DIR", help="index made with the reward, for --eta and for usual lengths"
    )


def given_guidance(options: argparse.Namespace) -> dict[str, Any]:
    """The options of guidance that were given, by the names of `GuidanceConfig`."""
    given = given_options(options)
    if options.window is not None:
        given["start"], given["stop"] = options.window
    return given


def own_guidance(generator: Path | None) -> Any:
    """The configuration of a generator's own guidance; None if it has none."""
    from realign.guidance.own import OwnGuidance
    from realign.inference import pretrained_folder

    own = OwnGuidance.read(generator or pretrained_folder("generator"))
    return None if own is None else own.config


def window(text: str) -> tuple[float, float]:
    """Two numbers with a comma between them."""
    start, _, stop = text.partition(",")
    return float(start), float(stop)
