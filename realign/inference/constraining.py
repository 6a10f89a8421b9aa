"""Constraints of generated motions: what is kept, the length that they ask for, and where motions lie in the world."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from realign.errors import InputError
from realign.guidance.constrained import ConstraintConfig, ConstraintGuidance
from realign.guidance.constraints import Constraint, Positions, place
from realign.guidance.paths import RootPath
from realign.guidance.ranges import Range, read_range
from realign.inference.common import LONGEST, UNIT
from realign.interfaces import TextToMotionModel
from realign.motion.clip import MotionClip
from realign.motion.skeleton import get_skeleton
from realign.nn.diffusion import Diffusion


class Constrained:
    """Constraints of motions of one length.

    Args:
        constraints: In the world.
        generator: Makes the motions.
        frames: Their length.
        config: When and how strongly to steer.

    Raises:
        InputError: The generator is not a diffusion, or the motions cannot meet a constraint.
    """

    def __init__(
        self,
        constraints: Sequence[Constraint],
        generator: TextToMotionModel,
        frames: int,
        config: ConstraintConfig | None = None,
    ) -> None:
        if not isinstance(generator, Diffusion):
            raise InputError(
                f"Constraints steer a diffusion, but the generator is a {type(generator).__name__}; take a diffusion."
            )
        self.generator, self.config = generator, config or ConstraintConfig()
        self.placed, self.placement = place(constraints, frames, get_skeleton(generator.skeleton))

    def guidance(self, lengths: Int[Tensor, "B"]) -> ConstraintGuidance:
        """Guidance of a batch."""
        return ConstraintGuidance(self.placed, self.generator, lengths, self.config)

    def in_world(self, joints: Float[Tensor, "F J 3"]) -> Float[Tensor, "F J 3"]:
        """Joints of a motion where the constraints lie."""
        return joints if self.placement is None else self.placement.back(joints)


def frames_asked(constraints: Sequence[Constraint], fps: float) -> int:
    """The length that constraints ask for: that of the motion to keep, or of a path with times.

    Raises:
        InputError: None asks for one, or it is longer than a motion can be.
    """
    asked = [len(each.target) for each in constraints if isinstance(each, Positions)]
    asked += [round(each.seconds[-1] * fps) + 1 for each in constraints if isinstance(each, RootPath) and each.seconds]
    if not asked:
        raise InputError("These constraints do not say how long the motion is; give its seconds (--seconds).")
    frames = max(asked) // UNIT * UNIT
    if frames > LONGEST:
        raise InputError(
            f"The constraints last {frames / fps:g} s, but a motion at most {LONGEST / fps:g} s; give its "
            "--seconds, or a --sequence of parts."
        )
    return frames


def keep(
    clip: MotionClip, frames: Sequence[str | int | Range] = (), joints: Sequence[str] = (), skeleton: str | None = None
) -> Positions:
    """Keep frames and joints of a motion: prefixes, in-betweening, or the arms of another motion.

    Args:
        clip: The motion; frames at another rate are interpolated.
        frames: Ranges such as ``"0:20"``, ``"-60:"`` or ``"40"``, by the numbers of its frames; all when empty.
        joints: Names of joints, such as ``left_wrist``; all when empty.
        skeleton: Name of the generator's skeleton; the clip's own when None.

    Raises:
        InputError: The clip has another skeleton, or a range or name does not fit.
    """
    own = get_skeleton(skeleton or clip.skeleton)
    if clip.skeleton != own.name:
        raise InputError(
            f"The motion to keep has the skeleton {clip.skeleton!r}, but the generator makes {own.name!r}."
        )
    found = clip.joints_at(own.fps)
    if len(found) > UNIT:
        found = found[: len(found) // UNIT * UNIT]  # what a motion of this length has
    ranges = [read_range(each) if isinstance(each, (str, int)) else each for each in frames]
    return Positions.of_motion(torch.from_numpy(found), own, ranges, joints)
