"""Losses of the motion autoencoder; each is a mean per sample, then over samples."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from realign.masking import masked_loss


def reconstruction_loss(
    prediction: Float[Tensor, "B F C"], motion: Float[Tensor, "B F C"], mask: Bool[Tensor, "B F"]
) -> Float[Tensor, ""]:
    """Smooth L1 distance of normalised features, over the frames that exist."""
    return masked_loss(F.smooth_l1_loss(prediction, motion, reduction="none"), mask)


def velocity_loss(
    prediction: Float[Tensor, "B F C"], motion: Float[Tensor, "B F C"], mask: Bool[Tensor, "B F"]
) -> Float[Tensor, ""]:
    """Smooth L1 distance of the differences between neighbouring frames."""
    return reconstruction_loss(prediction.diff(dim=1), motion.diff(dim=1), mask[:, 1:])


def kl_loss(
    mean: Float[Tensor, "B N W"], logvar: Float[Tensor, "B N W"], mask: Bool[Tensor, "B N"]
) -> Float[Tensor, ""]:
    """KL divergence to the unit Gaussian, mean over latent channels (Kingma and Welling 2014, appendix B)."""
    return masked_loss(0.5 * (mean.square() + logvar.exp() - 1 - logvar), mask)


def joint_loss(
    prediction: Float[Tensor, "B F J 3"], joints: Float[Tensor, "B F J 3"], mask: Bool[Tensor, "B F"]
) -> Float[Tensor, ""]:
    """Smooth L1 distance of joint positions in the skeleton's unit."""
    return masked_loss(F.smooth_l1_loss(prediction.flatten(2), joints.flatten(2), reduction="none"), mask)


def joint_error(
    prediction: Float[Tensor, "B F J 3"], joints: Float[Tensor, "B F J 3"], mask: Bool[Tensor, "B F"]
) -> Float[Tensor, ""]:
    """Mean per-joint position error (MPJPE): Euclidean distance in the skeleton's unit."""
    return masked_loss(torch.linalg.vector_norm(prediction - joints, dim=-1), mask)
