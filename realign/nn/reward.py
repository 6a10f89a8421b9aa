"""The step-aware reward transformer: one embedding space for captions and motions at any timestep."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor, nn
from torch.nn import functional as F

from realign.batch import TextFeatures
from realign.errors import InputError
from realign.interfaces import Learned, RewardBatch, RewardModel
from realign.losses.representation import joint_kl
from realign.losses.vae import reconstruction_loss
from realign.masking import apply_mask
from realign.nn.denoisers import TextTokens
from realign.nn.layers import PositionalEncoding, TimestepEmbedding, check_patch, join_runs, part_runs
from realign.nn.transformer import SkipTransformer
from realign.seeding import noise_like_mask


class Gaussians(NamedTuple):
    """B diagonal Gaussians; the mean is the embedding.

    Attributes:
        mean: Their means.
        logvar: Logarithms of their variances; None from a model that learns by contrast alone.
    """

    mean: Float[Tensor, "B E"]
    logvar: Float[Tensor, "B E"] | None

    def draw(self, noise: Float[Tensor, "B E"]) -> Float[Tensor, "B E"]:
        """One sample of each, from standard normal noise; the mean where there is no variance."""
        return self.mean if self.logvar is None else self.mean + (0.5 * self.logvar).exp() * noise


class Patches(nn.Module):
    """Joins runs of consecutive tokens into one.

    Args:
        width: Width W of the tokens.
        hidden: Width H of a run's token.
        size: Tokens P of a run.
    """

    def __init__(self, width: int, hidden: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.proj = nn.Linear(size * width, hidden)

    def token_mask(self, mask: Bool[Tensor, "B N"]) -> Bool[Tensor, "B R"]:
        """A run exists when its first token does."""
        return mask[:, :: self.size]

    def forward(self, x: Float[Tensor, "B N W"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B R H"]:
        """One token for every run."""
        return self.proj(join_runs(apply_mask(x, mask), self.size))


class DistributionEncoder(nn.Module):
    """Skip transformer that reads a Gaussian off learned tokens before its input (ACTOR, Petrovich et al. 2021).

    Args:
        embedding: Width E of the Gaussian.
        variance: Read a log-variance too, off a token of its own.
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
        """One Gaussian for every sequence, without a variance where only the mean is wanted."""
        count = len(self.tokens)
        x = torch.cat([self.tokens.to(x.dtype).expand(len(x), -1, -1), x], 1)
        out = self.transformer(x, F.pad(mask, (count, 0), value=True), leading=1 if mean_only else count)
        # float32 also under autocast: cosines and variances are told apart by small differences
        with torch.autocast(out.device.type, enabled=False):
            out = out.to(self.mean.weight.dtype)
            logvar = None if mean_only or self.logvar is None else self.logvar(out[:, 1])
            return Gaussians(self.mean(out[:, 0]), logvar)


class TransformerReward(RewardModel):
    """Scores a motion at any timestep against a caption, by the cosine of the means of two Gaussians.

    Two skip transformers, over [mean, log-variance, step, motion tokens] and over the features of a frozen sentence
    encoder, and a third that reconstructs the clean motion from either embedding while training (arXiv 2511.19217;
    TMR, Petrovich et al., ICCV 2023). What a sample gets depends neither on its batch nor on padding; in evaluation
    mode nothing is random.

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
        step_aware: Give the motion encoder a token of the step; without it, the step is ignored.
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
        self.decoder = None
        if decoder_layers > 0:
            self.decoder = SkipTransformer(hidden, decoder_layers, heads, feedforward, dropout, cross=True)
            self.latent_proj, self.out_proj = nn.Linear(embedding, hidden), nn.Linear(hidden, patch * width)

    def encode_motion(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"], mean_only: bool = False
    ) -> Gaussians:
        """Gaussians of motions at their steps; arguments as in `embed_motion`."""
        tokens, kept = self.positions(self.patches(x_t, mask)), self.patches.token_mask(mask)
        if self.time_embedding is not None:
            tokens = torch.cat([self.time_embedding(t)[:, None].to(tokens.dtype), tokens], 1)
            kept = F.pad(kept, (1, 0), value=True)
        return self.motion_encoder(tokens, kept, mean_only)

    def encode_text(self, text: TextFeatures, mean_only: bool = False) -> Gaussians:
        """Gaussians of sentences."""
        return self.text_encoder(*self.words(text), mean_only)

    def embed_motion(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B E"]:
        """Unit embeddings of motions.

        Args:
            x_t: Tokens of the space, at any level of noise.
            t: Steps of the schedule, or `CLEAN_STEP` for motions without noise.
            mask: True where a token exists.
        """
        return F.normalize(self.encode_motion(x_t, t, mask, mean_only=True).mean, dim=-1)

    def embed_text(self, text: TextFeatures) -> Float[Tensor, "B E"]:
        """Unit embeddings of sentences."""
        return F.normalize(self.encode_text(text, mean_only=True).mean, dim=-1)

    def learn(self, batch: RewardBatch) -> Learned:
        """The means, and with a decoder the losses of TMR: ``reconstruction``, ``kl`` and ``latent``.

        The CLEAN motion is reconstructed from a sample of either Gaussian, or from their means where there are no
        seeds.
        """
        motion, text = self.encode_motion(batch.x_t, batch.t, batch.mask), self.encode_text(batch.text)
        if self.decoder is None:
            return Learned(text.mean, motion.mean, {})
        views = len(motion.mean) // len(text.mean)
        repeated = Gaussians(*(each.repeat(views, 1) for each in text))  # type: ignore[union-attr]
        return Learned(text.mean, motion.mean, self._representation(repeated, motion, batch))

    def _representation(self, text: Gaussians, motion: Gaussians, batch: RewardBatch) -> dict[str, Float[Tensor, ""]]:
        """Losses through the decoder."""
        latents = [text.mean, motion.mean]
        if batch.seeds is not None:
            one = batch.mask.new_ones(len(batch.seeds), 1)
            latents = [
                each.draw(noise_like_mask(batch.seeds, f"latent of {name}", one, self.embedding)[:, 0])
                for name, each in (("text", text), ("motion", motion))
            ]
        decoded = self.decode(torch.cat(latents), batch.mask.repeat(2, 1)).float().chunk(2)
        from_text, from_motion = (reconstruction_loss(each, batch.clean, batch.mask) for each in decoded)
        return {
            "reconstruction": from_text + from_motion,
            "kl": joint_kl(*text, *motion),  # type: ignore[arg-type]
            "latent": F.smooth_l1_loss(latents[0], latents[1]),
        }

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
