"""Which steps of which feet stand on the floor."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from realign.motion.skeleton import Skeleton

_SPEED = (0.6, 1.0)  # m/s along the floor: contact begins below the first and ends above the second
_HEIGHT = (0.05, 0.08)  # m, of the toes
_EDGE = (0.1, 0.5)  # m/s: the first and last step of a contact count wholly below the first, not above the second
_TURN = (0.05, 0.1)  # m/s, of the heel about the toes
_CHANNEL = (0.6, 0.4)  # contact as the features say it, from 0 to 1: begins above the first, ends below the second


def foot_contacts(
    joints: Float[Tensor, "F J 3"],
    skeleton: Skeleton,
    fps: float,
    channels: Float[Tensor, "F 4"] | None = None,
) -> Float[Tensor, "F-1 4"]:
    """How surely each foot joint stands still in the step from each frame to the next, from 0 to 1.

    A contact begins where a foot is slow, low and said to be in contact, and goes on while it is nearly so. Toes need
    all of it; a heel stands if it is slow and its toes stand. The first and the last step of a contact count the less
    the faster the foot is.

    Args:
        joints: Positions (m), the floor at 0.
        skeleton: Their skeleton; the four columns are its `feet`.
        fps: Frames per second.
        channels: The contact channels of the motion's features; None decides by speed and height alone.
    """
    feet = joints[:, list(skeleton.feet)]
    speed = feet.diff(dim=0)[..., [0, 2]].norm(dim=-1) * fps
    height = (feet[1:, :, 1] + feet[:-1, :, 1]) / 2
    begins, goes_on = (speed < limit for limit in _SPEED)
    if channels is not None:
        said = channels[: len(speed)].to(joints)
        begins, goes_on = begins & (said > _CHANNEL[0]), goes_on & (said > _CHANNEL[1])
    toes = [1, 3]
    low, lowish = (height[:, toes] < limit for limit in _HEIGHT)
    stand = _hysteresis(begins[:, toes] & low, goes_on[:, toes] & lowish)
    turning = (feet[:, [0, 2]] - feet[:, toes]).diff(dim=0).norm(dim=-1) * fps
    heels = _hysteresis(stand & (turning < _TURN[0]), stand & (turning < _TURN[1]))
    standing = torch.stack([heels[:, 0], stand[:, 0], heels[:, 1], stand[:, 1]], dim=1)
    edge = torch.nn.functional.pad(standing.mT, (1, 1), value=True).mT
    inner = edge[:-2] & edge[2:]
    slow, fast = _EDGE
    ramp = ((fast - speed) / (fast - slow)).clamp(0, 1)
    return standing * torch.where(inner, 1, ramp)


def _hysteresis(begins: Bool[Tensor, "N K"], goes_on: Bool[Tensor, "N K"]) -> Bool[Tensor, "N K"]:
    """The whole of every run of `goes_on` that holds a `begins`."""
    starts = goes_on.clone()
    starts[1:] &= ~goes_on[:-1]
    run = starts.cumsum(dim=0)
    holds = torch.zeros(len(run) + 1, run.shape[1], dtype=torch.long)
    holds.scatter_add_(0, run, (begins & goes_on).long())
    return goes_on & (holds.gather(0, run) > 0)
