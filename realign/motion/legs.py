"""Legs of two rigid bones that reach given places of the feet."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from realign.motion.rotations import quaternion_rotate, shortest_arc
from realign.motion.skeleton import Skeleton

_STRETCH = 0.99  # of a leg's length: no leg is pulled straighter than this, or than it was
_DROP = 0.06  # m; the pelvis sinks at most so far before a foot is released
_BEND = 0.02  # m; a knee less bent than this turns towards the toes
_TINY = 1e-9


def reach(
    joints: Float[Tensor, "F J 3"],
    feet: Float[Tensor, "F 4 3"],
    stands: Float[Tensor, "F 2"],
    skeleton: Skeleton,
    spread: int,
) -> Float[Tensor, "F J 3"]:
    """Joints whose toes are at given places and whose heels lie in given directions from them; no length changes.

    Ankles follow the toes and heels, knees keep the side to which they bend. Where the leg of a standing foot is too
    short the whole body sinks, smoothly over time and at most 6 cm; where that is not enough the foot stays behind.

    Args:
        joints: Positions (m).
        feet: Wanted positions (m) of the skeleton's `feet`; the length between heel and toes is kept.
        stands: How surely the left and the right foot stand, from 0 to 1.
        skeleton: Their skeleton.
        spread: Frames over which the body begins to sink before it must.
    """
    legs = [_wanted(joints, feet[:, 2 * side : 2 * side + 2], skeleton, side) for side in range(2)]
    missing = torch.stack([_missing(leg.ankle - joints[:, leg.chain[0]], leg.longest) for leg in legs], dim=1)
    result = joints.clone()
    result[..., 1] -= _ahead_of((missing * stands).amax(dim=1), spread)[:, None]
    for leg in legs:
        hip, knee, ankle = leg.chain
        way = leg.ankle - result[:, hip]
        size = way.norm(dim=-1).clamp(min=_TINY)
        held = size.clamp(min=(leg.upper - leg.lower).abs()).minimum(leg.longest)
        way = way * (held / size)[:, None]
        old, bent = joints[:, ankle] - joints[:, hip], joints[:, knee] - joints[:, hip]
        result[:, knee] = result[:, hip] + _knee(way, old, bent, leg)
        result[:, [ankle, *leg.foot]] = (result[:, hip] + way)[:, None] + leg.sole
    return result


@dataclass(frozen=True)
class _Leg:
    """A leg and what is wanted of it.

    Attributes:
        chain: Hip, knee and ankle.
        foot: Joints below the ankle.
        upper: Length of the thigh (m).
        lower: Length of the shank (m).
        longest: Greatest distance of hip and ankle (m).
        ankle: Wanted positions (m).
        sole: Ankle and foot from the ankle (m).
    """

    chain: tuple[int, int, int]
    foot: list[int]
    upper: Float[Tensor, "N"]
    lower: Float[Tensor, "N"]
    longest: Float[Tensor, "N"]
    ankle: Float[Tensor, "N 3"]
    sole: Float[Tensor, "N K 3"]


def _wanted(joints: Float[Tensor, "F J 3"], feet: Float[Tensor, "F 2 3"], skeleton: Skeleton, side: int) -> _Leg:
    """The leg of a side (left, right) for its heel and toes."""
    heel, toe = (skeleton.feet_left, skeleton.feet_right)[side]
    _, hip, knee, ankle, *foot = next(chain for chain in skeleton.chains if toe in chain)
    turn = shortest_arc(joints[:, toe] - joints[:, heel], feet[:, 1] - feet[:, 0])
    placed = feet[:, 1:] + quaternion_rotate(turn[:, None], joints[:, [ankle, *foot]] - joints[:, [toe]])
    upper, lower, now = (
        (joints[:, a] - joints[:, b]).norm(dim=-1) for a, b in ((knee, hip), (ankle, knee), (ankle, hip))
    )
    longest = torch.maximum(_STRETCH * (upper + lower), now)
    return _Leg((hip, knee, ankle), foot, upper, lower, longest, placed[:, 0], placed - placed[:, :1])


def _missing(way: Float[Tensor, "N 3"], limit: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """How far a hip must sink so that its ankle comes within the limit (m)."""
    flat = (limit.square() - way[:, 0].square() - way[:, 2].square()).clamp(min=0).sqrt()
    return (-way[:, 1] - flat).clamp(0, _DROP)


def _ahead_of(needed: Float[Tensor, "N"], spread: int) -> Float[Tensor, "N"]:
    """A smooth curve that is nowhere below `needed`: its greatest values over a window, averaged over the same."""
    edge = torch.nn.functional.pad(needed[None], (2 * spread, 2 * spread), mode="replicate")
    highest = torch.nn.functional.max_pool1d(edge, 2 * spread + 1, stride=1)
    weight = torch.hann_window(2 * spread + 3, periodic=False, dtype=needed.dtype)[1:-1]
    return torch.nn.functional.conv1d(highest[None], (weight / weight.sum())[None, None])[0, 0]


def _knee(
    way: Float[Tensor, "F 3"], old: Float[Tensor, "F 3"], bent: Float[Tensor, "F 3"], leg: _Leg
) -> Float[Tensor, "F 3"]:
    """The knee from the hip, for an ankle at `way` that was at `old` when the knee was at `bent`."""
    size = way.norm(dim=-1, keepdim=True).clamp(min=_TINY)
    axis = way / size
    side = _across(quaternion_rotate(shortest_arc(old, way), bent), axis)
    ahead = _across(leg.sole[:, -1] * way.new_tensor([1.0, 0.0, 1.0]), axis)
    side = side + _unit(ahead) * (_BEND - side.norm(dim=-1, keepdim=True)).clamp(min=0)
    along = (leg.upper.square() - leg.lower.square())[:, None] / (2 * size) + size / 2
    return along * axis + (leg.upper[:, None].square() - along.square()).clamp(min=0).sqrt() * _unit(side)


def _across(vector: Float[Tensor, "F 3"], axis: Float[Tensor, "F 3"]) -> Float[Tensor, "F 3"]:
    """The part of a vector perpendicular to a unit axis."""
    return vector - (vector * axis).sum(dim=-1, keepdim=True) * axis


def _unit(vector: Float[Tensor, "F 3"]) -> Float[Tensor, "F 3"]:
    return vector / vector.norm(dim=-1, keepdim=True).clamp(min=_TINY)
