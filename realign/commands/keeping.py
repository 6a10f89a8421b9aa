"""Options of what motions keep and follow, and of further objectives."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from realign.commands.common import note

if TYPE_CHECKING:
    from realign.guidance.constraints import Constraint
    from realign.inference.objectives import Objectives
    from realign.motion.clip import MotionClip
    from realign.motion.skeleton import Skeleton


def add_keeping(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("constraints")
    group.add_argument("--keep", type=Path, metavar="MOTION", help="keep frames or joints of a motion, of any format")
    group.add_argument(
        "--keep-frames", type=_listed, default=[], metavar="RANGES",
        help="frames of it to keep, such as 0:20,-60: for the first 20 and the last 60 (default: all)",
    )  # fmt: skip
    group.add_argument(
        "--keep-joints", type=_listed, default=[], metavar="JOINTS",
        help="joints of it to keep, such as left_wrist,right_wrist (default: all)",
    )  # fmt: skip
    group.add_argument(
        "--path", type=Path, metavar="CSV", help="path of the root over the floor: lines of x,z or of seconds,x,z"
    )
    group.add_argument(
        "--objectives",
        type=Path,
        metavar="YAML",
        help="lists of constraints and of further rewards, with their options",
    )


def _listed(text: str) -> list[str]:
    return [each.strip() for each in text.split(",")]


def given_objectives(options: argparse.Namespace, skeleton: "Skeleton") -> "Objectives":
    """What the options ask for, and the file that they name.

    Raises:
        InputError: A file that does not fit.
    """
    from realign.guidance.constrained import ConstraintConfig
    from realign.inference.constraining import keep
    from realign.inference.objectives import Objectives, read_objectives, read_path
    from realign.motion.clip import MotionClip

    constraints: list[Constraint] = []
    if options.keep is not None:
        constraints.append(keep(MotionClip.load(options.keep), options.keep_frames, options.keep_joints, skeleton.name))
    if options.path is not None:
        constraints.append(read_path(options.path))
    if options.objectives is None:
        return Objectives(constraints, ConstraintConfig(), [])
    found = read_objectives(options.objectives, skeleton)
    return found._replace(constraints=constraints + found.constraints)


def tell_deviation(constraints: "Sequence[Constraint]", clip: "MotionClip") -> None:
    """Print how far the joints of a motion are from where they are kept."""
    import torch

    from realign.guidance.constraints import deviations

    found = deviations(constraints, clip)
    if len(found):
        mean, most = float(torch.mean(found)), float(found.max())
        note(f"{clip.caption!r}: kept joints are {100 * mean:.1f} cm off on average, {100 * most:.1f} cm at most")
