"""An evaluator to train on any set: convolutions and a transformer over motions, a recurrent network over words."""

import math
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from realign.errors import InputError
from realign.evaluators.base import CONTACTS, Evaluator
from realign.masking import apply_mask, lengths_to_mask, masked_mean
from realign.text.words import WordVectors, split_words


class ContrastiveEvaluator(Evaluator):
    """Encoders of motions and captions whose embeddings have one norm.

    Embeddings have the norm sqrt(E). For vectors of one norm, the Euclidean distance of the metrics ranks like the
    cosine of the training, and the norm of a motion's embedding does not affect the metrics. With sqrt(E), channels
    have about unit variance, which gives FID and matching distance a readable scale.

    Args:
        features: Channels C of the motion features, the four foot contacts included.
        embedding: Width E of the embeddings.
        hidden: Width of both towers.
        layers: Layers of the motion transformer, over one token for every four frames.
        heads: Its attention heads.
        feedforward: Hidden width of its feed-forward networks.
        dropout: Dropout probability of both towers.
        max_frames: Longest motion.
        vocabulary: Most words that have a vector of their own.
        buckets: Vectors for unknown words, each by its hash.
        unknown: Fraction of words treated as unknown while training.

    Raises:
        InputError: When a number does not make sense.
    """

    def __init__(
        self,
        features: int = 263,
        embedding: int = 256,
        hidden: int = 256,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 512,
        dropout: float = 0.1,
        max_frames: int = 196,
        vocabulary: int = 1024,
        buckets: int = 64,
        unknown: float = 0.05,
    ) -> None:
        super().__init__(features, embedding)
        if hidden % (2 * heads):
            raise InputError(f"hidden={hidden} must be a multiple of twice the {heads} heads.")
        self._sizes = (features, embedding, hidden, layers, heads, feedforward, max_frames, vocabulary, buckets)
        self.motion_tower = MotionTower(
            features - CONTACTS, embedding, hidden, layers, heads, feedforward, dropout, max_frames
        )
        self.words = WordVectors(hidden, vocabulary, buckets, unknown)
        self.text_tower = TextTower(hidden, embedding, dropout)

    @property
    def signature(self) -> str:
        """The kind of network and its sizes, which the weights do not tell."""
        return f"contrastive-{'-'.join(map(str, self._sizes))}"

    def embed_motion(self, motion: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B E"]:
        """Embeddings of norm sqrt(E); arguments as in `Evaluator`."""
        mask = lengths_to_mask(lengths.to(motion.device), motion.shape[1])
        return self._on_sphere(self.motion_tower(motion[..., :-CONTACTS], mask))

    def embed_text(self, captions: Sequence[str]) -> Float[Tensor, "B E"]:
        """Embeddings of norm sqrt(E)."""
        return self._on_sphere(self.text_tower(*self.words([split_words(caption) for caption in captions])))

    def learn_words(self, captions: Iterable[str]) -> None:
        """Build the vocabulary if there is none."""
        if not self.words.ready:
            self.words.learn(split_words(caption) for caption in captions)

    def _on_sphere(self, x: Float[Tensor, "B E"]) -> Float[Tensor, "B E"]:
        return F.normalize(x.float(), dim=-1) * math.sqrt(self.embedding)


class MotionTower(nn.Module):
    """Residual convolutions that halve the rate twice, then a transformer, then mean and maximum over time.

    Args:
        channels: Channels of a frame.
        embedding: Width E of the output.
        hidden: Width H of convolutions and transformer.
        layers: Layers of the transformer.
        heads: Its attention heads.
        feedforward: Hidden width of its feed-forward networks.
        dropout: Dropout probability.
        max_frames: Longest motion.
    """

    def __init__(
        self,
        channels: int,
        embedding: int,
        hidden: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        max_frames: int,
    ) -> None:
        super().__init__()
        self.max_frames = max_frames
        self.down = nn.ModuleList(
            nn.Conv1d(width, hidden, kernel_size=5, stride=2, padding=2) for width in (channels, hidden)
        )
        self.convs = nn.ModuleList(nn.Conv1d(hidden, hidden, kernel_size=3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(2))
        self.positions = nn.Parameter(0.02 * torch.randn(-(-max_frames // 4), hidden))
        layer = nn.TransformerEncoderLayer(
            hidden, heads, feedforward, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, layers, nn.LayerNorm(hidden), enable_nested_tensor=False)
        self.out_proj = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * hidden, embedding))

    def forward(self, motion: Float[Tensor, "B F C"], mask: Bool[Tensor, "B F"]) -> Float[Tensor, "B E"]:
        """One vector for every motion.

        Raises:
            InputError: A motion has no frames, or more than there are positions.
        """
        if not bool(mask.any(1).all()):
            raise InputError("A motion without frames cannot be embedded; leave it out.")
        if bool(mask[:, self.max_frames :].any()):
            raise InputError(f"A motion has {int(mask.sum(1).max())} frames, this evaluator reads {self.max_frames}.")
        mask, motion = mask[:, : self.max_frames], motion[:, : self.max_frames]
        x = apply_mask(motion, mask)
        for down, conv, norm in zip(self.down, self.convs, self.norms, strict=True):
            mask = mask[:, ::2]
            x = F.gelu(apply_mask(down(x.mT).mT, mask))
            x = apply_mask(norm(x + F.gelu(conv(x.mT).mT)), mask)
        x = self.transformer(x + self.positions[: x.shape[1]].to(x.dtype), src_key_padding_mask=~mask)
        highest = x.masked_fill(~mask[..., None], -torch.inf).amax(1)
        return self.out_proj(torch.cat([masked_mean(x, mask), highest], -1))


class TextTower(nn.Module):
    """A bidirectional recurrent network over words, then mean and maximum over them.

    Args:
        width: Width D of the word vectors; even.
        embedding: Width E of the output.
        dropout: Dropout probability.
    """

    def __init__(self, width: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.gru = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        self.out_proj = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * width, embedding))

    def forward(self, words: Float[Tensor, "B L D"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B E"]:
        """One vector for every caption."""
        packed = nn.utils.rnn.pack_padded_sequence(self.drop(words), lengths, batch_first=True, enforce_sorted=False)
        with torch.autocast(words.device.type, enabled=False):  # short sequences: float32 costs nothing
            x, _ = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        mask = lengths_to_mask(lengths, x.shape[1]).to(x.device)
        highest = x.masked_fill(~mask[..., None], -torch.inf).amax(1)
        return self.out_proj(torch.cat([masked_mean(x, mask), highest], -1))
