"""Geometric losses on joint positions (MDM, Tevet et al. 2023, section 3, equations 3 to 5)."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from realign.errors import InputError
from realign.masking import masked_loss
from realign.transfer import places


class GeometricLoss(nn.Module):
    """Weighted L1 distances of joint positions, bone lengths, foot velocities and accelerations.

    Args:
        joints: Weight of joint positions in metres, relative to the root in x and z: a heading that is off by a little
            moves a whole path, and its velocity is a feature of its own.
        bones: Weight of bone lengths in metres.
        feet: Weight of the velocity of ankles and toes in metres a second.
        accelerations: Weight of the acceleration of every joint in m/s², for motions that do not tremble: at 20 fps
            an error of 1 mm in one frame alone is .8 m/s². Not one of the paper's losses.

    Raises:
        InputError: A weight below 0.
    """

    def __init__(self, joints: float = 1.0, bones: float = 1.0, feet: float = 0.1, accelerations: float = 0.0) -> None:
        super().__init__()
        weights = {"joints": joints, "bones": bones, "feet": feet, "accelerations": accelerations}
        if min(weights.values()) < 0:
            stated = ", ".join(f"{name} {weight}" for name, weight in weights.items())
            raise InputError(f"Weights of geometric losses are at least 0, but are {stated}.")
        self.weights = weights

    def forward(
        self,
        made: Float[Tensor, "B F J 3"],
        real: Float[Tensor, "B F J 3"],
        mask: Bool[Tensor, "B F"],
        parents: Sequence[int],
        feet: Sequence[int],
        fps: float,
        weight: Float[Tensor, "B 1 1"] | float = 1.0,
    ) -> dict[str, Float[Tensor, ""]]:
        """The weighted sum as `geometric`, and its parts without weights.

        Args:
            made: Joint positions in metres, Y up.
            real: The positions that they should be.
            mask: True where a frame exists.
            parents: Parent of every joint; -1 for the root, which is the first.
            feet: Joints whose velocities count.
            fps: Frames a second.
            weight: Multiplies the errors of each motion.
        """
        present = mask[..., None, None]
        made, real = (x.where(present, 0) for x in (made, real))  # padding may hold anything
        distances = {
            "joints": (_about_root(made) - _about_root(real), mask),
            "bones": (_lengths(made, parents) - _lengths(real, parents), mask),
            "feet": (
                fps * (made - real)[:, :, places(tuple(feet), made.device)].diff(dim=1).flatten(2),
                mask[:, 1:] & mask[:, :-1],
            ),
            "accelerations": (
                fps**2 * (made - real).diff(n=2, dim=1).flatten(2),
                mask[:, 2:] & mask[:, 1:-1] & mask[:, :-2],
            ),
        }
        parts = {name: masked_loss(weight * each.abs(), present) for name, (each, present) in distances.items()}
        total = torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()
        return {"geometric": total, **parts}


def _about_root(joints: Float[Tensor, "B F J 3"]) -> Float[Tensor, "B F C"]:
    """Positions about the point of the floor below the root."""
    x, y, z = joints[:, :, :1].unbind(-1)
    return (joints - torch.stack([x, torch.zeros_like(y), z], -1)).flatten(2)


def _lengths(joints: Float[Tensor, "B F J 3"], parents: Sequence[int]) -> Float[Tensor, "B F K"]:
    """Length of every bone; smooth where two joints meet."""
    bones = joints[:, :, 1:] - joints[:, :, places(tuple(parents[1:]), joints.device)]
    return (bones.square().sum(-1) + 1e-10).sqrt()
