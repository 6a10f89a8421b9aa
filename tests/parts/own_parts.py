"""Models of users, each in one class: a generator that is not a diffusion, and a reward architecture."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from realign.batch import TextFeatures
from realign.interfaces import Learned, RewardBatch, RewardModel, TextToMotionModel
from realign.masking import apply_mask, lengths_to_mask, masked_mean
from realign.seeding import noise_like_mask
from realign.text.base import TextEncoder, encode_captions


class MaskedTokens(nn.Module, TextToMotionModel):
    """Motion tokens from a codebook, unmasked in a few rounds, the surest first (as MoMask, Guo et al. 2024, does).

    Args:
        text_encoder: Frozen features of captions.
        features: Channels of the motion features.
        codes: Tokens of the codebook.
        frames: Frames that a token stands for.
        rounds: How often some tokens are unmasked.
    """

    skeleton = "humanml3d"

    def __init__(
        self, text_encoder: TextEncoder, features: int = 263, codes: int = 16, frames: int = 4, rounds: int = 3
    ) -> None:
        super().__init__()
        self.text_encoder, self.codes, self.frames, self.rounds = text_encoder, codes, frames, rounds
        self.codebook = nn.Embedding(codes, features)
        self.tokens, self.words = nn.Embedding(codes + 1, 16), nn.Linear(text_encoder.dim, 16)
        self.mixer, self.logits = nn.Conv1d(16, 16, 3, padding=1), nn.Linear(16, codes)

    @property
    def device(self) -> torch.device:
        return self.codebook.weight.device

    @torch.no_grad()
    def sample(self, captions: Sequence[str], lengths: Tensor, seeds: Tensor, steps: int | None = None) -> Tensor:
        rounds = self.rounds if steps is None else steps
        text = encode_captions(self.text_encoder, captions).to(self.device)
        frames = lengths_to_mask(lengths.to(self.device))
        exists = frames[:, :: self.frames]
        ids = torch.full(exists.shape, self.codes, device=self.device)  # all masked
        for number in range(rounds):
            x = apply_mask(self.tokens(ids) + self.words(text.pooled)[:, None], exists)
            logits = self.logits(torch.tanh(self.mixer(x.mT).mT))
            chance = logits + noise_like_mask(seeds, f"round {number}", exists, self.codes)
            sure, drawn = chance.max(-1)
            masked = (ids == self.codes) & exists
            order = sure.masked_fill(~masked, torch.inf).argsort(1).argsort(1)  # the least sure stay masked
            left = exists.sum(1, keepdim=True) * (rounds - 1 - number) // rounds
            ids = torch.where(masked & (order >= left), drawn, ids)
        motion = self.codebook(ids.clamp(max=self.codes - 1)).repeat_interleave(self.frames, 1)
        return apply_mask(motion[:, : frames.shape[1]], frames)


class PooledReward(RewardModel):
    """Two small networks, over the mean of a motion's tokens with its timestep, and over a caption's vector.

    Args:
        width: Width of the motions' tokens.
        text_dim: Width of the text features.
        embedding: Width of the embeddings.
        pull: Weight of a loss of its own, the distance of matched pairs.
    """

    def __init__(self, width: int = 263, text_dim: int = 768, embedding: int = 16, pull: float = 0.0) -> None:
        super().__init__()
        self.width, self.text_dim, self.embedding, self.pull = width, text_dim, embedding, pull
        self.signature = f"pooled-{width}-{text_dim}-{embedding}"
        self.motion = nn.Sequential(nn.Linear(width + 1, 32), nn.GELU(), nn.Linear(32, embedding))
        self.text = nn.Sequential(nn.Linear(text_dim, 32), nn.GELU(), nn.Linear(32, embedding))

    def embed_motion(self, x_t: Tensor, t: Tensor, mask: Tensor) -> Tensor:
        pooled = torch.cat([masked_mean(x_t, mask), t[:, None] / 1000], 1)
        return nn.functional.normalize(self.motion(pooled), dim=-1)

    def embed_text(self, text: TextFeatures) -> Tensor:
        return nn.functional.normalize(self.text(text.pooled), dim=-1)

    def learn(self, batch: RewardBatch) -> Learned:
        text, motion, _ = super().learn(batch)
        return Learned(
            text, motion, {"pull": self.pull * (motion - text.repeat(len(motion) // len(text), 1)).square().mean()}
        )
