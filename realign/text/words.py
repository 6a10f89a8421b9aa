"""Words of a caption, and vectors for them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from realign.errors import InputError
from realign.seeding import mix_seed

_EMPTY = torch.iinfo(torch.int64).max  # stands in rows of the vocabulary that no word has taken; sorts last


def split_words(text: str) -> list[str]:
    """Lower-case words and punctuation marks; the empty caption is a single empty word.

    Examples:
        >>> split_words("Turns left, twice")
        ['turns', 'left', ',', 'twice']
    """
    return re.findall(r"\w+|[^\w\s]", text.lower()) or [""]


class WordVectors(nn.Module):
    """A table of word vectors, learned or given; words outside the vocabulary have the vectors of a few buckets.

    The vocabulary is a buffer of sorted 63-bit hashes, so that it travels with the weights and holds no strings.

    Args:
        width: Width D of a vector.
        vocabulary: Most words that have a vector of their own; the most frequent are kept.
        buckets: Vectors for unknown words, each by its hash.
        unknown: Fraction of words that are treated as unknown while training, which trains the buckets.

    Raises:
        InputError: When a number does not make sense.
    """

    words: Tensor

    def __init__(self, width: int, vocabulary: int = 1024, buckets: int = 64, unknown: float = 0.05) -> None:
        super().__init__()
        if vocabulary < 1 or buckets < 1 or not 0 <= unknown < 1:
            raise InputError(
                f"vocabulary={vocabulary} and buckets={buckets} must be at least 1, and unknown={unknown} a fraction "
                "below 1."
            )
        self.width, self.buckets, self.unknown = width, buckets, unknown
        self.register_buffer("words", torch.full((vocabulary,), _EMPTY))
        self.vectors = nn.Embedding(vocabulary + buckets, width)

    @property
    def ready(self) -> bool:
        """Whether there is a vocabulary."""
        return int(self.words[0]) != _EMPTY

    def learn(self, captions: Iterable[Sequence[str]]) -> None:
        """Build the vocabulary from the words of captions, independent of their order."""
        counts = Counter(word for caption in captions for word in caption)
        kept = sorted(counts, key=lambda word: (-counts[word], word))[: len(self.words)]
        self.words.fill_(_EMPTY)
        self.words[: len(kept)] = torch.tensor(sorted(mix_seed(word) for word in kept), device=self.words.device)

    @torch.no_grad()
    def load_vectors(self, words: Sequence[str], vectors: Float[Tensor, "V D"], unknown: Float[Tensor, "D"]) -> None:
        """Load vectors.

        Args:
            words: Different words, as many as the vocabulary holds.
            vectors: One vector each.
            unknown: The vector of every other word.

        Raises:
            InputError: Numbers or widths differ.
        """
        if len(set(words)) != len(self.words) or vectors.shape != (len(words), self.width):
            raise InputError(
                f"{len(set(words))} different words with vectors of shape {tuple(vectors.shape)} do not fit a table of "
                f"{len(self.words)} by {self.width}."
            )
        keys = torch.tensor([mix_seed(word) for word in words])
        order = keys.argsort()
        self.words.copy_(keys[order])
        self.vectors.weight[: len(words)] = vectors[order].to(self.vectors.weight)
        self.vectors.weight[len(words) :] = unknown.to(self.vectors.weight)

    def find(self, words: Sequence[str]) -> tuple[Int[Tensor, "L"], Bool[Tensor, "L"]]:
        """Rows of words in the table, and which of them the vocabulary knows."""
        keys = torch.tensor([mix_seed(word) for word in words], device=self.words.device)
        place = torch.searchsorted(self.words, keys).clamp(max=len(self.words) - 1)
        known = self.words[place] == keys
        if self.training and self.unknown:
            known = known & (torch.rand(known.shape, device=known.device) >= self.unknown)
        return torch.where(known, place, len(self.words) + keys % self.buckets), known

    def forward(self, captions: Sequence[Sequence[str]]) -> tuple[Float[Tensor, "B L D"], Int[Tensor, "B"]]:
        """Vectors of the words of B captions, padded with zeros, and the number of words of each."""
        lengths = torch.tensor([len(caption) for caption in captions])
        rows, _ = self.find([word for caption in captions for word in caption])
        vectors = self.vectors(rows).split(lengths.tolist())
        return nn.utils.rnn.pad_sequence(list(vectors), batch_first=True), lengths
