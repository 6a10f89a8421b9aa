"""Spaces of diffusion: motion features, or latents of a frozen autoencoder."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from realign.errors import InputError
from realign.masking import apply_mask
from realign.nn.vae import MotionVAE
from realign.text.base import TextEncoder


class MotionSpace(nn.Module, ABC):
    """The space of noise, denoiser and reward. Motions are normalised features; a space has no trainable weights.

    Attributes:
        features: Channels C of the motion features.
        width: Width W of the space's tokens.
        stride: Frames of one token; None where each token stands for the whole motion.
        checkpoint: File of the space's weights, loaded when training starts; None if it has no weights.
    """

    features: int
    width: int
    stride: int | None = None
    checkpoint: str | None = None

    @property
    def ready(self) -> bool:
        """Whether the space's weights are loaded."""
        return True

    def load_vae(self, vae: MotionVAE, mean: Float[Tensor, "W"], std: Float[Tensor, "W"]) -> None:
        """Load the weights of a trained autoencoder.

        Args:
            vae: Autoencoder of the same configuration.
            mean: Mean of each latent channel over the training set.
            std: Standard deviation of each latent channel over the training set.

        Raises:
            InputError: When the space has no autoencoder, or one of another configuration.
        """
        raise InputError(f"{type(self).__name__} has no autoencoder; leave its checkpoint out.")

    @abstractmethod
    def token_mask(self, mask: Bool[Tensor, "B F"]) -> Bool[Tensor, "B N"]:
        """Which tokens exist for motions with these frames."""

    @abstractmethod
    def encode(
        self, motion: Float[Tensor, "B F C"], mask: Bool[Tensor, "B F"]
    ) -> tuple[Float[Tensor, "B N W"], Bool[Tensor, "B N"]]:
        """Tokens of a motion, and which of them exist; zero where none does."""

    @abstractmethod
    def decode(self, x: Float[Tensor, "B N W"], mask: Bool[Tensor, "B F"]) -> Float[Tensor, "B F C"]:
        """Motion for the frames of the mask; zero elsewhere. Gradients pass through."""


class FeatureSpace(MotionSpace):
    """Motion features themselves: one token a frame.

    Args:
        features: Channels C of the motion features, also the width.
        frames: Every motion has this many tokens, whose first ones are its frames; it is cut out at the end. The
            published MDM samples so: what lies behind a motion is denoised along with it. None for its own frames.

    Raises:
        InputError: There is no frame.
    """

    stride = 1

    def __init__(self, features: int = 263, frames: int | None = None) -> None:
        super().__init__()
        if frames is not None and frames < 1:
            raise InputError(f"frames={frames} must be at least 1: it is the length that all motions are padded to.")
        self.features = self.width = features
        self.frames = frames

    def token_mask(self, mask: Bool[Tensor, "B F"]) -> Bool[Tensor, "B N"]:
        """The frames' own mask, or all tokens."""
        return mask if self.frames is None else mask.new_ones(len(mask), self._checked(self.frames, mask))

    def encode(
        self, motion: Float[Tensor, "B F C"], mask: Bool[Tensor, "B F"]
    ) -> tuple[Float[Tensor, "B N W"], Bool[Tensor, "B N"]]:
        """The motion itself, with zeros behind it."""
        tokens = self.token_mask(mask)
        return F.pad(apply_mask(motion, mask), (0, 0, 0, tokens.shape[1] - mask.shape[1])), tokens

    def decode(self, x: Float[Tensor, "B N W"], mask: Bool[Tensor, "B F"]) -> Float[Tensor, "B F C"]:
        """The motion itself."""
        return apply_mask(x[:, : mask.shape[1]], mask)

    @staticmethod
    def _checked(frames: int, mask: Bool[Tensor, "B F"]) -> int:
        if mask.shape[1] > frames:
            raise InputError(f"A motion of {mask.shape[1]} frames exceeds the {frames} of this generator; shorten it.")
        return frames


class LatentSpace(MotionSpace):
    """Latents of a frozen autoencoder, the posterior mean, standardised per channel so that unit noise fits them.

    The autoencoder's weights are part of this module's state, so that a generator's checkpoint needs no other file.

    Args:
        vae: Autoencoder, in the configuration it was trained with.
        checkpoint: Checkpoint or folder of the trained autoencoder, or of a generator or reward that holds it; read
            once when training starts.
    """

    mean: Tensor
    std: Tensor
    fitted: Tensor

    def __init__(self, vae: MotionVAE, checkpoint: str | None = None) -> None:
        super().__init__()
        self.vae = vae.requires_grad_(False).eval()
        self.features, self.width, self.stride, self.checkpoint = vae.features, vae.width, vae.stride, checkpoint
        self.register_buffer("mean", torch.zeros(vae.width))
        self.register_buffer("std", torch.ones(vae.width))
        self.register_buffer("fitted", torch.tensor(False))

    @property
    def ready(self) -> bool:
        """Whether a trained autoencoder has been loaded."""
        return bool(self.fitted)

    def train(self, mode: bool = True) -> "LatentSpace":
        """Stay in evaluation mode: the space is frozen."""
        return super().train(False)

    def load_vae(self, vae: MotionVAE, mean: Float[Tensor, "W"], std: Float[Tensor, "W"]) -> None:
        """Load the weights of a trained autoencoder; arguments as in `MotionSpace`.

        Raises:
            InputError: When it has another configuration.
        """
        try:
            self.vae.load_state_dict(vae.state_dict())
        except RuntimeError as error:
            raise InputError(
                f"The trained autoencoder, a {type(vae).__name__}, does not fit the configured "
                f"{type(self.vae).__name__}; give the space the options that it was trained with "
                f"({str(error).splitlines()[-1].strip()})."
            ) from error
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=1e-4))  # a channel that collapsed to the prior must not be divided by nearly 0
        self.fitted.fill_(True)

    def token_mask(self, mask: Bool[Tensor, "B F"]) -> Bool[Tensor, "B N"]:
        """Which latent tokens exist."""
        return self.vae.token_mask(mask)

    def encode(
        self, motion: Float[Tensor, "B F C"], mask: Bool[Tensor, "B F"]
    ) -> tuple[Float[Tensor, "B N W"], Bool[Tensor, "B N"]]:
        """Standardised posterior means."""
        mean, _, tokens = self.vae.encode(motion, mask)
        return apply_mask((mean.float() - self.mean) / self.std, tokens), tokens

    def decode(self, x: Float[Tensor, "B N W"], mask: Bool[Tensor, "B F"]) -> Float[Tensor, "B F C"]:
        """Motion of the latents."""
        return self.vae.decode(x * self.std + self.mean, mask)


def check_widths(part: str, network: Any, space: MotionSpace, text_encoder: TextEncoder) -> None:
    """Refuse a network that does not fit its space or its text encoder.

    Args:
        part: Name of the network in errors.
        network: It has a width and a text_dim.
        space: The space of its motions.
        text_encoder: Encoder of its captions.

    Raises:
        InputError: As said.
    """
    for name, own, other, source in (
        ("width", network.width, space.width, space),
        ("text_dim", network.text_dim, text_encoder.dim, text_encoder),
    ):
        if own != other:
            raise InputError(
                f"The {part}'s {name} is {own}, but {type(source).__name__} gives {other}; set it to {other}."
            )
