"""Smoothness of motions that were made in parts."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def velocity_jumps(joints: Float[Tensor, "*B F J 3"], fps: float) -> Float[Tensor, "*B F-2"]:
    """Change of velocity from frame to frame, averaged over joints (m/s); entry i is around frame i + 1.

    Args:
        joints: Positions (m).
        fps: Frames per second.
    """
    return joints.diff(n=2, dim=-3).norm(dim=-1).mean(-1) * fps


def near_seams(frames: int, seams: Sequence[int], within: int) -> Bool[Tensor, "N"]:
    """Which of the F - 2 entries of `velocity_jumps` lie at most `within` frames from a seam.

    Args:
        frames: Frames F of the motion.
        seams: First frame of every part but the first.
        within: Frames on either side.
    """
    places = torch.arange(1, frames - 1)
    near = torch.zeros(frames - 2, dtype=torch.bool)
    for seam in seams:
        near |= (places >= seam - within) & (places < seam + within)
    return near
