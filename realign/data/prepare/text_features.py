"""Write the text features of all captions of a prepared set, in one pass, without holding them in memory."""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from realign.data.prepare.captions import swap_sides
from realign.data.prepare.writer import ArrayFile
from realign.data.store import PackedMotions
from realign.errors import InputError
from realign.text.base import TextEncoder
from realign.text.table import ABOUT_FILE, FEATURES_FILE, KEYS_FILE, OFFSETS_FILE, ROWS_FILE, VERSION, caption_key

_CHUNK = 64  # captions encoded and written at a time

Progress = Callable[[int, int], None]


class BeyondHalf(InputError):
    """Features that are too large for half precision or not finite."""


class DistinctCaptions:
    """The distinct captions of a set, plain and with left and right exchanged; the empty caption comes first.

    They are sorted by length, so that captions of similar lengths are encoded together; only numbers stay in memory.

    Args:
        packed: The set.

    Attributes:
        keys: (2, N): the sorted keys of all captions, and their numbers.
        rows: (captions of the set, 2): the numbers of each caption and of its mirrored form.
    """

    def __init__(self, packed: PackedMotions) -> None:
        self._packed = packed
        sizes = packed.caption_sizes
        found = np.empty(1 + 2 * len(sizes), np.uint64)
        found[0] = caption_key("")
        for place in range(len(sizes)):
            text = packed.caption_at(place)
            swapped = swap_sides(text)
            found[1 + 2 * place] = caption_key(text)
            found[2 + 2 * place] = found[1 + 2 * place] if swapped == text else caption_key(swapped)
        keys, first, inverse = np.unique(found, return_index=True, return_inverse=True)
        order = np.argsort(np.concatenate([[-1], np.repeat(sizes, 2)])[first], kind="stable")
        numbers = np.empty_like(order)
        numbers[order] = np.arange(len(order))
        self._first = first[order]
        self.keys = np.stack([keys, numbers.astype(np.uint64)])
        self.rows: NDArray[np.int32] = numbers[inverse.reshape(-1)[1:]].astype(np.int32).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self._first)

    def __iter__(self) -> Iterator[str]:
        yield ""
        for place, swapped in zip(*divmod(self._first[1:] - 1, 2), strict=True):
            text = self._packed.caption_at(int(place))
            yield swap_sides(text) if swapped else text


def write_features(
    packed: PackedMotions,
    encoder: TextEncoder,
    folder: Path,
    words: bool,
    about: dict[str, Any],
    progress: Progress | None = None,
) -> None:
    """Write the files that `FeatureTable` reads.

    Args:
        packed: The set.
        encoder: A frozen encoder.
        folder: Folder to make.
        words: Keep the features of words too.
        about: Further entries of meta.json.
        progress: Called with the number of captions done and their total.

    Raises:
        BeyondHalf: A feature has no value in half precision.
    """
    folder.mkdir()
    captions = DistinctCaptions(packed)
    np.save(folder / KEYS_FILE, captions.keys)
    np.save(folder / ROWS_FILE, captions.rows)
    offsets = np.zeros(len(captions) + 1, np.int64)
    file = ArrayFile(folder / FEATURES_FILE, "<f2", (encoder.dim,))
    try:
        texts, done = iter(captions), 0
        while chunk := list(islice(texts, _CHUNK)):
            values, counts = _encode(encoder, chunk, words)
            file.add(values)
            offsets[done + 1 : done + 1 + len(chunk)] = counts
            done += len(chunk)
            if progress is not None:
                progress(done, len(captions))
        file.finish()
    finally:
        file.close()
    np.save(folder / OFFSETS_FILE, np.cumsum(offsets))
    about = {"version": VERSION, **about, "words": words, "distinct": len(captions)}
    (folder / ABOUT_FILE).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _encode(encoder: TextEncoder, texts: list[str], words: bool) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Features of each caption and then, if wanted, of its words, in half precision; and the rows of each caption."""
    features = encoder(texts)
    values, there = features.pooled[:, None], features.mask.new_ones(len(texts), 1)
    if words:
        values, there = torch.cat([values, features.tokens], 1), torch.cat([there, features.mask], 1)
    kept = values.float().cpu().numpy()[there.cpu().numpy()]
    with np.errstate(over="ignore", invalid="ignore"):
        half = kept.astype(np.float16)
    if not np.isfinite(half).all():
        raise BeyondHalf(
            f"The text encoder {encoder.fingerprint} gives {np.abs(kept).max():.4g}, but half precision ends at 65504; "
            "its features are not kept in a file, train without one."
        )
    return half, there.sum(1).cpu().numpy()
