"""Motions with captions from a packed set: random caption, crop and mirroring from one seed a sample, batch at a time."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from realign.batch import MotionTextBatch
from realign.data.captions import swap_sides
from realign.data.packed import PackedMotions
from realign.errors import InputError
from realign.motion.layout import mirror_map
from realign.motion.skeleton import get_skeleton
from realign.seeding import mix_seed

Key = tuple[int, int]  # index into the dataset, seed of the sample


def _uniform(seeds: NDArray[np.uint64], draw: int) -> NDArray[np.float64]:
    """The draw-th number in [0, 1) of each seed: the SplitMix64 stream (Steele et al., OOPSLA 2014), vectorised."""
    with np.errstate(over="ignore"):
        z = seeds + np.uint64(0x9E3779B97F4A7C15) * np.uint64(draw + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


class MotionTextDataset(Dataset[MotionTextBatch]):
    """One split of a packed set. A sample is a function of its key (index, seed) alone.

    Training (`augment`): a random caption; a crop to floor(F / unit) units, in a third of the draws one unit less, at a
    random start; mirrored half of the time when `mirror`, with left and right exchanged in the caption. Otherwise the
    first caption and floor(F / unit) units from the first frame. Padding is zero.

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
        max_motion_frames: int | None = 199,
        unit_length: int = 4,
        pad_to: int | None = None,
        one_per_motion: bool = False,
    ) -> None:
        if unit_length < 1 or max_frames < unit_length or max_frames % unit_length:
            raise InputError(f"max_frames={max_frames} must be a positive multiple of unit_length={unit_length}.")
        if pad_to is not None and pad_to < max_frames:
            raise InputError(f"pad_to={pad_to} is shorter than max_frames={max_frames}; raise it or lower max_frames.")
        self.packed, self.split = packed, split
        self.augment, self.mirror = augment, mirror and augment
        self.max_frames, self.unit, self.pad_to = max_frames, unit_length, pad_to
        least = max(min_frames, unit_length)
        self.indices = packed.select(split, least, max_motion_frames, one_per_motion)
        if len(self.indices) == 0:
            limit = "any number of" if max_motion_frames is None else f"{least} to {max_motion_frames}"
            raise InputError(f"{packed.folder} has no clip of {limit} frames in the split {split!r}; prepare more data.")
        order, signs = mirror_map(get_skeleton(packed.skeleton))
        self._mirror = (order.numpy(), signs.numpy().astype(np.float32))

    def __len__(self) -> int:
        return len(self.indices)

    def ids(self) -> list[str]:
        """Names of all clips, in order."""
        return self.packed.ids(self.indices)

    def __getitem__(self, key: int | Key) -> MotionTextBatch:
        """A batch of one."""
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[int | Key]) -> MotionTextBatch:
        """A batch; a plain index stands for (index, 0)."""
        pairs = [key if isinstance(key, tuple) else (int(key), 0) for key in keys]
        seeds = np.array([seed for _, seed in pairs], dtype=np.uint64)
        rows = self.indices[[index for index, _ in pairs]]
        clips = self.packed.clips[rows]
        frames, starts, which, mirrored = self._draw(seeds, clips)
        size = self.pad_to or int(frames.max())
        motion = np.zeros((len(rows), size, self.packed.num_features), dtype=np.float32)
        features = self.packed.features
        for out, start, length in zip(motion, starts.tolist(), frames.tolist(), strict=True):
            out[:length] = features[start : start + length]
        if mirrored.any():
            order, signs = self._mirror
            for row in np.flatnonzero(mirrored).tolist():
                part = motion[row, : frames[row]]
                motion[row, : frames[row]] = part.take(order, axis=1) * signs
        captions = [self.packed.caption(int(row), int(k)) for row, k in zip(rows, which, strict=True)]
        captions = [swap_sides(text) if flip else text for text, flip in zip(captions, mirrored, strict=True)]
        return MotionTextBatch(
            motion=torch.from_numpy(motion),
            lengths=torch.from_numpy(frames),
            captions=captions,
            ids=self.packed.ids(rows),
            seeds=torch.from_numpy(seeds.astype(np.int64)),
        )

    def _draw(self, seeds: NDArray[np.uint64], clips: NDArray[np.void]) -> tuple[NDArray[Any], ...]:
        """Crop lengths, absolute first frames, caption numbers and whether to mirror."""
        whole = clips["frames"].astype(np.int64)
        units = np.minimum(whole // self.unit, self.max_frames // self.unit)
        if not self.augment:
            nothing = np.zeros(len(clips), dtype=np.int64)
            return units * self.unit, clips["start"].astype(np.int64), nothing, nothing.astype(bool)
        shorter = (_uniform(seeds, 0) < 1 / 3) & (units > 1)
        frames = (units - shorter) * self.unit
        starts = clips["start"] + (_uniform(seeds, 1) * (whole - frames + 1)).astype(np.int64)
        which = (_uniform(seeds, 2) * clips["captions"]).astype(np.int64)
        mirrored = (_uniform(seeds, 3) < 0.5) if self.mirror else np.zeros(len(clips), dtype=bool)
        return frames, starts, which, mirrored


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
    )


class SeededBatchSampler(Sampler[list[Key]]):
    """Batches of (index, seed) keys for one of several processes.

    All processes share one order of the epoch; global batch b is its next `batch_size * world_size` entries, and the
    process of rank r takes rows r, r + W, r + 2 W ... of it: together they see what one process with that larger batch
    sees. Seeds depend on the run's seed, the epoch (when shuffling) and the index only.

    Every rank has the same number of batches and no sample is served twice. With `drop_last` an incomplete last global
    batch is left out unless it is the only one; without it the rest is shared out, and a rest of fewer samples than
    processes joins the batch before, which then has one sample more on some ranks.

    Args:
        size: Samples in the dataset.
        batch_size: Samples a batch of one process.
        shuffle: Another order each epoch.
        seed: Of the run.
        rank: This process.
        world_size: Processes W.
        drop_last: See above.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size} must be at least 1.")
        if not 0 <= rank < world_size:
            raise InputError(f"rank={rank} must be from 0 to world_size - 1 = {world_size - 1}.")
        if size < world_size:
            raise InputError(f"{size} samples cannot be shared by {world_size} processes; use fewer devices.")
        self.size, self.shuffle, self.seed = size, shuffle, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = self.start = 0
        step = batch_size * world_size
        bounds = list(range(0, size, step)) + [size]
        if len(bounds) > 2:
            rest = bounds[-1] - bounds[-2]
            if rest < world_size or (drop_last and rest < step):
                bounds.pop(-2 if not drop_last else -1)
        self._bounds = bounds

    @property
    def sampler(self) -> "SeededBatchSampler":
        """Itself: where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next pass draws."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __iter__(self) -> Iterator[list[Key]]:
        """Batches of `epoch` from number `start` on."""
        if self.shuffle:
            generator = torch.Generator().manual_seed(mix_seed(self.seed, self.epoch, "order"))
            order = torch.randperm(self.size, generator=generator).numpy()
        else:
            order = np.arange(self.size)
        epoch = self.epoch if self.shuffle else 0
        for low, high in list(zip(self._bounds, self._bounds[1:], strict=False))[self.start :]:
            share = order[low + self.rank : high : self.world_size].tolist()
            yield [(index, mix_seed(self.seed, epoch, index)) for index in share]
