"""The published reward model of ReAlign, EasyTune and MotionRFT: step-aware encoders of motions and words."""

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor, nn
from torch.nn import functional as F

from realign.batch import TextFeatures
from realign.diffusion.path import CLEAN_STEP
from realign.interfaces import Gaussians
from realign.masking import apply_mask
from realign.nn.gaussian import GaussianReward
from realign.nn.layers import PositionalEncoding, timestep_sinusoid
from realign.nn.transformer import SkipTransformer


class SPM(GaussianReward):
    """Two skip transformers over [distribution, timestep, frames] and [distribution, timestep, words].

    The file's mode, such as M1T0, names the encoders that get the timestep: the digit after M is for motions, after T
    for captions. Without the timestep, the sequence is one token shorter. Clean motions never have the timestep token,
    as in the published programs of EasyTune and of retrieval. Both encoders end in the same LayerNorm.

    Args:
        width: Features C of a frame: 263 (HumanML3D), 251 (KIT-ML), 135 (MotionRFT).
        text_dim: Width D of the words.
        hidden: Width of the transformers and of the embeddings.
        layers: Layers of each; odd.
        heads: Attention heads.
        feedforward: Hidden width of the feed-forward networks.
        dropout: Dropout probability.
        motion_time: Give the motion encoder the timestep.
        text_time: Give the text encoder the timestep.
        time_width: Width of the timestep's sinusoid.
        max_tokens: Learned positions of each sequence.
    """

    variational = True

    def __init__(
        self,
        width: int = 263,
        text_dim: int = 1024,
        hidden: int = 256,
        layers: int = 9,
        heads: int = 4,
        feedforward: int = 1024,
        dropout: float = 0.1,
        motion_time: bool = True,
        text_time: bool = False,
        time_width: int = 512,
        max_tokens: int = 500,
    ) -> None:
        super().__init__()
        self.width, self.text_dim, self.embedding = width, text_dim, hidden
        self.motion_time, self.timed_captions = motion_time, text_time
        sizes = "-".join(map(str, (width, text_dim, hidden, layers, heads, feedforward, time_width, max_tokens)))
        self.signature = f"spm-{sizes}-M{int(motion_time)}T{int(text_time)}"
        transformer = (hidden, layers, heads, feedforward, dropout)
        self.motion_encoder = LeadingTokenEncoder(width, max_tokens, *transformer)
        self.text_encoder = LeadingTokenEncoder(text_dim, max_tokens, *transformer)
        self.norm = nn.LayerNorm(hidden)
        self.time_width = time_width
        self.time_embedding = nn.Sequential(nn.Linear(time_width, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.decoder_positions = PositionalEncoding(hidden, learned=True, max_length=max_tokens)
        self.decoder = SkipTransformer(*transformer, cross=True)
        self.out_proj = nn.Linear(hidden, width)

    def encode_motion(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"], mean_only: bool = False
    ) -> Gaussians:
        """Gaussians of motions; arguments as in `GaussianReward`."""
        return self._gaussians(self.motion_encoder, x_t, mask, t if self.motion_time else None)

    def encode_text(self, text: TextFeatures, t: Real[Tensor, "B"] | None = None, mean_only: bool = False) -> Gaussians:
        """Gaussians of captions; arguments as in `GaussianReward`."""
        return self._gaussians(self.text_encoder, text.tokens, text.mask, t if self.timed_captions else None)

    def _gaussians(
        self,
        encoder: "LeadingTokenEncoder",
        x: Float[Tensor, "B N W"],
        mask: Bool[Tensor, "B N"],
        t: Real[Tensor, "B"] | None,
    ) -> Gaussians:
        if t is None:
            return encoder(x, mask, self.norm)
        angles = timestep_sinusoid(t.clamp(min=0), self.time_width)
        time = self.time_embedding(angles.to(self.out_proj.weight.dtype))
        return encoder(x, mask, self.norm, time, t != CLEAN_STEP)

    def decode(self, z: Float[Tensor, "B E"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B N W"]:
        """Clean motion from an embedding: learned positions attend to it."""
        queries = self.decoder_positions.rows(mask.shape[1]).to(z.dtype).expand(len(z), -1, -1)
        return apply_mask(self.out_proj(self.decoder(queries, mask, z[:, None])), mask)


class LeadingTokenEncoder(nn.Module):
    """Skip transformer whose first, learned token becomes a Gaussian.

    Args:
        width: Width W of the input.
        max_tokens: Learned positions.
        hidden: Width H of the transformer and of the Gaussian.
        layers: Number of layers; odd.
        heads: Attention heads.
        feedforward: Hidden width of the feed-forward networks.
        dropout: Dropout probability.
    """

    def __init__(
        self, width: int, max_tokens: int, hidden: int, layers: int, heads: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, hidden) * 0.02)
        self.in_proj = nn.Linear(width, hidden)
        self.positions = PositionalEncoding(hidden, learned=True, max_length=max_tokens)
        self.transformer = SkipTransformer(hidden, layers, heads, feedforward, dropout)
        self.transformer.norm = nn.Identity()  # both encoders share one
        self.distribution = nn.Linear(hidden, 2 * hidden)

    def forward(
        self,
        x: Float[Tensor, "B N W"],
        mask: Bool[Tensor, "B N"],
        norm: nn.Module,
        time: Float[Tensor, "B H"] | None = None,
        timed: Bool[Tensor, "B"] | None = None,
    ) -> Gaussians:
        """One Gaussian for every sequence.

        Args:
            x: Frames or words.
            mask: Which of them exist.
            norm: Last layer of the transformer.
            time: Embeddings of the timesteps; None leaves the timestep token out for all samples.
            timed: Samples with that token; for the others it is masked and not counted in positions.
        """
        tokens = self.in_proj(apply_mask(x, mask))
        first = self.token.to(tokens.dtype).expand(len(tokens), 1, -1)
        mask = F.pad(mask, (1, 0), value=True)
        if time is None or timed is None:
            tokens = self.positions(torch.cat([first, tokens], 1))
        else:
            tokens = torch.cat([first, time[:, None].to(tokens.dtype), tokens], 1)
            rows = self.positions.rows(tokens.shape[1]).to(tokens.dtype)
            untimed = torch.cat([rows[:1], rows[:-1]])
            tokens = tokens + torch.where(timed[:, None, None], rows, untimed)
            mask = torch.cat([mask[:, :1], timed[:, None], mask[:, 1:]], 1)
        # float32 also under autocast: small differences of cosines and variances matter
        out = norm(self.transformer(tokens, mask, leading=1)[:, 0])
        with torch.autocast(out.device.type, enabled=False):
            return Gaussians(*self.distribution(out.to(self.distribution.weight.dtype)).chunk(2, -1))
