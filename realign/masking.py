"""Length masks and masked reductions."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def lengths_to_mask(lengths: Int[Tensor, "B"], size: int | None = None) -> Bool[Tensor, "B F"]:
    """True where a frame exists.

    Args:
        lengths: Frames of each sample.
        size: Width F of the mask; the longest length when None.
    """
    size = int(lengths.max()) if size is None else size
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def apply_mask(x: Float[Tensor, "B N *C"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B N *C"]:
    """Zero where the mask is False, NaN included."""
    return x.masked_fill(~mask.reshape(*mask.shape, *[1] * (x.ndim - 2)), 0)


def masked_mean(x: Float[Tensor, "B N *C"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B *C"]:
    """Mean over the valid entries of dimension 1; zero for rows without any."""
    count = mask.sum(1).clamp(min=1).reshape(-1, *[1] * (x.ndim - 2))
    return apply_mask(x, mask).sum(1) / count


def masked_loss(error: Float[Tensor, "B N C"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, ""]:
    """Mean over channels and valid entries of each sample, then over samples.

    The mean is taken per sample first, so that equal parts of a batch on several processes average to the value one
    process computes for the whole batch.
    """
    return masked_mean(error.mean(-1, keepdim=True), mask).mean()
