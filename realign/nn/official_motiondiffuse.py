"""The network of MotionDiffuse as published (Zhang et al. 2022, https://github.com/mingyuan-zhang/MotionDiffuse)."""

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor, nn
from torch.nn import functional as F

from realign.batch import TextFeatures
from realign.diffusion.sampler import Predict
from realign.errors import InputError
from realign.nn.denoisers import Denoiser
from realign.nn.layers import timestep_sinusoid
from realign.nn.transformer import Transformer


class OfficialMotionDiffuse(Denoiser):
    """Linear attention over frames and to words, with each branch scaled and shifted by timestep and caption.

    The words are those of CLIP before its projection; the pooled vector is the word that ends the text, see
    ``words="hidden"`` of `OpenClipEncoder`. Padded frames are not read, and their outputs are meaningless.

    Args:
        width: Width W of the space's tokens.
        text_dim: Width D of the text features.
        hidden: Width of the blocks.
        layers: Number of blocks.
        heads: Attention heads of the blocks.
        feedforward: Hidden width of the feed-forward networks.
        text_hidden: Width of the transformer over the words.
        text_layers: Its layers.
        text_heads: Its attention heads.
        text_feedforward: Hidden width of its feed-forward networks.
        embedding: Width of the embedding of timestep and caption.
        max_frames: Number of positions.
        dropout: Dropout probability.

    Raises:
        InputError: The width does not divide into the heads.
    """

    def __init__(
        self,
        width: int = 263,
        text_dim: int = 512,
        hidden: int = 512,
        layers: int = 8,
        heads: int = 8,
        feedforward: int = 1024,
        text_hidden: int = 256,
        text_layers: int = 4,
        text_heads: int = 4,
        text_feedforward: int = 2048,
        embedding: int = 2048,
        max_frames: int = 196,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width, self.text_dim, self.hidden = width, text_dim, hidden
        self.positions = nn.Parameter(torch.randn(max_frames, hidden))
        self.time_embedding = nn.Sequential(nn.Linear(hidden, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.text_in_proj = nn.Linear(text_dim, text_hidden)
        self.text_transformer = Transformer(text_hidden, text_layers, text_heads, text_feedforward, dropout)
        self.text_norm, self.text_out_proj = nn.LayerNorm(text_hidden), nn.Linear(text_hidden, embedding)
        self.in_proj, self.out_proj = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.blocks = nn.ModuleList(
            _Block(hidden, heads, feedforward, text_hidden, embedding, dropout) for _ in range(layers)
        )
        nn.init.zeros_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def read_text(self, text: TextFeatures) -> tuple[Float[Tensor, "B E"], Float[Tensor, "B L T"]]:
        """The caption's part of the embedding, and its words."""
        far = (text.tokens - text.pooled[:, None]).square().sum(-1).masked_fill(~text.mask, torch.inf)
        words = self.text_norm(self.text_transformer(self.text_in_proj(text.tokens), text.mask))
        end = words[torch.arange(len(words), device=words.device), far.argmin(1)]
        return self.text_out_proj(end), words

    def bind(self, text: TextFeatures, mask: Bool[Tensor, "B N"]) -> Predict:
        """predict(x_t, t) for the same captions, which are read once; arguments as in `Denoiser`."""
        read = self.read_text(text)
        return lambda x_t, t: self._denoise(x_t, t, mask, text.mask, *read)

    def forward(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"], text: TextFeatures
    ) -> Float[Tensor, "B N W"]:
        """Prediction for noisy frames; arguments as in `Denoiser`.

        Raises:
            InputError: There are more frames than positions.
        """
        return self._denoise(x_t, t, mask, text.mask, *self.read_text(text))

    def _denoise(
        self, x_t: Tensor, t: Tensor, mask: Tensor, word_mask: Tensor, caption: Tensor, words: Tensor
    ) -> Float[Tensor, "B N W"]:
        frames = x_t.shape[1]
        if frames > len(self.positions):
            raise InputError(f"{frames} frames exceed the {len(self.positions)} of this generator; shorten the motion.")
        condition = self.time_embedding(timestep_sinusoid(t, self.hidden).to(caption.dtype)) + caption
        h = self.in_proj(x_t) + self.positions[:frames]
        for block in self.blocks:
            h = block(h, mask, words, word_mask, condition)
        return self.out_proj(h)


class _Block(nn.Module):
    def __init__(self, hidden: int, heads: int, feedforward: int, text: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.attention = LinearAttention(hidden, None, heads, embedding, dropout)
        self.cross = LinearAttention(hidden, text, heads, embedding, dropout)
        self.fc1, self.fc2 = nn.Linear(hidden, feedforward), nn.Linear(feedforward, hidden)
        self.style, self.drop = Style(hidden, embedding, dropout), nn.Dropout(dropout)

    def forward(self, h: Tensor, mask: Tensor, words: Tensor, word_mask: Tensor, condition: Tensor) -> Tensor:
        h = h + self.attention(h, mask, condition)
        h = h + self.cross(h, word_mask, condition, words)
        return h + self.style(self.fc2(self.drop(F.gelu(self.fc1(h)))), condition)


class LinearAttention(nn.Module):
    """Attention of linear cost: queries are normalised over channels, keys over tokens (Shen et al. 2021, "Efficient
    attention"), without a scale factor.

    Args:
        width: Width of the tokens.
        memory: Width of the tokens to attend to; None for self-attention.
        heads: Attention heads.
        embedding: Width of the condition of `Style`.
        dropout: Dropout probability.
    """

    def __init__(self, width: int, memory: int | None, heads: int, embedding: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise InputError(f"The width {width} does not divide into {heads} heads; choose a multiple.")
        self.heads = heads
        self.norm, self.memory_norm = nn.LayerNorm(width), None if memory is None else nn.LayerNorm(memory)
        source = width if memory is None else memory
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(source, width), nn.Linear(source, width)
        self.style = Style(width, embedding, dropout)

    def forward(
        self,
        x: Float[Tensor, "B N H"],
        mask: Bool[Tensor, "B M"],
        condition: Float[Tensor, "B E"],
        memory: Float[Tensor, "B M T"] | None = None,
    ) -> Float[Tensor, "B N H"]:
        """Attend from x to the memory, or to itself; the mask is True for tokens that exist there."""
        normed = self.norm(x)
        memory = normed if memory is None or self.memory_norm is None else self.memory_norm(memory)
        query, key, value = (
            each.unflatten(-1, (self.heads, -1)) for each in (self.query(normed), self.key(memory), self.value(memory))
        )
        key = key.masked_fill(~mask[..., None, None], -torch.inf).softmax(1)
        context = torch.einsum("bmhd,bmhe->bhde", key, value.masked_fill(~mask[..., None, None], 0))
        return self.style(torch.einsum("bnhd,bhde->bnhe", query.softmax(-1), context).flatten(2), condition)


class Style(nn.Module):
    """Normalises, scales and shifts by a condition, and maps linearly.

    Args:
        width: Width of the tokens.
        embedding: Width of the condition.
        dropout: Dropout probability.
    """

    def __init__(self, width: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.condition, self.norm = nn.Linear(embedding, 2 * width), nn.LayerNorm(width)
        self.drop, self.out_proj = nn.Dropout(dropout), nn.Linear(width, width)

    def forward(self, h: Float[Tensor, "B N H"], condition: Float[Tensor, "B E"]) -> Float[Tensor, "B N H"]:
        """Apply the condition to tokens."""
        scale, shift = self.condition(F.silu(condition))[:, None].chunk(2, -1)
        return self.out_proj(self.drop(F.silu(self.norm(h) * (1 + scale) + shift)))
