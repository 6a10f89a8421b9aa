"""The step-aware reward transformer: one embedding space for captions and motions at any timestep."""

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor, nn
from torch.nn import functional as F

from realign.batch import TextFeatures
from realign.errors import InputError
from realign.interfaces import Gaussians
from realign.masking import apply_mask
from realign.nn.denoisers import TextTokens
from realign.nn.gaussian import GaussianReward
from realign.nn.layers import PositionalEncoding, TimestepEmbedding, check_patch, join_runs, part_runs
from realign.nn.transformer import SkipTransformer


class Patches(nn.Module):
    """Joins patches of consecutive tokens to one token each.

    Args:
        width: Width W of the tokens.
        hidden: Width H of a patch's token.
        size: Tokens P of a patch.
    """

    def __init__(self, width: int, hidden: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.proj = nn.Linear(size * width, hidden)

    def token_mask(self, mask: Bool[Tensor, "B N"]) -> Bool[Tensor, "B R"]:
        """A patch exists if its first token does."""
        return mask[:, :: self.size]

    def forward(self, x: Float[Tensor, "B N W"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B R H"]:
        """One token for every patch."""
        return self.proj(join_runs(apply_mask(x, mask), self.size))


class DistributionEncoder(nn.Module):
    """Skip transformer whose first tokens, learned ones, become a Gaussian (ACTOR, Petrovich et al. 2021).

    Args:
        embedding: Width E of the Gaussian.
        variance: Predict a log-variance, too, from its own token.
        hidden: Width H of the transformer.
        layers: Number of layers; odd.
        heads: Attention heads.
        feedforward: Hidden width of the feed-forward networks.
        dropout: Dropout probability.
    """

    def __init__(
        self, embedding: int, variance: bool, hidden: int, layers: int, heads: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(1 + variance, hidden) * 0.02)
        self.transformer = SkipTransformer(hidden, layers, heads, feedforward, dropout)
        self.mean = nn.Linear(hidden, embedding)
        self.logvar = nn.Linear(hidden, embedding) if variance else None

    def forward(self, x: Float[Tensor, "B L H"], mask: Bool[Tensor, "B L"], mean_only: bool = False) -> Gaussians:
        """One Gaussian for every sequence, without a variance if only the mean is wanted."""
        count = len(self.tokens)
        x = torch.cat([self.tokens.to(x.dtype).expand(len(x), -1, -1), x], 1)
        out = self.transformer(x, F.pad(mask, (count, 0), value=True), leading=1 if mean_only else count)
        # float32 also under autocast: small differences of cosines and variances matter
        with torch.autocast(out.device.type, enabled=False):
            out = out.to(self.mean.weight.dtype)
            logvar = None if mean_only or self.logvar is None else self.logvar(out[:, 1])
            return Gaussians(self.mean(out[:, 0]), logvar)


class TransformerReward(GaussianReward):
    """Scores a motion at any timestep against a caption, by the cosine of the means of two Gaussians.

    Two skip transformers, over [mean, log-variance, timestep, motion tokens] and over the features of a frozen sentence
    encoder, and a third that reconstructs the clean motion from either embedding while training (arXiv 2511.19217; TMR,
    Petrovich et al., ICCV 2023). An embedding depends neither on the batch nor on padding; in evaluation mode nothing
    is random.

    Args:
        width: Width W of the motion space's tokens.
        text_dim: Width D of the text features.
        embedding: Width E of the embeddings.
        hidden: Width of the transformers.
        layers: Layers of each encoder; odd.
        heads: Attention heads.
        feedforward: Hidden width of the feed-forward networks.
        dropout: Dropout probability.
        decoder_layers: Layers of the decoder, odd; 0 for a model that learns by contrast alone.
        step_aware: Give the motion encoder a token of the timestep; without it, the timestep is ignored.
        patch: Tokens of the space that make one token of the motion encoder; 4 is far cheaper than 1.

    Raises:
        InputError: When a number does not make sense.
    """

    def __init__(
        self,
        width: int = 263,
        text_dim: int = 768,
        embedding: int = 256,
        hidden: int = 256,
        layers: int = 9,
        heads: int = 4,
        feedforward: int = 1024,
        dropout: float = 0.1,
        decoder_layers: int = 9,
        step_aware: bool = True,
        patch: int = 1,
    ) -> None:
        super().__init__()
        check_patch(patch)
        self.width, self.text_dim, self.embedding = width, text_dim, embedding
        self.step_aware, self.patch = step_aware, patch
        sizes = (hidden, layers, heads, feedforward, decoder_layers)
        self.signature = f"reward-{width}-{text_dim}-{embedding}-{'-'.join(map(str, sizes))}-{step_aware}-{patch}"
        self.patches = Patches(width, hidden, patch)
        self.time_embedding = TimestepEmbedding(hidden) if step_aware else None
        self.positions = PositionalEncoding(hidden)
        self.words = TextTokens(text_dim, hidden, "tokens")
        encoder = (embedding, decoder_layers > 0, hidden, layers, heads, feedforward, dropout)
        self.motion_encoder, self.text_encoder = DistributionEncoder(*encoder), DistributionEncoder(*encoder)
        self.decoder, self.variational = None, decoder_layers > 0
        if decoder_layers > 0:
            self.decoder = SkipTransformer(hidden, decoder_layers, heads, feedforward, dropout, cross=True)
            self.latent_proj, self.out_proj = nn.Linear(embedding, hidden), nn.Linear(hidden, patch * width)

    def encode_motion(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"], mean_only: bool = False
    ) -> Gaussians:
        """Gaussians of motions at their timesteps; arguments as in `embed_motion`."""
        tokens, kept = self.positions(self.patches(x_t, mask)), self.patches.token_mask(mask)
        if self.time_embedding is not None:
            tokens = torch.cat([self.time_embedding(t)[:, None].to(tokens.dtype), tokens], 1)
            kept = F.pad(kept, (1, 0), value=True)
        return self.motion_encoder(tokens, kept, mean_only)

    def encode_text(self, text: TextFeatures, t: Real[Tensor, "B"] | None = None, mean_only: bool = False) -> Gaussians:
        """Gaussians of captions, whatever the timestep."""
        return self.text_encoder(*self.words(text), mean_only)

    def decode(self, z: Float[Tensor, "B E"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B N W"]:
        """Clean motion tokens from an embedding: position queries attend to it.

        Raises:
            InputError: When the model has no decoder.
        """
        if self.decoder is None:
            raise InputError("This reward model has no decoder; give it decoder_layers above 0.")
        kept = self.patches.token_mask(mask)
        queries = self.positions.rows(kept.shape[1]).to(z.dtype).expand(len(z), -1, -1)
        out = self.out_proj(self.decoder(queries, kept, self.latent_proj(z)[:, None]))
        return apply_mask(part_runs(out, self.patch, mask.shape[1]), mask)
