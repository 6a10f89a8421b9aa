"""Losses between the Gaussians that captions and motions are embedded as."""

import torch
from jaxtyping import Float
from torch import Tensor


def gaussian_kl(
    mean: Float[Tensor, "B E"],
    logvar: Float[Tensor, "B E"],
    other_mean: Float[Tensor, "B E"] | None = None,
    other_logvar: Float[Tensor, "B E"] | None = None,
) -> Float[Tensor, ""]:
    """KL divergence of diagonal Gaussians from others, the unit Gaussian when None; mean over channels and samples.

    KL(p || q) = 1/2 (log v_q - log v_p + (v_p + (m_p - m_q)^2) / v_q - 1).
    """
    other_mean = torch.zeros_like(mean) if other_mean is None else other_mean
    other_logvar = torch.zeros_like(logvar) if other_logvar is None else other_logvar
    gap = (mean - other_mean).square()
    return 0.5 * (other_logvar - logvar + (logvar.exp() + gap) / other_logvar.exp() - 1).mean()


def joint_kl(
    mean: Float[Tensor, "B E"],
    logvar: Float[Tensor, "B E"],
    other_mean: Float[Tensor, "B E"],
    other_logvar: Float[Tensor, "B E"],
) -> Float[Tensor, ""]:
    """The four divergences of TEMOS (Petrovich et al., ECCV 2022, section 3.3): of each from the other and the unit."""
    first, second = (mean, logvar), (other_mean, other_logvar)
    return gaussian_kl(*first, *second) + gaussian_kl(*second, *first) + gaussian_kl(*first) + gaussian_kl(*second)
