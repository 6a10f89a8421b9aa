"""Loaders of a prepared set for Lightning: the same samples on one process or many, and after a kill as without one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from realign.batch import MotionTextBatch
from realign.data.dataset import MotionTextDataset, SeededBatchSampler, collate
from realign.data.packed import PackedMotions
from realign.errors import InputError
from realign.motion.skeleton import get_skeleton


class MotionLoader:
    """Batches of a dataset, the work being done by a `DataLoader` inside.

    It is no DataLoader itself, so that Lightning leaves its sampler alone: the shares of the processes are dealt here.
    Lightning sets the epoch through `batch_sampler`.

    Args:
        dataset: Where batches come from.
        sampler: Which keys make each batch.
        num_workers: Processes that prepare batches; 0 for none.
        pin_memory: Copy batches into page-locked memory.
    """

    def __init__(
        self, dataset: MotionTextDataset, sampler: SeededBatchSampler, num_workers: int = 0, pin_memory: bool = False
    ) -> None:
        self.motions, self.batch_sampler = dataset, sampler
        self._options: dict[str, Any] = {"num_workers": num_workers, "pin_memory": pin_memory}
        self._loader: DataLoader[MotionTextBatch] | None = None

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[MotionTextBatch]:
        self.batch_sampler.start = 0
        yield from self._batches()

    def _batches(self) -> Iterator[MotionTextBatch]:
        if self._loader is None:
            self._loader = DataLoader(
                self.motions,
                batch_sampler=self.batch_sampler,
                collate_fn=collate,
                generator=torch.Generator(),  # its own: a pass must not advance the global one, which dropout uses
                persistent_workers=self._options["num_workers"] > 0,
                **self._options,
            )
        yield from self._loader


class ResumableLoader(MotionLoader):
    """A loader whose place in the epoch is part of the checkpoint: a resumed run goes on with the next batch.

    The place counts the batches handed out, not those that workers have prepared ahead.
    """

    _resume: tuple[int, int] | None = None
    _place: tuple[int, int] = (0, 0)

    def __iter__(self) -> Iterator[MotionTextBatch]:
        # A generator: nothing below runs before the first batch is asked for, when Lightning has set the epoch.
        resume, self._resume = self._resume, None
        keys = self.batch_sampler
        epoch = keys.epoch
        keys.start = resume[1] if resume is not None and resume[0] == epoch else 0
        self._place = (epoch, keys.start)
        for batch in self._batches():
            self._place = (epoch, self._place[1] + 1)
            yield batch
        self._place = (epoch + 1, 0)
        keys.epoch = epoch + 1

    def state_dict(self) -> dict[str, int]:
        """The epoch and the number of its batches that were handed out."""
        epoch, batch = self._resume or self._place
        return {"epoch": epoch, "batch": batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a place that `state_dict` gave."""
        epoch, batch = state["epoch"], state["batch"]
        if batch >= len(self):
            epoch, batch = epoch + 1, 0
        self.batch_sampler.epoch = epoch
        self._resume = (epoch, batch)


class MotionDataModule(pl.LightningDataModule):
    """Train, validation, test and prediction loaders of a set made by `realign prepare`.

    Training draws a caption, a crop and (with `mirror`) a side at random for each sample; the other loaders are
    deterministic: first caption, from the first frame, in the order of the set. With several processes each takes its
    share of every global batch of `batch_size` times their number; no setting of the Trainer is needed.

    Args:
        data: Folder written by `realign prepare`.
        batch_size: Samples a batch of one process.
        num_workers: Worker processes a loader.
        max_frames: Longest crop, a multiple of `unit_length`.
        min_frames: Shortest motion; the skeleton's own limit (40, KIT 24) when None.
        unit_length: Lengths are multiples of this.
        mirror: Mirror half of the training samples; None: unless the set already holds mirrored doubles.
        pad_to: Frames to pad every batch to; the longest of the batch when None.
        seed: Of order, captions, crops and mirroring.
        drop_last: Leave out the incomplete last training batch of an epoch.
        predict_split: Split that `predict` goes through.
    """

    def __init__(
        self,
        data: str,
        batch_size: int = 64,
        num_workers: int = 0,
        max_frames: int = 196,
        min_frames: int | None = None,
        unit_length: int = 4,
        mirror: bool | None = None,
        pad_to: int | None = None,
        seed: int = 0,
        drop_last: bool = True,
        predict_split: str = "test",
    ) -> None:
        super().__init__()
        if batch_size < 1 or num_workers < 0:
            raise InputError(f"batch_size={batch_size} must be at least 1 and num_workers={num_workers} at least 0.")
        self.save_hyperparameters()
        self.data, self.batch_size, self.num_workers = Path(data), batch_size, num_workers
        self.max_frames, self.min_frames, self.unit_length = max_frames, min_frames, unit_length
        self.mirror, self.pad_to, self.seed = mirror, pad_to, seed
        self.drop_last, self.predict_split = drop_last, predict_split
        self._packed: PackedMotions | None = None

    @property
    def packed(self) -> PackedMotions:
        """The prepared set, opened at first use."""
        if self._packed is None:
            self._packed = PackedMotions.open(self.data)
        return self._packed

    @property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (C,) of the train split's features."""
        return torch.from_numpy(self.packed.mean.copy()), torch.from_numpy(self.packed.std.copy())

    @property
    def skeleton(self) -> str:
        """Name of the skeleton."""
        return self.packed.skeleton

    @property
    def num_features(self) -> int:
        """Width C of the features."""
        return self.packed.num_features

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.packed.fps

    def dataset(self, split: str, augment: bool = False) -> MotionTextDataset:
        """One split, with the crops and captions of training (`augment`) or of evaluation."""
        mirror = not self.packed.meta.get("mirrored_included", False) if self.mirror is None else self.mirror
        least = get_skeleton(self.packed.skeleton).min_frames if self.min_frames is None else self.min_frames
        return MotionTextDataset(
            self.packed,
            split,
            augment=augment,
            mirror=mirror,
            min_frames=least,
            max_frames=self.max_frames,
            unit_length=self.unit_length,
            pad_to=self.pad_to,
        )

    def train_dataloader(self) -> ResumableLoader:
        """Random samples of the train split; its place is kept in checkpoints."""
        dataset = self.dataset("train", augment=True)
        shuffle = self.trainer is None or not self.trainer.overfit_batches  # overfitting wants the same batches again
        sampler = self._sampler(dataset, shuffle=shuffle, drop_last=self.drop_last)
        return ResumableLoader(dataset, sampler, **self._options())

    def val_dataloader(self) -> MotionLoader:
        """The val split in order."""
        return self._in_order("val")

    def test_dataloader(self) -> MotionLoader:
        """The test split in order."""
        return self._in_order("test")

    def predict_dataloader(self) -> MotionLoader:
        """`predict_split` in order."""
        return self._in_order(self.predict_split)

    def _in_order(self, split: str) -> MotionLoader:
        dataset = self.dataset(split)
        return MotionLoader(dataset, self._sampler(dataset), **self._options())

    def _options(self) -> dict[str, Any]:
        root = self.trainer.strategy.root_device if self.trainer is not None else None
        return {"num_workers": self.num_workers, "pin_memory": root is not None and root.type == "cuda"}

    def _sampler(
        self, dataset: MotionTextDataset, *, shuffle: bool = False, drop_last: bool = False
    ) -> SeededBatchSampler:
        if self.trainer is not None:
            rank, world = self.trainer.global_rank, self.trainer.world_size
        elif torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        else:
            rank, world = 0, 1
        return SeededBatchSampler(
            len(dataset),
            self.batch_size,
            shuffle=shuffle,
            seed=self.seed,
            rank=rank,
            world_size=world,
            drop_last=drop_last,
        )
