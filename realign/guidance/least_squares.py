"""Least squares of many samples at once, by products with their Jacobian alone."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import conv1d

from realign.masking import apply_mask

_TINY = 1e-20
_ROUGH = 0.1

Product = Callable[[Tensor], Tensor]


def conjugate_gradients(
    forward: Product, backward: Product, wanted: Float[Tensor, "B K"], iterations: int, damping: float
) -> Float[Tensor, "B N W"]:
    """min_d |J d - wanted|^2 + damping |d|^2 of each row by itself (CGLS; Bjoerck 1996, section 7.4).

    Args:
        forward: d to J d, row by row.
        backward: s to J^T s.
        wanted: What J d should be.
        iterations: Their fixed number, so that nothing is read back from the device.
        damping: As said.
    """
    left, slope = wanted, backward(wanted)
    found, direction, size = torch.zeros_like(slope), slope, _squared(slope)
    slopes = list[Tensor]()
    for _ in range(iterations):
        slopes.append(_each((size + _TINY).rsqrt(), slope))
        image = forward(direction)
        step = size / (_squared(image) + damping * _squared(direction) + _TINY)
        found, left = found + _each(step, direction), left - _each(step, image)
        slope = backward(left) - damping * found
        for each in slopes:  # as exact arithmetic would leave it; otherwise rounding decides on what steps are found
            slope = slope - _each((slope * each).flatten(1).sum(1), each)
        before, size = size, _squared(slope)
        direction = slope + _each(size / (before + _TINY), direction)
    return found


def smooth(x: Float[Tensor, "B N W"], mask: Bool[Tensor, "B N"], width: float) -> Float[Tensor, "B N W"]:
    """A Gaussian filter over tokens, and a tenth of the input; it equals its own transpose.

    Args:
        x: Zero where no token exists.
        mask: True where one does.
        width: Standard deviation of the filter, in tokens; 0 leaves the input as it is.
    """
    if not width:
        return x
    radius = int(3 * width) + 1
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype) / width).square())
    rows = x.transpose(1, 2).flatten(0, 1)[:, None]
    filtered = conv1d(rows, (kernel / kernel.sum())[None, None], padding=radius)
    return apply_mask(_ROUGH * x + filtered.reshape(len(x), x.shape[2], -1).transpose(1, 2), mask)


def _squared(x: Float[Tensor, "B *N"]) -> Float[Tensor, "B"]:
    return x.flatten(1).square().sum(1)


def _each(factors: Float[Tensor, "B"], x: Float[Tensor, "B *N"]) -> Float[Tensor, "B *N"]:
    return factors.reshape(-1, *[1] * (x.ndim - 1)) * x
