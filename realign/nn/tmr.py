"""TMR (Petrovich et al., ICCV 2023): one transformer over frames, one over words, and a decoder of motions."""

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor, nn
from torch.nn import functional as F

from realign.batch import TextFeatures
from realign.interfaces import Gaussians
from realign.masking import apply_mask
from realign.nn.gaussian import GaussianReward
from realign.nn.layers import interleaved_sinusoid
from realign.nn.transformer import Transformer

_POSITIONS = 5000


class TMR(GaussianReward):
    """Two transformers over [mean, log-variance, frames] and [mean, log-variance, words], without timesteps.

    Args:
        width: Features C of a frame.
        text_dim: Width D of the words.
        hidden: Width of the transformers and of the embeddings.
        layers: Layers of each.
        heads: Attention heads.
        feedforward: Hidden width of the feed-forward networks.
        dropout: Dropout probability.
    """

    variational = True

    def __init__(
        self,
        width: int = 263,
        text_dim: int = 768,
        hidden: int = 256,
        layers: int = 6,
        heads: int = 4,
        feedforward: int = 1024,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.width, self.text_dim, self.embedding = width, text_dim, hidden
        self.signature = f"tmr-{'-'.join(map(str, (width, text_dim, hidden, layers, heads, feedforward)))}"
        transformer = (hidden, layers, heads, feedforward, dropout)
        self.motion_encoder = GaussianTokenEncoder(width, *transformer)
        self.text_encoder = GaussianTokenEncoder(text_dim, *transformer)
        self.decoder = Transformer(*transformer, cross=True)
        self.out_proj = nn.Linear(hidden, width)

    def encode_motion(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"], mean_only: bool = False
    ) -> Gaussians:
        """Gaussians of motions, independent of timesteps; arguments as in `GaussianReward`."""
        return self.motion_encoder(x_t, mask, mean_only)

    def encode_text(self, text: TextFeatures, t: Real[Tensor, "B"] | None = None, mean_only: bool = False) -> Gaussians:
        """Gaussians of captions; arguments as in `GaussianReward`."""
        return self.text_encoder(text.tokens, text.mask, mean_only)

    def decode(self, z: Float[Tensor, "B E"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B N W"]:
        """Clean motion from an embedding: positions attend to it."""
        queries = self.motion_encoder.positions(mask.shape[1]).to(z.dtype).expand(len(z), -1, -1)
        return apply_mask(self.out_proj(self.decoder(queries, mask, z[:, None])), mask)


class GaussianTokenEncoder(nn.Module):
    """Transformer whose first two, learned tokens become mean and log-variance (ACTOR, Petrovich et al. 2021).

    Args:
        width: Width W of the input.
        hidden: Width H of the transformer and of the Gaussian.
        layers: Number of layers.
        heads: Attention heads.
        feedforward: Hidden width of the feed-forward networks.
        dropout: Dropout probability.
    """

    table: Tensor

    def __init__(self, width: int, hidden: int, layers: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(2, hidden))
        self.in_proj = nn.Linear(width, hidden)
        self.register_buffer("table", interleaved_sinusoid(torch.arange(_POSITIONS), hidden), persistent=False)
        self.drop = nn.Dropout(dropout)
        self.transformer = Transformer(hidden, layers, heads, feedforward, dropout)

    def positions(self, length: int) -> Float[Tensor, "L H"]:
        """Encodings of positions 0 to length-1."""
        return self.table[:length]

    def forward(self, x: Float[Tensor, "B N W"], mask: Bool[Tensor, "B N"], mean_only: bool = False) -> Gaussians:
        """One Gaussian for every sequence, without variance if only the mean is wanted."""
        x = self.in_proj(apply_mask(x, mask))
        x = torch.cat([self.tokens.to(x.dtype).expand(len(x), -1, -1), x], 1)
        x = self.drop(x + self.positions(x.shape[1]).to(x.dtype))
        out = self.transformer(x, F.pad(mask, (2, 0), value=True), leading=1 if mean_only else 2)
        out = out.to(self.tokens.dtype)
        return Gaussians(out[:, 0], None if mean_only else out[:, 1])
