"""Denoisers: they predict noise, clean sample or velocity from a noisy sample, its timestep and a caption."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor, nn

from realign.batch import TextFeatures
from realign.diffusion.sampler import Predict
from realign.errors import InputError
from realign.masking import apply_mask
from realign.nn.layers import PositionalEncoding, TimestepEmbedding, check_patch, join_runs, part_runs
from realign.nn.transformer import SkipTransformer, Transformer

Conditioning = Literal["pooled", "tokens"]


class Denoiser(nn.Module, ABC):
    """Predicts the path's prediction type for every token of a space.

    Attributes:
        width: Width W of the space's tokens.
        text_dim: Width D of the text features.
        reads_words: Whether it reads the words of a caption, and not the pooled vector alone.
    """

    width: int
    text_dim: int
    reads_words: bool = True

    @abstractmethod
    def forward(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"], text: TextFeatures
    ) -> Float[Tensor, "B N W"]:
        """Prediction for noisy tokens.

        Args:
            x_t: Noisy tokens, zero at padding.
            t: Timesteps.
            mask: True where a token exists.
            text: Features of one caption a sample.
        """

    def bind(self, text: TextFeatures, mask: Bool[Tensor, "B N"]) -> Predict:
        """predict(x_t, t) for the same captions at many timesteps, which may read them once.

        Args:
            text: Features of the captions.
            mask: True where a token exists.
        """
        return lambda x_t, t: self(x_t, t, mask, text)

    def self_guided(self, text: TextFeatures, mask: Bool[Tensor, "B N"], guidance_scale: float) -> Predict | None:
        """Bind captions for a denoiser whose input is the scale of classifier-free guidance: predict(x_t, t).

        Args:
            text: Features of the captions.
            mask: True where a token exists.
            guidance_scale: The scale.

        Returns:
            None if the scale is not an input, so that guidance needs a second prediction without caption.
        """
        return None


class TextTokens(nn.Module):
    """Tokens of a transformer from text features: the pooled vector, and with ``tokens`` also the words.

    Features are normalised first, since the scales of encoders differ by orders of magnitude.

    Args:
        text_dim: Width D of the text features.
        width: Width of the tokens.
        conditioning: Use the pooled vector alone, or the words too.
    """

    def __init__(self, text_dim: int, width: int, conditioning: Conditioning) -> None:
        super().__init__()
        self.pooled = nn.Sequential(nn.LayerNorm(text_dim), nn.Linear(text_dim, width))
        self.words = None
        if conditioning == "tokens":
            self.words = nn.Sequential(
                nn.LayerNorm(text_dim), nn.Linear(text_dim, width), PositionalEncoding(width, max_length=128)
            )

    def forward(self, text: TextFeatures) -> tuple[Float[Tensor, "B L W"], Bool[Tensor, "B L"]]:
        """Tokens and which of them exist."""
        tokens = self.pooled(text.pooled)[:, None]
        mask = text.mask.new_ones(len(tokens), 1)
        if self.words is None:
            return tokens, mask
        return torch.cat([tokens, self.words(text.tokens)], 1), torch.cat([mask, text.mask], 1)


class FrameRefiner(nn.Module):
    """Two convolutions over frames, added to a prediction that was made a patch at a time.

    Frames on both sides of a border between patches come from different tokens, without a path between their outputs:
    such a motion trembles at every border. At first the prediction passes unchanged.

    Args:
        width: Width W of a frame.
        kernel: Frames that a convolution reads; odd.
        hidden: Width between the convolutions.
    """

    def __init__(self, width: int, kernel: int, hidden: int = 128) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise InputError(f"refine is an odd number of frames, or 0 for none, but is {kernel}.")
        self.first = nn.Conv1d(width, hidden, kernel, padding="same")
        self.second = nn.Conv1d(hidden, width, kernel, padding="same")
        for weight in self.second.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Float[Tensor, "B N W"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B N W"]:
        """The refined prediction; frames at padding count as zeros, however many there are."""
        inner = nn.functional.gelu(self.first(apply_mask(x, mask).mT)).mT
        return x + self.second(apply_mask(inner, mask).mT).mT


class _TransformerDenoiser(Denoiser):
    """Base of both denoisers: timestep, text and motion as tokens of one transformer."""

    def __init__(
        self,
        width: int,
        text_dim: int,
        hidden: int,
        conditioning: Conditioning,
        transformer: nn.Module,
        patch: int = 1,
        refine: int = 0,
    ) -> None:
        super().__init__()
        check_patch(patch)
        self.width, self.text_dim, self.patch = width, text_dim, patch
        self.reads_words = conditioning == "tokens"
        self.time_embedding = TimestepEmbedding(hidden)
        self.text = TextTokens(text_dim, hidden, conditioning)
        self.in_proj, self.out_proj = nn.Linear(patch * width, hidden), nn.Linear(hidden, patch * width)
        self.positions = PositionalEncoding(hidden)
        self.transformer = transformer
        self.refiner = FrameRefiner(width, refine) if refine else None

    def _denoise(
        self,
        leading: Float[Tensor, "B L H"],
        leading_mask: Bool[Tensor, "B L"],
        x_t: Float[Tensor, "B N W"],
        mask: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B N W"]:
        """Prediction for the motion's tokens, which follow the conditioning tokens."""
        motion = self.positions(self.in_proj(join_runs(apply_mask(x_t, mask), self.patch)))
        kept = torch.cat([leading_mask, mask[:, :: self.patch]], 1)
        out = self.out_proj(self.transformer(torch.cat([leading, motion], 1), kept)[:, -motion.shape[1] :])
        frames = part_runs(out, self.patch, x_t.shape[1])
        return apply_mask(frames if self.refiner is None else self.refiner(frames, mask), mask)


class MldDenoiser(_TransformerDenoiser):
    """Skip-connection transformer over [timestep, text, latents] (MLD, Chen et al. 2023, section 3.2).

    Args:
        width: Width W of the space's tokens.
        text_dim: Width D of the text features.
        hidden: Width of the transformer.
        layers: Number of layers; odd.
        heads: Attention heads.
        feedforward: Hidden width of the feed-forward networks.
        dropout: Dropout probability.
        norm_first: Normalise before (True) or after (False) each part of a layer.
        conditioning: Condition on the pooled text vector, or on the words as well.
    """

    def __init__(
        self,
        width: int = 256,
        text_dim: int = 768,
        hidden: int = 256,
        layers: int = 9,
        heads: int = 4,
        feedforward: int = 1024,
        dropout: float = 0.1,
        norm_first: bool = False,
        conditioning: Conditioning = "pooled",
    ) -> None:
        transformer = SkipTransformer(hidden, layers, heads, feedforward, dropout, norm_first)
        super().__init__(width, text_dim, hidden, conditioning, transformer)

    def forward(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"], text: TextFeatures
    ) -> Float[Tensor, "B N W"]:
        """Prediction for noisy latents; arguments as in `Denoiser`."""
        words, word_mask = self.text(text)
        leading = torch.cat([self.time_embedding(t)[:, None].to(words.dtype), words], 1)
        return self._denoise(leading, torch.cat([mask.new_ones(len(mask), 1), word_mask], 1), x_t, mask)


class MdmDenoiser(_TransformerDenoiser):
    """Transformer encoder over [timestep + text, frames] (MDM, Tevet et al. 2023, section 3).

    Args:
        width: Width W of the space's tokens.
        text_dim: Width D of the text features.
        hidden: Width of the transformer.
        layers: Number of layers.
        heads: Attention heads.
        feedforward: Hidden width of the feed-forward networks.
        dropout: Dropout probability.
        norm_first: Normalise before (True) or after (False) each part of a layer.
        conditioning: Condition on the pooled text vector, or on the words as well.
        patch: Frames that make one token, 1 in the paper; 4 is far cheaper.
        refine: Frames that each of two last convolutions reads, so that motions are smooth between patches; 0 for
            none, as in the paper.

    Raises:
        InputError: When a number does not make sense.
    """

    def __init__(
        self,
        width: int = 263,
        text_dim: int = 768,
        hidden: int = 512,
        layers: int = 8,
        heads: int = 4,
        feedforward: int = 1024,
        dropout: float = 0.1,
        norm_first: bool = False,
        conditioning: Conditioning = "pooled",
        patch: int = 1,
        refine: int = 0,
    ) -> None:
        transformer = Transformer(hidden, layers, heads, feedforward, dropout, norm_first)
        super().__init__(width, text_dim, hidden, conditioning, transformer, patch, refine)

    def forward(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"], text: TextFeatures
    ) -> Float[Tensor, "B N W"]:
        """Prediction for noisy frames; arguments as in `Denoiser`."""
        words, word_mask = self.text(text)
        first = words[:, :1] + self.time_embedding(t)[:, None]
        return self._denoise(torch.cat([first, words[:, 1:]], 1), word_mask, x_t, mask)
