"""Frozen text features kept on disk, so that every caption is encoded once."""

import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from realign.batch import TextFeatures
from realign.errors import InputError
from realign.files import cache_folder
from realign.text.base import TextEncoder, TokenLimit, check_texts, file_stem
from realign.text.store import Entry, FeatureStore, StoreUnusable

_CHUNK = 64  # captions encoded and written at a time


class CachedTextEncoder(TextEncoder):
    """Keeps the features of a frozen encoder in memory and in one file on disk, and encodes only new captions.

    Captions are the keys; the file is named after the encoder's fingerprint. Several workers and processes of one
    machine may use it. The encoder's weights are not loaded while all captions are known. Where the folder cannot be
    written, or is on a network file system, a warning is given once and memory alone is used. Training reads the
    captions of a prepared set from a file of their own, see `FeatureTable`.

    Args:
        encoder: Where new captions are encoded; it must have no trainable weights.
        cache_dir: Folder of the files; None for ``$REALIGN_CACHE/text``, else ``~/.cache/realign/text``.
        memory_mb: Megabytes of features kept in memory.

    Raises:
        InputError: The encoder has trainable weights, so that its features would not last.
    """

    def __init__(self, encoder: TextEncoder, cache_dir: str | os.PathLike | None = None, memory_mb: int = 256):
        super().__init__()
        if any(weight.requires_grad for weight in encoder.parameters()):
            raise InputError(f"{type(encoder).__name__} has trainable weights; cache only frozen encoders.")
        if memory_mb < 0:
            raise InputError(f"memory_mb must be at least 0, not {memory_mb}.")
        self.encoder = encoder
        self.cache_dir = cache_dir
        self._memory = _Memory(memory_mb * 2**20)
        self._disk = True

    @property
    def dim(self) -> int:
        """Width D of the inner encoder."""
        return self.encoder.dim

    @property
    def fingerprint(self) -> str:
        """That of the inner encoder, since caching does not change features."""
        return self.encoder.fingerprint

    def token_limit(self) -> TokenLimit | None:
        """That of the inner encoder."""
        return self.encoder.token_limit()

    @property
    def kept(self) -> TextEncoder:
        """The inner encoder."""
        return self.encoder

    @property
    def path(self) -> Path:
        """The cache file."""
        folder = cache_folder("text") if self.cache_dir is None else Path(self.cache_dir).expanduser()
        return folder / f"{file_stem(self.fingerprint)}-v1.sqlite"

    def forward(self, texts: list[str]) -> TextFeatures:
        """Look B captions up and encode new ones."""
        check_texts(texts)
        known = {text: entry for text in dict.fromkeys(texts) if (entry := self._memory.get(text))}
        wanted = [text for text in dict.fromkeys(texts) if text not in known]
        if wanted:
            found = self._on_disk(lambda store: store.read(wanted)) or {}
            found |= self._encode([text for text in wanted if text not in found])
            self._memory.put(found.items())
            known |= found
        return self._assemble([known[text] for text in texts])

    def _encode(self, texts: list[str]) -> dict[str, Entry]:
        """Encode and write in chunks, so that an interrupted run keeps the earlier chunks."""
        entries: dict[str, Entry] = {}
        for start in range(0, len(texts), _CHUNK):
            chunk = texts[start : start + _CHUNK]
            features = self.encoder(chunk)
            mask = features.mask.cpu().numpy()
            tokens, pooled = features.tokens.float().cpu().numpy(), features.pooled.float().cpu().numpy()
            fresh = {text: (tokens[i][mask[i]], pooled[i].copy()) for i, text in enumerate(chunk)}
            self._on_disk(partial(_write, entries=fresh))
            entries |= fresh
        return entries

    def _on_disk(self, action: Callable[[FeatureStore], dict[str, Entry]]) -> dict[str, Entry] | None:
        if not self._disk:
            return None
        try:
            return action(FeatureStore(self.path, self.dim))
        except StoreUnusable as error:
            self._disk = False
            warnings.warn(
                f"Text features are kept in memory only, since {self.path} cannot be used ({error}); "
                "set REALIGN_CACHE to a folder on a disk of this machine that can be written.",
                stacklevel=2,
            )
            return None

    def _assemble(self, entries: list[Entry]) -> TextFeatures:
        longest = max(len(tokens) for tokens, _ in entries)
        tokens = np.zeros((len(entries), longest, self.dim), np.float32)
        mask = np.zeros((len(entries), longest), bool)
        for row, (words, _) in enumerate(entries):
            tokens[row, : len(words)] = words
            mask[row, : len(words)] = True
        with torch.inference_mode(False):
            pooled = torch.from_numpy(np.stack([vector for _, vector in entries]))
            return TextFeatures(torch.from_numpy(tokens), torch.from_numpy(mask), pooled).to(self.device)


class _Memory:
    """The most recently used features up to a number of bytes; copies use the same, other processes start empty."""

    def __init__(self, limit: int):
        self.limit = limit
        self.size = 0
        self.entries: OrderedDict[str, Entry] = OrderedDict()

    def get(self, text: str) -> Entry | None:
        entry = self.entries.get(text)
        if entry is not None:
            self.entries.move_to_end(text)
        return entry

    def put(self, items: Iterable[tuple[str, Entry]]) -> None:
        for text, entry in items:
            self.size += _bytes(entry) - _bytes(self.entries.pop(text, None))
            self.entries[text] = entry
        while self.size > self.limit:
            self.size -= _bytes(self.entries.popitem(last=False)[1])

    def __deepcopy__(self, memo: dict) -> "_Memory":
        return self

    def __reduce__(self) -> "tuple[type[_Memory], tuple[int]]":
        return _Memory, (self.limit,)


def _write(store: FeatureStore, entries: dict[str, Entry]) -> dict[str, Entry]:
    store.write(entries)
    return entries


def _bytes(entry: Entry | None) -> int:
    return sum(part.nbytes for part in entry) if entry else 0
