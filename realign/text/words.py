"""Words of a sentence, and vectors for them that are learned from scratch."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from realign.errors import InputError
from realign.seeding import mix_seed

_EMPTY = torch.iinfo(torch.int64).max  # stands in rows of the vocabulary that no word has taken; sorts last


def split_words(text: str) -> list[str]:
    """Lower-case words and punctuation marks; the empty sentence is a single empty word.

    Examples:
        >>> split_words("Turns left, twice")
        ['turns', 'left', ',', 'twice']
    """
    return re.findall(r"\w+|[^\w\s]", text.lower()) or [""]


class WordVectors(nn.Module):
    """Learned vectors of the words of a training set; any other word shares the vector of a bucket it is hashed to.

    The vocabulary is a buffer of sorted 63-bit hashes, so that it travels with the weights and holds no strings.

    Args:
        width: Width D of a vector.
        vocabulary: Most words that have a vector of their own; the most frequent are kept.
        buckets: Vectors that unknown words share.
        unknown: Share of words that are treated as unknown while training, which trains the buckets.

    Raises:
        InputError: When a number does not make sense.
    """

    words: Tensor

    def __init__(self, width: int, vocabulary: int = 1024, buckets: int = 64, unknown: float = 0.05) -> None:
        super().__init__()
        if vocabulary < 1 or buckets < 1 or not 0 <= unknown < 1:
            raise InputError(
                f"vocabulary={vocabulary} and buckets={buckets} must be at least 1, and unknown={unknown} a share "
                "below 1."
            )
        self.width, self.buckets, self.unknown = width, buckets, unknown
        self.register_buffer("words", torch.full((vocabulary,), _EMPTY))
        self.vectors = nn.Embedding(vocabulary + buckets, width)

    @property
    def ready(self) -> bool:
        """Whether a vocabulary was learned."""
        return int(self.words[0]) != _EMPTY

    def learn(self, captions: Iterable[str]) -> None:
        """Build the vocabulary from sentences; equal sentences in any order give equal vocabularies."""
        counts = Counter(word for caption in captions for word in split_words(caption))
        kept = sorted(counts, key=lambda word: (-counts[word], word))[: len(self.words)]
        self.words.fill_(_EMPTY)
        self.words[: len(kept)] = torch.tensor(sorted(mix_seed(word) for word in kept), device=self.words.device)

    def forward(self, words: Sequence[Sequence[str]]) -> tuple[Float[Tensor, "B L D"], Int[Tensor, "B"]]:
        """Vectors of the words of B sentences, zero behind the last, and how many there are of each."""
        lengths = torch.tensor([len(row) for row in words])
        keys = torch.tensor([mix_seed(word) for row in words for word in row], device=self.words.device)
        place = torch.searchsorted(self.words, keys).clamp(max=len(self.words) - 1)
        known = self.words[place] == keys
        if self.training and self.unknown:
            known = known & (torch.rand(known.shape, device=known.device) >= self.unknown)
        rows = self.vectors(torch.where(known, place, len(self.words) + keys % self.buckets))
        return nn.utils.rnn.pad_sequence(list(rows.split(lengths.tolist())), batch_first=True), lengths
