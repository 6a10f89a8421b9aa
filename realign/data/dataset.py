"""Motions with captions from a prepared set: caption, crop and mirroring are drawn from one seed per sample."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from realign.batch import CaptionFeatures, MotionTextBatch
from realign.data.prepare.captions import swap_sides
from realign.data.store import PackedMotions
from realign.errors import InputError
from realign.motion.layout import mirror_map
from realign.motion.skeleton import get_skeleton
from realign.seeding import uniform
from realign.text.table import FeatureTable

LONGEST = 199
"""Longest motion, in frames, that generators are trained and evaluated on (HumanML3D and KIT)."""

Key = tuple[int, int]  # index into the dataset, seed of the sample


class MotionTextDataset(Dataset[MotionTextBatch]):
    """One split of a prepared set. A sample depends only on its key (index, seed).

    In training (`augment`), a sample has a random caption and a crop to floor(F / unit) units, one unit less in a third
    of the draws, at a random start. With `mirror`, half of the samples are mirrored and their captions exchange left
    and right. Otherwise a sample has the first caption and floor(F / unit) units from the first frame. Padding is zero.

    Args:
        packed: The prepared set.
        split: "train", "val", "test" or "all".
        augment: Draw at random as above.
        mirror: Mirror half of the draws (only with `augment`).
        min_frames: Shortest motion taken.
        max_frames: Longest crop; a multiple of `unit_length`.
        max_motion_frames: Longest motion taken; None for any, cropped to `max_frames`.
        unit_length: Lengths are multiples of this.
        pad_to: Frames to pad every batch to; the longest of the batch when None.
        one_per_motion: Take only the clip with the first caption of each motion.
        text: Features of the set's captions that batches carry, by encoder fingerprint.
    """

    def __init__(
        self,
        packed: PackedMotions,
        split: str = "train",
        *,
        augment: bool = False,
        mirror: bool = False,
        min_frames: int = 40,
        max_frames: int = 196,
        max_motion_frames: int | None = LONGEST,
        unit_length: int = 4,
        pad_to: int | None = None,
        one_per_motion: bool = False,
        text: Mapping[str, FeatureTable] | None = None,
    ) -> None:
        if unit_length < 1 or max_frames < unit_length or max_frames % unit_length:
            raise InputError(f"max_frames={max_frames} must be a positive multiple of unit_length={unit_length}.")
        if pad_to is not None and pad_to < max_frames:
            raise InputError(f"pad_to={pad_to} is shorter than max_frames={max_frames}; raise it or lower max_frames.")
        self.packed, self.split, self.text = packed, split, dict(text or {})
        self.augment, self.mirror = augment, mirror and augment
        self.max_frames, self.unit, self.pad_to = max_frames, unit_length, pad_to
        least = max(min_frames, unit_length)
        self.indices = packed.select(split, least, max_motion_frames, one_per_motion)
        if len(self.indices) == 0:
            limit = "any number of" if max_motion_frames is None else f"{least} to {max_motion_frames}"
            raise InputError(f"{packed.folder} has no clip of {limit} frames in split {split!r}; prepare more data.")
        order, signs = mirror_map(get_skeleton(packed.skeleton))
        self._mirror = (order.numpy(), signs.numpy().astype(np.float32))

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Frames of all clips before cropping, in order."""
        return self.packed.clips["frames"][self.indices]

    def ids(self) -> list[str]:
        """Names of all clips, in order."""
        return self.packed.ids(self.indices)

    def __getitem__(self, key: int | Key) -> MotionTextBatch:
        """A batch of one."""
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[int | Key]) -> MotionTextBatch:
        """A batch; a plain index stands for (index, 0)."""
        pairs = [key if isinstance(key, tuple) else (int(key), 0) for key in keys]
        seeds = torch.from_numpy(np.array([seed for _, seed in pairs], dtype=np.uint64).view(np.int64))
        rows = self.indices[[index for index, _ in pairs]]
        clips = self.packed.clips[rows]
        frames, starts, which, mirrored = self._draw(seeds, clips)
        size = self.pad_to or int(frames.max())
        made = _buffer((len(rows), size, self.packed.num_features))
        motion = made.numpy()
        order, signs = self._mirror
        for i, (start, length) in enumerate(zip(starts.tolist(), frames.tolist(), strict=True)):
            source, out = self.packed.features[start : start + length], motion[i, :length]
            motion[i, length:] = 0
            if mirrored[i]:
                np.take(source, order, axis=1, out=out, mode="clip")  # "raise" buffers, six times slower
                out *= signs
            else:
                out[:] = source
        places = clips["caption"] + which
        captions = [self.packed.caption_at(place) for place in places.tolist()]
        captions = [swap_sides(text) if flip else text for text, flip in zip(captions, mirrored, strict=True)]
        return MotionTextBatch(
            motion=made,
            lengths=torch.from_numpy(frames),
            captions=captions,
            ids=self.packed.ids(rows),
            seeds=seeds,
            text={
                name: table.read(table.rows[places, mirrored.astype(int)], captions)
                for name, table in self.text.items()
            },
        )

    def _draw(self, seeds: Int[Tensor, "B"], clips: NDArray[np.void]) -> tuple[NDArray[Any], ...]:
        """Crop lengths, absolute first frames, caption numbers and whether to mirror."""
        whole = clips["frames"].astype(np.int64)
        units = np.minimum(whole // self.unit, self.max_frames // self.unit)
        if not self.augment:
            nothing = np.zeros(len(clips), dtype=np.int64)
            return units * self.unit, clips["start"].astype(np.int64), nothing, nothing.astype(bool)

        def drawn(purpose: str) -> NDArray[np.float64]:
            return uniform(seeds, f"clip {purpose}").double().numpy()  # doubles do not round up to 1

        shorter = (drawn("length") < 1 / 3) & (units > 1)
        frames = (units - shorter) * self.unit
        starts = clips["start"] + (drawn("start") * (whole - frames + 1)).astype(np.int64)
        which = (drawn("caption") * clips["captions"]).astype(np.int64)
        mirrored = (drawn("side") < 0.5) if self.mirror else np.zeros(len(clips), dtype=bool)
        return frames, starts, which, mirrored


def _buffer(shape: tuple[int, ...]) -> Tensor:
    """Memory for float32 numbers; in a loader's worker such as the training process sees, too, which saves a copy."""
    if get_worker_info() is None:
        return torch.empty(shape)
    shared = torch.UntypedStorage._new_shared(4 * math.prod(shape))
    return torch.empty(0).set_(shared, 0, shape)  # type: ignore[call-overload]


def collate(samples: MotionTextBatch | Sequence[MotionTextBatch]) -> MotionTextBatch:
    """Join samples into a batch, padded to the longest; a batch that `__getitems__` made passes through."""
    if isinstance(samples, MotionTextBatch):
        return samples
    size = max(sample.motion.shape[1] for sample in samples)
    motion = samples[0].motion.new_zeros(sum(map(len, samples)), size, samples[0].motion.shape[2])
    row = 0
    for sample in samples:
        motion[row : row + len(sample), : sample.motion.shape[1]] = sample.motion
        row += len(sample)
    return MotionTextBatch(
        motion,
        torch.cat([sample.lengths for sample in samples]),
        [text for sample in samples for text in sample.captions],
        [name for sample in samples for name in sample.ids],
        torch.cat([sample.seeds for sample in samples]),
        {name: CaptionFeatures.cat([sample.text[name] for sample in samples]) for name in samples[0].text},
    )
