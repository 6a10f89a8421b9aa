"""Feet that stand still on the floor: the smallest and smoothest shifts of feet and body that make them."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from realign.motion.banded import solve_banded
from realign.motion.contacts import foot_contacts
from realign.motion.legs import reach
from realign.motion.skeleton import Skeleton

# Weights of squared shifts (m), per frame at 20 fps; only their ratios count.
_NEAR, _BODY, _STILL, _FLOOR = 1.0, 6.0, 1e5, 1e2
_FOOT_SECONDS, _BODY_SECONDS = 0.08, 0.25  # in which a shift fades in and out
_SINK_SECONDS = 0.2  # in which the body begins to sink before a leg would be too short
_SOLE = 0.015  # m; toes that stand are at most so high
_LEADS = ((0, 1), (1, 4), (2, 3), (3, 4))  # a heel goes with its toes, toes with the body
_BODY_TRACK, _TOES = 4, [1, 3]


def lock_feet(
    joints: Float[Tensor, "F J 3"], skeleton: Skeleton, fps: float, contacts: Float[Tensor, "F 4"] | None = None
) -> Float[Tensor, "F J 3"]:
    """A motion whose feet stand still where they are in contact, by moving legs and, a little, the whole body.

    The shifts of both heels, both toes and the body are the least-squares solution in which steps of a contact do not
    move, shifts are small and change smoothly, toes that stand are within 1.5 cm of the floor, and no toes are below
    it. Legs then bend so that the feet are there; all bones keep their lengths.

    Args:
        joints: Positions (m) of a motion of rigid bones, Y up, the floor at 0.
        skeleton: Their skeleton.
        fps: Frames per second.
        contacts: Contact channels of features, see `foot_contacts`.
    """
    standing = foot_contacts(joints, skeleton, fps, contacts)
    padded = torch.nn.functional.pad(standing, (0, 0, 1, 1))
    stands = torch.maximum(padded[1:], padded[:-1])
    joints = _levelled(joints, joints[:, [skeleton.feet[i] for i in _TOES], 1], stands[:, _TOES] > 0.5)
    feet = joints[:, list(skeleton.feet)]
    shifts = torch.cat([_shifts(feet, standing, fps), _lifts(feet[..., 1], stands, fps)], dim=-1)[..., [0, 2, 1]]
    wanted = feet + shifts[:, :_BODY_TRACK]
    wanted[..., 1].clamp_(min=0)
    body = joints + shifts[:, _BODY_TRACK:]
    return reach(body, wanted, stands[:, _TOES], skeleton, max(1, round(_SINK_SECONDS * fps)))


def _levelled(
    joints: Float[Tensor, "F J 3"], height: Float[Tensor, "F 2"], stand: Bool[Tensor, "F 2"]
) -> Float[Tensor, "F J 3"]:
    """The motion moved up or down as a whole, so that half of the standing toes are on the floor."""
    off = (height - height.clamp(0, _SOLE))[stand]
    if not len(off):
        return joints
    return joints - off.median() * joints.new_tensor([0.0, 1.0, 0.0])


def _shifts(feet: Float[Tensor, "F 4 3"], standing: Float[Tensor, "F-1 4"], fps: float) -> Float[Tensor, "F 5 2"]:
    """Shifts along the floor, x and z, of the four foot joints and of the body."""
    bands = _smallest(len(feet), fps)
    still = _STILL * (fps / 20) ** 2 * standing
    own = torch.arange(_BODY_TRACK)
    bands[0][:-1, own, own] += still
    bands[0][1:, own, own] += still
    bands[1][:-1, own, own] -= still
    slide = still[..., None] * feet.diff(dim=0)[..., [0, 2]]
    right = feet.new_zeros(len(feet), _BODY_TRACK + 1, 2)
    right[:-1, :_BODY_TRACK] += slide
    right[1:, :_BODY_TRACK] -= slide
    return solve_banded(bands, right)


def _lifts(height: Float[Tensor, "F 4"], stands: Float[Tensor, "F 4"], fps: float) -> Float[Tensor, "F 5 1"]:
    """Shifts upwards: toes below the floor rise to it, standing ones sink towards it unless they are well above."""
    height, stands = height[:, _TOES], stands[:, _TOES]
    near = (2 - height / _SOLE).clamp(0, 1)
    pull = _FLOOR * torch.where(height < 0, 1, near * stands * (height > _SOLE))
    bands = _smallest(len(height), fps)
    bands[0][:, _TOES, _TOES] += pull
    right = height.new_zeros(len(height), _BODY_TRACK + 1, 1)
    right[:, _TOES, 0] = pull * (height.clamp(0, _SOLE) - height)
    return solve_banded(bands, right)


def _smallest(frames: int, fps: float) -> list[Float[Tensor, "F 5 5"]]:
    """Bands of the quadratic form of small, smooth shifts that differ little from each other."""
    bands = [torch.zeros(frames, _BODY_TRACK + 1, _BODY_TRACK + 1, dtype=torch.float64) for _ in range(3)]
    for one, other in _LEADS:
        for i, j, sign in ((one, one, 1), (other, other, 1), (one, other, -1), (other, one, -1)):
            bands[0][:, i, j] += sign * _NEAR
    bands[0][:, _BODY_TRACK, _BODY_TRACK] += _BODY
    foot, body = (_NEAR * (_FOOT_SECONDS * fps) ** 4, _BODY * (_BODY_SECONDS * fps) ** 4)
    smooth = torch.diag(torch.tensor([foot] * _BODY_TRACK + [body], dtype=torch.float64))
    for place, factor in ((0, 1), (1, 4), (2, 1)):  # of the squared second differences
        bands[0][place : frames - 2 + place] += factor * smooth
    bands[1][: frames - 2] -= 2 * smooth
    bands[1][1 : frames - 1] -= 2 * smooth
    bands[2][: frames - 2] += smooth
    return bands
