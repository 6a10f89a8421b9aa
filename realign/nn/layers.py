"""Embeddings of timesteps and positions, and patches of tokens."""

import math

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn
from torch.nn import functional as F

from realign.diffusion.path import CLEAN_STEP
from realign.errors import InputError


def sinusoid(positions: Real[Tensor, "*B"], width: int) -> Float[Tensor, "*B W"]:
    """Sines, then cosines, of positions at geometric frequencies (Vaswani et al. 2017, section 3.5)."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half, device=positions.device) * (-math.log(10000.0) / half))
    angles = positions[..., None].float() * frequencies
    return torch.cat([angles.sin(), angles.cos()], -1)


def timestep_sinusoid(t: Real[Tensor, "B"], width: int) -> Float[Tensor, "B W"]:
    """Cosines, then sines, of timesteps, bit-equal to ``Timesteps`` of diffusers, which published models use.

    At a timestep of 1000, the rounding of a frequency changes its angle by 1e-4, so that the order of operations
    matters to a trained model.
    """
    half = width // 2
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1)


def interleaved_sinusoid(positions: Real[Tensor, "*B"], width: int) -> Float[Tensor, "*B W"]:
    """Sinusoids of positions, sines in even channels and cosines in odd ones (Vaswani et al. 2017, section 3.5)."""
    return sinusoid(positions, width).unflatten(-1, (2, -1)).mT.flatten(-2)


class TimestepEmbedding(nn.Module):
    """Sinusoid of a timestep through a two-layer perceptron (Ho et al. 2020, appendix B).

    Clean input has its own timestep, since a scheduler's timestep 0 is noisy already: `CLEAN_STEP` has index 0 of the
    sinusoid, and the scheduler's timestep t has index t + 1.

    Args:
        width: Width of the embedding; even.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Real[Tensor, "B"]) -> Float[Tensor, "B W"]:
        """Embed the timesteps of a path, or `CLEAN_STEP`."""
        return self.mlp(sinusoid(t - CLEAN_STEP, self.width).to(next(self.mlp.parameters()).dtype))


class PositionalEncoding(nn.Module):
    """Adds a vector for each position, fixed (sinusoidal) or learned.

    Args:
        width: Width of the tokens; even.
        learned: Learn the vectors.
        max_length: Number of learned positions; sinusoids have no limit.
    """

    def __init__(self, width: int, learned: bool = False, max_length: int = 512) -> None:
        super().__init__()
        table = torch.randn(max_length, width) * 0.02 if learned else sinusoid(torch.arange(max_length), width)
        self.learned = learned
        if learned:
            self.table = nn.Parameter(table)
        else:
            self.register_buffer("table", table, persistent=False)

    def forward(self, x: Float[Tensor, "B L W"]) -> Float[Tensor, "B L W"]:
        """Add the encodings of positions 0 to L-1."""
        return x + self.rows(x.shape[1]).to(x.dtype)

    def rows(self, length: int) -> Float[Tensor, "L W"]:
        """Encodings of positions 0 to length-1.

        Raises:
            InputError: There are fewer learned positions.
        """
        if length <= len(self.table):
            return self.table[:length]
        if self.learned:
            raise InputError(
                f"{length} tokens exceed the {len(self.table)} learned positions; shorten them or raise the maximum."
            )
        return sinusoid(torch.arange(length, device=self.table.device), self.table.shape[1])


def check_patch(patch: int) -> None:
    """Refuse patches of no tokens.

    Raises:
        InputError: As said.
    """
    if patch < 1:
        raise InputError(f"patch={patch} must be at least 1: it is a number of motion tokens.")


def join_runs(x: Float[Tensor, "B N W"], size: int) -> Float[Tensor, "B R P*W"]:
    """Every `size` consecutive tokens concatenated to one; the last patch is padded with zeros."""
    return F.pad(x, (0, 0, 0, -x.shape[1] % size)).unflatten(1, (-1, size)).flatten(2)


def part_runs(x: Float[Tensor, "B R P*W"], size: int, length: int) -> Float[Tensor, "B N W"]:
    """The first `length` tokens of patches of `size`: the inverse of `join_runs`."""
    return x.unflatten(-1, (size, -1)).flatten(1, 2)[:, :length]
