"""An encoder without weights: words become vectors by hashing. For tests and tiny configurations."""

import hashlib
import math

import numpy as np
import torch
from torch.nn.functional import normalize

from realign.batch import TextFeatures
from realign.errors import InputError
from realign.masking import lengths_to_mask, masked_mean
from realign.text.base import TextEncoder, check_texts
from realign.text.words import split_words


class HashingEncoder(TextEncoder):
    """Gives every word a fixed pseudo-random vector, the same in every process; the sentence is their unit-norm mean.

    Args:
        dim: Width D.
    """

    def __init__(self, dim: int = 32):
        super().__init__()
        if dim < 1:
            raise InputError(f"The width of hashed words must be at least 1, not {dim}.")
        self._dim = dim

    @property
    def dim(self) -> int:
        """Width D of the word features and of the sentence vector."""
        return self._dim

    @property
    def fingerprint(self) -> str:
        """Name of the encoder: encoders differ in width only."""
        return f"hashing/{self._dim}"

    def forward(self, texts: list[str]) -> TextFeatures:
        """Encode B captions; the empty one is a single null word."""
        check_texts(texts)
        with torch.inference_mode(False), torch.no_grad():
            rows = [self._words(text) for text in texts]
            mask = lengths_to_mask(torch.tensor([len(row) for row in rows]))
            tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            features = TextFeatures(tokens, mask, normalize(masked_mean(tokens, mask), dim=-1))
            return features.to(self.device)

    def _words(self, text: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([_hash_vector(word, self._dim) for word in split_words(text)]))


def _hash_vector(word: str, dim: int) -> np.ndarray:
    """`dim` float32 numbers, uniform with mean 0 and variance 1, from the BLAKE2 digest of a word."""
    blocks = range(math.ceil(dim / 16))  # one 64-byte digest gives sixteen 32-bit numbers
    key = word.encode("utf-8", "surrogatepass")
    salts = (block.to_bytes(8, "little") for block in blocks)
    digest = b"".join(hashlib.blake2b(key, digest_size=64, salt=salt).digest() for salt in salts)
    unit = np.frombuffer(digest, "<u4")[:dim] / 2.0**32
    return ((unit * 2 - 1) * math.sqrt(3)).astype(np.float32)
