"""Conversions between prediction types: noise, clean sample, velocity of a diffusion and velocity of a flow.

They follow from x_t = alpha x_0 + sigma eps, since every output is a linear combination of x_0 and eps: the noise eps
(``epsilon``), the clean sample x_0 (``sample``), v = alpha eps - sigma x_0 (``v_prediction``, Salimans and Ho 2022,
section 4) and, along the straight path of rectified flow (Liu et al. 2023), u = eps - x_0 (``flow_prediction``).
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

PredictionType = Literal["epsilon", "sample", "v_prediction", "flow_prediction"]


class Level(NamedTuple):
    """Noise level, the factors of signal and noise in x_t = alpha x_0 + sigma eps.

    Attributes:
        alpha: Factor of the clean sample; tensors broadcast against the samples.
        sigma: Factor of the noise.
    """

    alpha: Float[Tensor, "..."] | float
    sigma: Float[Tensor, "..."] | float

    @classmethod
    def of(cls, abar: Float[Tensor, "..."] | float) -> "Level":
        """The level of a variance-preserving diffusion at a fraction abar of signal variance."""
        if not isinstance(abar, Tensor):
            return cls(abar**0.5, (1 - abar) ** 0.5)
        return cls(abar.sqrt(), (1 - abar).sqrt())


def mixture(level: Level, kind: PredictionType) -> tuple[Tensor | float, Tensor | float]:
    """Factors of clean sample and noise in an output of a kind."""
    return {
        "epsilon": (0.0, 1.0),
        "sample": (1.0, 0.0),
        "v_prediction": (-level.sigma, level.alpha),
        "flow_prediction": (-1.0, 1.0),
    }[kind]


def target(
    x0: Float[Tensor, "*B"], epsilon: Float[Tensor, "*B"], level: Level, kind: PredictionType
) -> Float[Tensor, "*B"]:
    """Target of a prediction type, from the clean sample and the noise added to it."""
    clean, noise = mixture(level, kind)
    return clean * x0 + noise * epsilon


def to_sample(
    output: Float[Tensor, "*B"], x_t: Float[Tensor, "*B"], level: Level, kind: PredictionType
) -> Float[Tensor, "*B"]:
    """Clean sample from a model output.

    Args:
        output: What the model predicted.
        x_t: The noisy sample that the model received.
        level: Its signal and noise.
        kind: What the output is.
    """
    if kind == "sample":
        return output
    clean, noise = mixture(level, kind)
    return (noise * x_t - level.sigma * output) / (noise * level.alpha - clean * level.sigma)


def truncated_snr(level: Level, limit: float) -> Float[Tensor, "..."]:
    """Weight of a clean sample's squared error: the signal-to-noise ratio, clamped to [1, `limit`].

    max(SNR, 1) is the larger of the weights of x_0 and eps (Salimans and Ho 2022, section 4); the limit keeps nearly
    clean samples from dominating the loss (Hang et al. 2023).
    """
    return torch.as_tensor(level.alpha / level.sigma).square().clamp(1, limit)


def score_shift(
    output: Float[Tensor, "*B"], push: Float[Tensor, "*B"], level: Level, kind: PredictionType
) -> Float[Tensor, "*B"]:
    """Model output after `push` is added to the score grad log p_t(x_t).

    The score is -eps / sigma. For a given x_t, eps changes by -sigma push and x_0 by sigma^2 / alpha push, and the
    output by the same combination of both. For ``v_prediction`` and ``flow_prediction`` that is -sigma / alpha push.
    Pure noise (alpha = 0) is left unchanged, since the change of x_0 would be unbounded.

    Args:
        output: What the model predicted.
        push: Strength times the gradient of the reward at the noisy sample.
        level: Signal and noise of the noisy sample.
        kind: What the output is.
    """
    alpha, sigma = level
    clean, noise = mixture(level, kind)
    if not isinstance(alpha, Tensor):
        return output + sigma * (clean * sigma / alpha - noise) * push if alpha > 0 else output
    return output + torch.where(alpha > 0, sigma * (clean * sigma / alpha - noise), 0) * push
