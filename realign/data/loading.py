"""Assignment of samples to batches and processes, and the position where a resumed run continues."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from realign.batch import MotionTextBatch
from realign.data.dataset import Key, MotionTextDataset, collate
from realign.errors import InputError
from realign.seeding import mix_seed


class SeededBatchSampler(Sampler[list[Key]]):
    """Batches of (index, seed) keys for one of several processes.

    All processes share one order of the epoch. A global batch is the next `batch_size * world_size` entries of it, and
    the process of rank r takes rows r, r + W, r + 2 W ... of each: together they see the batches of one process with
    that larger batch size. Seeds depend only on the run's seed, the epoch (when shuffling) and the index.

    Every rank has the same number of batches. Each sample comes at most once in an epoch and at least once in any two.
    With `drop_last`, the samples that do not fill a global batch are left out. When shuffling, each epoch leaves out
    the next part of one random order of all samples, so that the next epoch uses what this one left out. Fewer samples
    than one global batch become the only batch. Without `drop_last` the incomplete batch is used too; if it has fewer
    samples than processes, they join the batch before, which then has one sample more on some ranks.

    Args:
        size: Samples in the dataset.
        batch_size: Samples of a batch in one process.
        shuffle: Use another order in each epoch.
        seed: Seed of the run.
        rank: Rank of this process.
        world_size: Number of processes W.
        drop_last: See above.
        lengths: Lengths of the samples, to shuffle into batches of similar lengths, which need little padding. In each
            group of `GROUP` successive global batches of the random order, the samples are sorted by length and moved
            at random by up to half a batch (otherwise the batches of a short epoch would always be the same). Then the
            epoch's batches are shuffled. None ignores lengths.
    """

    GROUP = 12

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        shuffle: bool = False,
        lengths: NDArray[np.integer] | None = None,
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
        self.size, self.shuffle, self.lengths, self.seed = size, shuffle, lengths, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = self.start = 0
        self.global_batch = step = batch_size * world_size
        bounds = list(range(0, size, step)) + [size]
        if len(bounds) > 2:
            rest = bounds[-1] - bounds[-2]
            if rest < world_size or (drop_last and rest < step):
                bounds.pop(-2 if not drop_last else -1)
        self._bounds = bounds

    @property
    def sampler(self) -> "SeededBatchSampler":
        """Itself: Lightning looks here for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __iter__(self) -> Iterator[list[Key]]:
        """Batches of `epoch`, beginning with number `start`."""
        epoch = self.epoch if self.shuffle else 0
        batches = self._shuffled(epoch) if self.shuffle else self._split(np.arange(self.size))
        for batch in batches[self.start :]:
            yield [(index, mix_seed(self.seed, epoch, index)) for index in batch[self.rank :: self.world_size].tolist()]

    def _split(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """The global batches of an order."""
        return [order[low:high] for low, high in zip(self._bounds, self._bounds[1:], strict=False)]

    def _shuffled(self, epoch: int) -> list[NDArray[np.int64]]:
        """The global batches of an epoch, the same on every process."""
        generator = torch.Generator().manual_seed(mix_seed(self.seed, epoch, "order"))
        kept = self._kept(epoch)
        order = kept[torch.randperm(len(kept), generator=generator).numpy()]
        if self.lengths is None:
            return self._split(order)
        step = self._bounds[1]
        for start in range(0, len(order), self.GROUP * step):
            part = order[start : start + self.GROUP * step]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            moved = np.arange(len(part)) + step * torch.rand(len(part), generator=generator).numpy()
            order[start : start + len(part)] = part[np.argsort(moved, kind="stable")]
        batches = self._split(order)
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

    def _kept(self, epoch: int) -> NDArray[np.int64]:
        """The samples of an epoch: all but as many of a random order as do not fill a batch."""
        spare = self.size - self._bounds[-1]
        order = torch.randperm(self.size, generator=torch.Generator().manual_seed(mix_seed(self.seed, "left out")))
        taken = np.ones(self.size, dtype=bool)
        taken[order.numpy()[(epoch * spare + np.arange(spare)) % self.size]] = False
        return np.flatnonzero(taken)


class MotionLoader:
    """Batches of a dataset, loaded by a `DataLoader` inside.

    It is not a DataLoader itself, so that Lightning does not replace its sampler, which already splits batches over
    processes. Lightning sets the epoch through `batch_sampler`.

    Args:
        dataset: The dataset.
        sampler: The keys of each batch.
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
                generator=torch.Generator(),  # a pass must not advance the global generator, which dropout uses
                persistent_workers=self._options["num_workers"] > 0,
                **self._options,
            )
        yield from self._loader


class ResumableLoader(MotionLoader):
    """A loader whose position in the epoch is part of the checkpoint: a resumed run continues with the next batch.

    The position counts the batches returned, not those that workers have prepared ahead.
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
        """The epoch, the number of batches returned in it, and the samples of a batch of all processes."""
        epoch, batch = self._resume or self._place
        return {"epoch": epoch, "batch": batch, "global_batch": self.batch_sampler.global_batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a position that `state_dict` returned.

        Raises:
            InputError: Its batches had another size, so that the same number stands for another place.
        """
        own = self.batch_sampler.global_batch
        saved = state.get("global_batch", own)  # older checkpoints do not say
        if saved != own:
            raise InputError(
                f"The run was trained with a global batch of {saved}, but {own} is set; continue with "
                f"--data.global_batch_size {saved}."
            )
        epoch, batch = state["epoch"], state["batch"]
        if batch >= len(self):
            epoch, batch = epoch + 1, 0
        self.batch_sampler.epoch = epoch
        self._resume = (epoch, batch)
