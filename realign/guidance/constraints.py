"""What a motion should meet, in space: kept frames and joints, or errors of your own."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from realign.errors import InputError
from realign.guidance.ranges import Range
from realign.motion.canonical import facing_of_joints, uniform_skeleton
from realign.motion.clip import MotionClip
from realign.motion.rotations import rotate_yaw
from realign.motion.skeleton import Skeleton, get_skeleton


class Placement(NamedTuple):
    """Where a motion begins in the world: generated motions begin at the origin, facing Z+.

    Attributes:
        origin: Position of the first root on the floor.
        facing: Horizontal unit direction (x, z) that the first frame faces.
    """

    origin: Float[Tensor, "3"]
    facing: Float[Tensor, "2"]

    def into(self, world: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3"]:
        """Positions as seen from the start of the motion."""
        return rotate_yaw(self.facing.to(world), world - self.origin.to(world))

    def back(self, own: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3"]:
        """Positions in the world."""
        facing = self.facing.to(own)
        return rotate_yaw(torch.stack([-facing[0], facing[1]]), own) + self.origin.to(own)


AT_ORIGIN = Placement(torch.zeros(3), torch.tensor([0.0, 1.0]))
"""Where generated motions begin."""


class Constraint(nn.Module, ABC):
    """What a motion should meet: errors of its joints that vanish where it does.

    Subclass it for constraints of your own; tensors that it holds are buffers. All constraints of a motion are met
    together, in the least-squares sense.
    """

    @abstractmethod
    def forward(self, joints: Float[Tensor, "B F J 3"], mask: Bool[Tensor, "B F"]) -> Float[Tensor, "B *K"]:
        """Errors of each motion (m), twice differentiable and computed without waiting for the device.

        Args:
            joints: Positions (m); the first frame's root is above the origin, and it faces Z+.
            mask: True where a frame exists.
        """

    @property
    def placement(self) -> Placement | None:
        """Where the motion begins in the world; None where the constraint does not say."""
        return None

    def on(self, frames: int, skeleton: Skeleton, placement: Placement) -> "Constraint":
        """The constraint of motions with so many frames that begin at a placement; by default, itself.

        Raises:
            InputError: Such motions cannot meet it.
        """
        return self


class Positions(Constraint):
    """Joints that are at given positions in given frames.

    Args:
        target: Positions in the world, in the skeleton's unit.
        kept: Which coordinates count.
        placement: Where the motion begins in the world.
        metres: Length of the unit (m).
    """

    target: Tensor
    kept: Tensor

    def __init__(
        self,
        target: Float[Tensor, "F J 3"],
        kept: Bool[Tensor, "F J 3"],
        placement: Placement | None = None,
        metres: float = 1.0,
    ) -> None:
        super().__init__()
        self.register_buffer("target", target.float())
        self.register_buffer("kept", kept)
        self._placement, self.metres = placement, metres

    @classmethod
    def of_motion(
        cls,
        joints: Float[Tensor, "F J 3"],
        skeleton: Skeleton,
        frames: Sequence[Range] = (),
        names: Sequence[str] = (),
    ) -> "Positions":
        """Keep frames and joints of a motion, which is first given the bone lengths of the skeleton.

        Args:
            joints: The motion, in the skeleton's unit and at its frame rate.
            skeleton: The skeleton.
            frames: Ranges of frames to keep; all when empty.
            names: Joints to keep; all when empty.

        Raises:
            InputError: An unknown joint, or a range without a frame.
        """
        world = uniform_skeleton(joints.float(), skeleton)
        kept = torch.zeros(*joints.shape[:2], 3, dtype=torch.bool)
        unknown = next((name for name in names if name not in skeleton.joints), None)
        if unknown is not None:
            raise InputError(f"There is no joint {unknown!r}; choose of {', '.join(skeleton.joints)}.")
        chosen = [skeleton.joints.index(name) for name in names] or list(range(skeleton.num_joints))
        for start, stop in frames or [(None, None)]:
            places = range(len(joints))[start:stop]
            if not places:
                shown = ":".join("" if end is None else str(end) for end in (start, stop))
                raise InputError(f"The range {shown} holds none of the {len(joints)} frames of the motion to keep.")
            kept[places.start : places.stop, chosen] = True
        facing = facing_of_joints(world[:1], skeleton)[0]
        origin = torch.stack([world[0, 0, 0], world[..., 1].min(), world[0, 0, 2]])
        return cls(world, kept, Placement(origin, facing), skeleton.metres)

    @property
    def placement(self) -> Placement | None:
        """Where the motion begins in the world."""
        return self._placement

    def on(self, frames: int, skeleton: Skeleton, placement: Placement) -> "Positions":
        """The positions as seen from the start of the motion.

        Raises:
            InputError: They are of another skeleton, or beyond the end of the motion.
        """
        if self.target.shape[1] != skeleton.num_joints:
            raise InputError(
                f"The kept motion has {self.target.shape[1]} joints, but the generator makes {skeleton.num_joints}."
            )
        last = int(self.kept.flatten(1).any(1).nonzero().max()) if bool(self.kept.any()) else -1
        if last >= frames:
            raise InputError(
                f"Frame {last} is to be kept, but the motion has {frames} frames; make it longer (--seconds), or keep "
                "earlier frames."
            )
        pad = max(0, frames - len(self.target))
        target, kept = (nn.functional.pad(each, (0, 0, 0, 0, 0, pad))[:frames] for each in (self.target, self.kept))
        return Positions(placement.into(target), kept, None, self.metres)

    def forward(self, joints: Float[Tensor, "B F J 3"], mask: Bool[Tensor, "B F"]) -> Float[Tensor, "B F J 3"]:
        """Differences from the positions (m), zero where they do not count."""
        frames = min(joints.shape[1], len(self.target))
        kept = self.kept[:frames] & mask[:, :frames, None, None]
        return (joints[:, :frames] - self.metres * self.target[:frames]) * kept

    def deviation(self, joints: Float[Tensor, "F J 3"]) -> Float[Tensor, "N"]:
        """Distance of every kept joint from its position (m), of a motion in the world."""
        frames = min(len(joints), len(self.target))
        kept = self.kept[:frames].any(-1)
        return ((joints[:frames] - self.target[:frames]) * self.kept[:frames]).norm(dim=-1)[kept] * self.metres


def place(
    constraints: Sequence[Constraint], frames: int, skeleton: Skeleton
) -> tuple[list[Constraint], Placement | None]:
    """Constraints of motions with so many frames, all seen from the start that the first of them says.

    Args:
        constraints: The constraints, in the world.
        frames: Frames of the motions.
        skeleton: Their skeleton.

    Raises:
        InputError: The motions cannot meet one of them.
    """
    found = next((each.placement for each in constraints if each.placement is not None), None)
    return [each.on(frames, skeleton, found or AT_ORIGIN) for each in constraints], found


def deviations(constraints: Sequence[Constraint], clip: MotionClip) -> Float[Tensor, "N"]:
    """Distances of kept joints and of the root from where they should be (m), of a motion in the world."""
    skeleton, joints = get_skeleton(clip.skeleton), torch.from_numpy(clip.joints)
    placed = [each.on(len(clip), skeleton, AT_ORIGIN) for each in constraints]
    found = [each.deviation(joints) for each in placed if isinstance(each, Positions)]
    return torch.cat(found) if found else torch.zeros(0)
