"""Motion autoencoders, between motions and short sequences of latent tokens."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from realign.errors import InputError
from realign.masking import apply_mask
from realign.nn.layers import PositionalEncoding
from realign.nn.transformer import SkipTransformer


class MotionVAE(nn.Module, ABC):
    """A variational autoencoder of normalised motion features.

    Encoding and decoding do not depend on padding.

    Attributes:
        features: Channels C of the motion features.
        width: Width W of the latent tokens.
        stride: Frames of one latent token; None where each token stands for the whole motion.
    """

    features: int
    width: int
    stride: int | None = None

    @abstractmethod
    def token_mask(self, mask: Bool[Tensor, "B F"]) -> Bool[Tensor, "B N"]:
        """Which latent tokens exist for motions with these frames."""

    @abstractmethod
    def encode(
        self, motion: Float[Tensor, "B F C"], mask: Bool[Tensor, "B F"]
    ) -> tuple[Float[Tensor, "B N W"], Float[Tensor, "B N W"], Bool[Tensor, "B N"]]:
        """Mean and log-variance of the posterior, and which tokens exist; zero where none does."""

    @abstractmethod
    def decode(self, z: Float[Tensor, "B N W"], mask: Bool[Tensor, "B F"]) -> Float[Tensor, "B F C"]:
        """Motion features for the frames of the mask; zero elsewhere."""


class SkipTransformerVAE(MotionVAE):
    """Skip-connection transformer with learned distribution tokens (MLD, Chen et al. 2023, section 3.1).

    Args:
        features: Channels C of the motion features.
        width: Width of the latent tokens, and of the transformer.
        tokens: Latent tokens a motion, whatever its length.
        layers: Layers of the encoder and of the decoder; odd.
        heads: Attention heads.
        feedforward: Hidden width of the feed-forward networks.
        dropout: Dropout probability.
        norm_first: Normalise before (True) or after (False) each part of a layer.
        learned_positions: Learn the positional encodings instead of taking sinusoids.
        max_frames: Longest motion, for learned positions.
        hidden: Width of the transformer if it differs from that of the latent tokens; linear maps connect them
            (MotionLCM, Dai et al. 2024).
        positions: Rows of each table of learned positions, such as the 500 of published weights; enough for
            `max_frames` when None.
    """

    def __init__(
        self,
        features: int = 263,
        width: int = 256,
        tokens: int = 1,
        layers: int = 9,
        heads: int = 4,
        feedforward: int = 1024,
        dropout: float = 0.1,
        norm_first: bool = False,
        learned_positions: bool = False,
        max_frames: int = 512,
        hidden: int | None = None,
        positions: int | None = None,
    ) -> None:
        super().__init__()
        self.features, self.width, self.tokens = features, width, tokens
        inner = width if hidden is None else hidden
        self.in_proj = nn.Linear(features, inner)
        self.out_proj = nn.Linear(inner, features)
        self.distribution = nn.Parameter(torch.randn(2 * tokens, inner) * 0.02)
        self.encoder_positions = PositionalEncoding(inner, learned_positions, positions or max_frames + 2 * tokens)
        self.decoder_positions = PositionalEncoding(inner, learned_positions, positions or max_frames)
        self.encoder = SkipTransformer(inner, layers, heads, feedforward, dropout, norm_first)
        self.decoder = SkipTransformer(inner, layers, heads, feedforward, dropout, norm_first, cross=True)
        self.to_latent = nn.Identity() if hidden is None else nn.Linear(inner, width)
        self.from_latent = nn.Identity() if hidden is None else nn.Linear(width, inner)

    def token_mask(self, mask: Bool[Tensor, "B F"]) -> Bool[Tensor, "B N"]:
        """All tokens exist, whatever the length."""
        return mask.new_ones(len(mask), self.tokens)

    def encode(
        self, motion: Float[Tensor, "B F C"], mask: Bool[Tensor, "B F"]
    ) -> tuple[Float[Tensor, "B N W"], Float[Tensor, "B N W"], Bool[Tensor, "B N"]]:
        """Mean and log-variance, read off the distribution tokens."""
        x = torch.cat([self.distribution.expand(len(motion), -1, -1), self.in_proj(motion)], 1)
        seen = F.pad(mask, (2 * self.tokens, 0), value=True)
        encoded = self.encoder(self.encoder_positions(x), seen, leading=2 * self.tokens)
        mean, logvar = self.to_latent(encoded).chunk(2, 1)
        return mean, logvar, self.token_mask(mask)

    def decode(self, z: Float[Tensor, "B N W"], mask: Bool[Tensor, "B F"]) -> Float[Tensor, "B F C"]:
        """Position queries attend to the latent tokens."""
        memory = self.from_latent(z)
        queries = self.decoder_positions.rows(mask.shape[1]).to(memory.dtype).expand(len(z), -1, -1)
        return apply_mask(self.out_proj(self.decoder(queries, mask, memory)), mask)


class ResidualBlock(nn.Module):
    """Dilated convolution, then a pointwise one, around a residual; padding stays zero."""

    def __init__(self, hidden: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(hidden, hidden, 3, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv1d(hidden, hidden, 1)

    def forward(self, x: Float[Tensor, "B H F"], mask: Float[Tensor, "B 1 F"]) -> Float[Tensor, "B H F"]:
        """Convolve; the mask is 1 where a frame exists."""
        # the pointwise convolution needs no mask, since it does not mix frames and the sum is masked
        inner = F.silu(self.conv1(F.silu(x)))
        return (x + self.conv2(inner)) * mask


def _halve(mask: Bool[Tensor, "B F"]) -> Bool[Tensor, "B F/2"]:
    """Mask at half the rate: a frame exists if either of its two does."""
    return mask[:, ::2] | mask[:, 1::2]


class ConvVAE(MotionVAE):
    """Light convolutional autoencoder: one latent token for every four frames.

    It has no normalisation layers, whose statistics would mix frames or clips. The mask is applied after every
    convolution, so that padding equals the zeros beyond the end of a clip.

    Args:
        features: Channels C of the motion features.
        width: Width of the latent tokens.
        hidden: Channels of the convolutions.
        dilations: Dilations of the residual blocks at each rate.
    """

    stride = DOWN = 4
    """Frames of one latent token: two halvings."""

    def __init__(
        self, features: int = 263, width: int = 16, hidden: int = 256, dilations: tuple[int, ...] = (1, 3, 9)
    ) -> None:
        super().__init__()
        self.features, self.width = features, width
        self.in_proj = nn.Linear(features, hidden)  # a convolution at the full rate would take most of the time
        self.down = nn.ModuleList(nn.Conv1d(hidden, hidden, 4, stride=2, padding=1) for _ in range(2))
        self.down_blocks = nn.ModuleList(self._blocks(hidden, dilations) for _ in range(2))
        self.to_latent = nn.Conv1d(hidden, 2 * width, 3, padding=1)
        self.from_latent = nn.Conv1d(width, hidden, 3, padding=1)
        self.up_blocks = nn.ModuleList(self._blocks(hidden, dilations) for _ in range(2))
        self.up = nn.ModuleList(nn.Conv1d(hidden, hidden, 3, padding=1) for _ in range(2))
        self.out_proj = nn.Linear(hidden, features)

    @staticmethod
    def _blocks(hidden: int, dilations: tuple[int, ...]) -> nn.ModuleList:
        return nn.ModuleList(ResidualBlock(hidden, dilation) for dilation in dilations)

    def _pyramid(self, mask: Bool[Tensor, "B F"]) -> list[Bool[Tensor, "B _"]]:
        """Masks at full, half and quarter rate, padded to a multiple of four frames."""
        full = F.pad(mask, (0, -mask.shape[1] % self.DOWN))
        half = _halve(full)
        return [full, half, _halve(half)]

    def token_mask(self, mask: Bool[Tensor, "B F"]) -> Bool[Tensor, "B N"]:
        """One token for every four frames, rounded up."""
        return self._pyramid(mask)[-1]

    def encode(
        self, motion: Float[Tensor, "B F C"], mask: Bool[Tensor, "B F"]
    ) -> tuple[Float[Tensor, "B N W"], Float[Tensor, "B N W"], Bool[Tensor, "B N"]]:
        """Mean and log-variance of every token."""
        full, half, quarter = self._pyramid(mask)
        x = F.pad(apply_mask(motion, mask), (0, 0, 0, full.shape[1] - mask.shape[1]))
        x = apply_mask(self.in_proj(x), full).transpose(1, 2)
        for down, blocks, rate_mask in zip(self.down, self.down_blocks, (half, quarter), strict=True):
            kept = rate_mask[:, None].to(x.dtype)
            x = down(x) * kept
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, kept)
        latent = (self.to_latent(F.silu(x)) * quarter[:, None]).transpose(1, 2)
        mean, logvar = latent.chunk(2, -1)
        return mean, logvar, quarter

    def decode(self, z: Float[Tensor, "B N W"], mask: Bool[Tensor, "B F"]) -> Float[Tensor, "B F C"]:
        """Motion features, upsampled by repetition and convolution."""
        full, half, quarter = self._pyramid(mask)
        if z.shape[1] != quarter.shape[1]:
            raise InputError(
                f"{mask.shape[1]} frames need {quarter.shape[1]} latent tokens, but got {z.shape[1]}; "
                "build the latent for the same lengths."
            )
        x = self.from_latent(apply_mask(z, quarter).transpose(1, 2)) * quarter[:, None]
        for up, blocks, rate_mask, finer in zip(self.up, self.up_blocks, (quarter, half), (half, full), strict=True):
            kept = rate_mask[:, None].to(x.dtype)
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, kept)
            x = up(x.repeat_interleave(2, -1)) * finer[:, None]
        return apply_mask(self.out_proj(F.silu(x).transpose(1, 2)[:, : mask.shape[1]]), mask)
