"""The algebra between what a denoiser predicts: noise, clean sample, velocity of a diffusion or velocity of a flow.

All of it follows from x_t = alpha x_0 + sigma eps, since every output is a mixture of both: the noise eps
(``epsilon``), the clean sample x_0 (``sample``), v = alpha eps - sigma x_0 (``v_prediction``, Salimans and Ho 2022,
section 4) and, along the straight path of rectified flow (Liu et al. 2023), u = eps - x_0 (``flow_prediction``).
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

PredictionType = Literal["epsilon", "sample", "v_prediction", "flow_prediction"]


class Level(NamedTuple):
    """How much of a noisy sample is signal and how much noise: x_t = alpha x_0 + sigma eps.

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
    """What a model of a kind is trained to predict, from the clean sample and the noise added to it."""
    clean, noise = mixture(level, kind)
    return clean * x0 + noise * epsilon


def to_sample(
    output: Float[Tensor, "*B"], x_t: Float[Tensor, "*B"], level: Level, kind: PredictionType
) -> Float[Tensor, "*B"]:
    """Clean sample that a model output stands for: what solves both mixtures for x_0.

    Args:
        output: What the model predicted.
        x_t: The noisy sample it saw.
        level: Its signal and noise.
        kind: What the output is.
    """
    if kind == "sample":
        return output
    clean, noise = mixture(level, kind)
    return (noise * x_t - level.sigma * output) / (noise * level.alpha - clean * level.sigma)


def truncated_snr(level: Level, limit: float) -> Float[Tensor, "..."]:
    """Weight of a clean sample's squared error: its signal-to-noise ratio, not below 1 and not above `limit`.

    max(SNR, 1) lets the error of the noise count where it is the larger one (Salimans and Ho 2022, section 4); the
    limit keeps the last steps from drowning the others (Hang et al. 2023).
    """
    return torch.as_tensor(level.alpha / level.sigma).square().clamp(1, limit)


def score_shift(
    output: Float[Tensor, "*B"], push: Float[Tensor, "*B"], level: Level, kind: PredictionType
) -> Float[Tensor, "*B"]:
    """Model output after `push` is added to the score grad log p_t(x_t).

    The score is -eps / sigma, so eps moves by -sigma push and, x_t being what it is, x_0 by sigma^2 / alpha push; the
    output moves as its mixture does. For ``v_prediction`` and ``flow_prediction`` that is -sigma / alpha push. Pure
    noise (alpha = 0) is left alone: it holds nothing to steer by, and a clean sample and a velocity would move without
    bound.

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
