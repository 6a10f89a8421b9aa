"""The real clips of an evaluation: their captions, crops and batches."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from realign.batch import MotionTextBatch
from realign.data.dataset import MotionTextDataset
from realign.data.store import PackedMotions
from realign.errors import InputError
from realign.motion.skeleton import get_skeleton
from realign.seeding import mix_seed

Draw = int | str
"""Identifies a draw of captions and crops: a replication's number, or a name."""


class EvaluationClips:
    """Clips of a split of a prepared set. A draw gives each a caption and a crop, by seed, draw and id alone.

    Args:
        data: Folder written by `realign prepare`.
        split: train, val, test or all.
        kind: recorded, composed or unlabelled clips alone, see `PackedMotions.of_kind`; all when None.
        limit: Number of clips, the same ones for the same seed; all when None.
        seed: Of the evaluation.

    Raises:
        InputError: No prepared set, an unknown split or kind, or too small a limit.
    """

    def __init__(
        self, data: str | Path, split: str = "test", kind: str | None = None, limit: int | None = None, seed: int = 0
    ) -> None:
        self.packed = PackedMotions.open(data)
        least = get_skeleton(self.packed.skeleton).min_frames
        self.motions = MotionTextDataset(self.packed, split, augment=True, min_frames=least)
        self.split, self.kind, self.seed = split, kind, seed
        rows = self.motions.indices.tolist()
        self.ids = self.motions.ids()
        self._rows = dict(zip(self.ids, rows, strict=True))
        places = np.flatnonzero(self.packed.of_kind(self.motions.indices, kind)).tolist()
        self.places = places if limit is None else self._some(places, limit, "limit")

    def __len__(self) -> int:
        return len(self.places)

    def captions(self) -> list[str]:
        """All different captions of the clips."""
        rows = self.motions.indices[self.places].tolist()
        return list(dict.fromkeys(caption for row in rows for caption in self.packed.captions(row)))

    def actions(self, ids: Sequence[str]) -> list[str]:
        """What each clip shows: its content and style, or its first caption where the set does not name them."""
        rows = [self._rows[name] for name in ids]
        return [self.packed.action(row) or self.packed.caption(row) for row in rows]

    def kinds(self, ids: Sequence[str]) -> list[str]:
        """The kind of each clip, recorded or composed."""
        return [self.packed.kind(self._rows[name]) for name in ids]

    def draw(self, count: int | None, draw: Draw) -> list[int]:
        """Places of `count` clips, different for every draw; all clips when None or if there are fewer."""
        return self.places if count is None else self._some(self.places, count, draw)

    def batches(self, places: Sequence[int], draw: Draw, size: int) -> Iterator[MotionTextBatch]:
        """The clips at some places, in batches of similar length, the longest first; a place may come repeatedly.

        Args:
            places: From `draw`.
            draw: What captions and crops are drawn for.
            size: Clips a batch.
        """
        frames = self.motions.lengths[list(places)]
        order = [places[i] for i in np.argsort(-frames, kind="stable")]
        for start in range(0, len(order), size):
            part = order[start : start + size]
            yield self.motions.__getitems__([(place, mix_seed(self.seed, draw, self.ids[place])) for place in part])

    def _some(self, places: Sequence[int], count: int, draw: Draw) -> list[int]:
        if count < 1:
            raise InputError(f"{count} clips cannot be evaluated; ask for at least 1.")
        chosen = sorted(places, key=lambda place: mix_seed(self.seed, "clips", draw, self.ids[place]))[:count]
        return sorted(chosen)
