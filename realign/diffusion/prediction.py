"""The algebra between what a denoiser predicts: the noise (epsilon), the clean sample (sample) or the velocity (v).

All of it follows from x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps and v = sqrt(abar) eps - sqrt(1 - abar) x_0
(Salimans and Ho 2022, section 4). `abar` broadcasts against the samples: one number a sample, or one for all.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

PredictionType = Literal["epsilon", "sample", "v_prediction"]


def to_sample(
    output: Float[Tensor, "*B"], x_t: Float[Tensor, "*B"], abar: Float[Tensor, "..."], kind: PredictionType
) -> Float[Tensor, "*B"]:
    """Clean sample that a model output stands for.

    Args:
        output: What the model predicted.
        x_t: The noisy sample it saw.
        abar: Share of signal variance.
        kind: What the output is.
    """
    signal, noise = abar.sqrt(), (1 - abar).sqrt()
    if kind == "epsilon":
        return (x_t - noise * output) / signal
    return output if kind == "sample" else signal * x_t - noise * output


def to_epsilon(
    output: Float[Tensor, "*B"], x_t: Float[Tensor, "*B"], abar: Float[Tensor, "..."], kind: PredictionType
) -> Float[Tensor, "*B"]:
    """Noise that a model output stands for; arguments as in `to_sample`."""
    signal, noise = abar.sqrt(), (1 - abar).sqrt()
    if kind == "sample":
        return (x_t - signal * output) / noise
    return output if kind == "epsilon" else noise * x_t + signal * output


def target(
    x0: Float[Tensor, "*B"], epsilon: Float[Tensor, "*B"], abar: Float[Tensor, "..."], kind: PredictionType
) -> Float[Tensor, "*B"]:
    """What a model of a kind is trained to predict, from the clean sample and the noise added to it."""
    if kind == "v_prediction":
        return abar.sqrt() * epsilon - (1 - abar).sqrt() * x0
    return epsilon if kind == "epsilon" else x0


def truncated_snr(abar: Float[Tensor, "..."], limit: float) -> Float[Tensor, "..."]:
    """Weight of a clean sample's squared error: its signal-to-noise ratio, not below 1 and not above `limit`.

    max(SNR, 1) lets the error of the noise count where it is the larger one (Salimans and Ho 2022, section 4); the
    limit keeps the last steps from drowning the others (Hang et al. 2023).
    """
    return (abar / (1 - abar)).clamp(1, limit)


def score_shift(
    output: Float[Tensor, "*B"], push: Float[Tensor, "*B"], abar: Float[Tensor, "..."], kind: PredictionType
) -> Float[Tensor, "*B"]:
    """Model output after `push` is added to the score grad log p_t(x_t).

    The score is -eps / sqrt(1 - abar), so eps -= sqrt(1 - abar) push, x_0 += (1 - abar) / sqrt(abar) push and
    v -= sqrt((1 - abar) / abar) push are one and the same change. Pure noise (abar = 0) is left alone: it holds nothing
    to steer by, and a clean sample and a velocity would move without bound.

    Args:
        output: What the model predicted.
        push: Strength times the gradient of the reward at the noisy sample.
        abar: Share of signal variance.
        kind: What the output is.
    """
    abar = abar.to(output.device)
    if kind == "epsilon":
        return output - (1 - abar).sqrt() * push
    factor = (1 - abar) / abar.sqrt() if kind == "sample" else -((1 - abar) / abar).sqrt()
    return output + torch.where(abar > 0, factor, 0) * push
