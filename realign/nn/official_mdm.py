"""The networks of MDM as published (Tevet et al. 2023, https://github.com/GuyTevet/motion-diffusion-model)."""

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor, nn

from realign.batch import TextFeatures
from realign.nn.denoisers import Conditioning, Denoiser
from realign.nn.layers import interleaved_sinusoid
from realign.nn.transformer import Transformer

_ROWS = 256  # rows of the table of positions, more than the longest motion of the data sets


class _OfficialMdm(Denoiser):
    """Common parts of both forms. Positions and timesteps use the same sinusoids, and text features are not normalised.

    Padded frames are not read, and their outputs are meaningless.

    Args:
        width: Width W of the space's tokens.
        text_dim: Width D of the text features.
        hidden: Width of the transformer.
        transformer: Transformer over the frames.
    """

    def __init__(self, width: int, text_dim: int, hidden: int, transformer: Transformer) -> None:
        super().__init__()
        self.width, self.text_dim, self.hidden = width, text_dim, hidden
        self.time_embedding = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.text_proj = nn.Linear(text_dim, hidden)
        self.in_proj, self.out_proj = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.transformer = transformer
        self.register_buffer("table", interleaved_sinusoid(torch.arange(_ROWS), hidden), persistent=False)

    def _embed_step(self, t: Real[Tensor, "B"]) -> Float[Tensor, "B 1 H"]:
        return self.time_embedding(interleaved_sinusoid(t, self.hidden).to(self.text_proj.weight.dtype))[:, None]

    def _place(self, tokens: Float[Tensor, "B L H"]) -> Float[Tensor, "B L H"]:
        """Add the position of each token."""
        length, table = tokens.shape[1], self.get_buffer("table")
        if length > len(table):
            table = interleaved_sinusoid(torch.arange(length, device=tokens.device), self.hidden)
        return tokens + table[:length].to(tokens.dtype)


class OfficialMdmEncoder(_OfficialMdm):
    """A transformer encoder over [time + text, frames] (``trans_enc``).

    Args:
        width: Width W of the space's tokens.
        text_dim: Width D of the text features.
        hidden: Width of the transformer.
        layers: Number of layers.
        heads: Attention heads.
        feedforward: Hidden width of the feed-forward networks.
        dropout: Dropout probability.
    """

    def __init__(
        self,
        width: int = 263,
        text_dim: int = 512,
        hidden: int = 512,
        layers: int = 8,
        heads: int = 4,
        feedforward: int = 1024,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(width, text_dim, hidden, Transformer(hidden, layers, heads, feedforward, dropout))

    def forward(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"], text: TextFeatures
    ) -> Float[Tensor, "B N W"]:
        """Prediction for noisy frames; arguments as in `Denoiser`."""
        first = self.text_proj(text.pooled)[:, None] + self._embed_step(t)
        tokens = self._place(torch.cat([first, self.in_proj(x_t)], 1))
        kept = torch.cat([mask.new_ones(len(mask), 1), mask], 1)
        return self.out_proj(self.transformer(tokens, kept)[:, 1:])


class OfficialMdmDecoder(_OfficialMdm):
    """A transformer decoder over the frames (``trans_dec``); its memory is the text, with the timestep in every token.

    Args:
        width: Width W of the space's tokens.
        text_dim: Width D of the text features.
        hidden: Width of the transformer.
        layers: Number of layers.
        heads: Attention heads.
        feedforward: Hidden width of the feed-forward networks.
        dropout: Dropout probability.
        conditioning: The memory is the pooled text vector, or the words.
        time_token: Also put a timestep token before the frames (``emb_trans_dec``).
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
        conditioning: Conditioning = "tokens",
        time_token: bool = False,
    ) -> None:
        transformer = Transformer(hidden, layers, heads, feedforward, dropout, cross=True)
        super().__init__(width, text_dim, hidden, transformer)
        self.conditioning, self.time_token = conditioning, time_token

    def forward(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"], text: TextFeatures
    ) -> Float[Tensor, "B N W"]:
        """Prediction for noisy frames; arguments as in `Denoiser`."""
        time, tokens, kept = self._embed_step(t), self.in_proj(x_t), mask
        pooled = self.conditioning == "pooled"
        words, word_mask = (text.pooled[:, None], None) if pooled else (text.tokens, text.mask)
        if self.time_token:
            tokens, kept = torch.cat([time, tokens], 1), torch.cat([mask.new_ones(len(mask), 1), mask], 1)
        out = self.transformer(self._place(tokens), kept, self.text_proj(words) + time, word_mask)
        return self.out_proj(out[:, -x_t.shape[1] :])
