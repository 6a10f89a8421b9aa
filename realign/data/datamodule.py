"""Loaders of a prepared set for Lightning: the same samples on any number of processes, and after a resumed run."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from realign.data.caption_tables import CaptionTable, caption_tokens, plain_captions
from realign.data.dataset import LONGEST, MotionTextDataset
from realign.data.loading import MotionLoader, ResumableLoader, SeededBatchSampler
from realign.data.store import PackedMotions
from realign.data.text_features import keep_features
from realign.distributed import first_then_others
from realign.errors import InputError, optional_packages
from realign.files import local_set
from realign.motion.skeleton import get_skeleton
from realign.text.table import FeatureTable, TextReader

with optional_packages():
    import lightning.pytorch as pl

USUAL_BATCH = 64


class MotionDataModule(pl.LightningDataModule):
    """Train, validation, test and prediction loaders of a set made by `realign prepare`.

    Training draws a caption, a crop and (with `mirror`) a side at random for each sample. The other loaders are
    deterministic: they take the first caption and the first frames, in the order of the set. With several processes,
    each takes its part of every global batch; the Trainer needs no setting for this.

    Args:
        data: Folder written by `realign prepare`, or ORG/NAME[@REVISION] of a set on the Hub.
        global_batch_size: Samples of one step over all processes: training is the same on any number of processes that
            divides it. Prediction, which does not depend on batches, uses this many samples in each process.
        batch_size: Samples of a batch in one process; a step has this many times the number of processes. If both are
            given, they must agree; 64 if neither is given.
        num_workers: Worker processes of a loader.
        max_frames: Longest crop, a multiple of `unit_length`.
        min_frames: Shortest motion; the skeleton's own limit (40, KIT 24) when None.
        unit_length: Lengths are multiples of this.
        mirror: Mirror half of the training samples; None mirrors unless the set already holds mirrored clips.
        pad_to: Frames to pad every batch to; the longest of the batch when None.
        seed: Seed of order, captions, crops and mirroring.
        group_lengths: Shuffle into batches of similar lengths, which need less padding.
        drop_last: Leave out the incomplete last training batch of an epoch.
        predict_split: Split that `predict` uses.
        whole: Test and predict take every motion once, of any length, from its first frame and cut at `max_frames`.
            The retrieval protocols of TMR test on these clips, and an index holds them.
        exclude_same_first_caption: Contrastive losses do not use two clips with the same first caption as negatives of
            each other. This suits captions written from labels, such as those of mocap. On HumanML3D and KIT it removes
            negatives that published training has; False excludes only identical captions.
    """

    def __init__(
        self,
        data: str,
        batch_size: int | None = None,
        num_workers: int = 0,
        max_frames: int = 196,
        min_frames: int | None = None,
        unit_length: int = 4,
        mirror: bool | None = None,
        pad_to: int | None = None,
        seed: int = 0,
        group_lengths: bool = False,
        drop_last: bool = True,
        predict_split: str = "test",
        whole: bool = False,
        exclude_same_first_caption: bool = True,
        global_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1), ("global_batch_size", global_batch_size, 1), ("num_workers", num_workers, 0),
        ):  # fmt: skip
            if value is not None and value < least:
                raise InputError(f"{name}={value} must be at least {least}.")
        self.save_hyperparameters()
        self.data, self.num_workers = local_set(data), num_workers
        self.batch_size, self.global_batch_size = batch_size, global_batch_size
        self.max_frames, self.min_frames, self.unit_length = max_frames, min_frames, unit_length
        self.mirror, self.pad_to, self.seed = mirror, pad_to, seed
        self.group_lengths, self.drop_last, self.predict_split = group_lengths, drop_last, predict_split
        self.whole, self.exclude_same_first_caption = whole, exclude_same_first_caption
        self._packed: PackedMotions | None = None
        self._text: dict[str, FeatureTable] = {}

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
        """Frames per second."""
        return self.packed.fps

    def caption_tokens(self, split: str = "all") -> CaptionTable:
        """`caption_tokens` of the set."""
        return caption_tokens(self.packed, split)

    def plain_captions(self, split: str = "all") -> CaptionTable:
        """`plain_captions` of the set."""
        return plain_captions(self.packed, split)

    def read_text(self, readers: Sequence[TextReader]) -> dict[str, FeatureTable]:
        """Let batches carry the features of their captions, from files that are written if they do not exist yet.

        Args:
            readers: Encoders, and whether their words are read; encoders whose features are not kept are skipped.

        Returns:
            The features by encoder fingerprint.
        """
        wanted: dict[str, TextReader] = {}
        for encoder, words in readers:
            if encoder.kept is not None:
                name = encoder.fingerprint
                wanted[name] = TextReader(encoder, words or (name in wanted and wanted[name].words))
        device = self.trainer.strategy.root_device if self.trainer is not None else None

        def keep() -> dict[str, FeatureTable | None]:
            return {name: keep_features(self.packed, each, device) for name, each in wanted.items()}

        found = first_then_others(keep) if wanted else {}
        self._text = {name: table for name, table in found.items() if table is not None}
        return self._text

    def dataset(self, split: str, augment: bool = False, whole: bool = False) -> MotionTextDataset:
        """One split, with the crops and captions of training (`augment`) or of evaluation; `whole` as for the class."""
        mirror = not self.packed.meta.get("mirrored_included", False) if self.mirror is None else self.mirror
        least = get_skeleton(self.packed.skeleton).min_frames if self.min_frames is None else self.min_frames
        return MotionTextDataset(
            self.packed,
            split,
            augment=augment,
            mirror=mirror,
            min_frames=self.unit_length if whole else least,
            max_frames=self.max_frames,
            max_motion_frames=None if whole else LONGEST,
            one_per_motion=whole,
            unit_length=self.unit_length,
            pad_to=self.pad_to,
            text=self._text,
        )

    def train_dataloader(self) -> ResumableLoader:
        """Random samples of the train split; checkpoints keep the position in the epoch."""
        dataset = self.dataset("train", augment=True)
        overfit = getattr(self.trainer, "overfit_batches", 0) > 0
        sampler = self._sampler(dataset, shuffle=not overfit, drop_last=self.drop_last)
        return ResumableLoader(dataset, sampler, **self._options())

    def val_dataloader(self) -> MotionLoader:
        """The val split in order."""
        return self._in_order("val")

    def test_dataloader(self) -> MotionLoader:
        """The test split in order."""
        return self._in_order("test", self.whole)

    def predict_dataloader(self) -> MotionLoader:
        """`predict_split` in order."""
        batch = self.batch_size or self.global_batch_size or USUAL_BATCH
        return self._in_order(self.predict_split, self.whole, batch)

    def _in_order(self, split: str, whole: bool = False, batch: int | None = None) -> MotionLoader:
        dataset = self.dataset(split, whole=whole)
        return MotionLoader(dataset, self._sampler(dataset, batch=batch), **self._options())

    def process_batch(self, world_size: int) -> int:
        """Batch size of each process.

        Raises:
            InputError: The processes cannot divide the global batch evenly, or `batch_size` does not agree with it.
        """
        whole, own = self.global_batch_size, self.batch_size
        if whole is None:
            return USUAL_BATCH if own is None else own
        if whole % world_size:
            raise InputError(
                f"global_batch_size={whole} cannot be divided evenly among {world_size} processes; use a number of "
                "processes that divides it, or another --data.global_batch_size."
            )
        if own is not None and own * world_size != whole:
            raise InputError(
                f"batch_size={own} in each of {world_size} processes makes a global batch of {own * world_size}, but "
                f"global_batch_size={whole} is set; give --data.global_batch_size alone."
            )
        return whole // world_size

    def _options(self) -> dict[str, Any]:
        root = self.trainer.strategy.root_device if self.trainer is not None else None
        return {"num_workers": self.num_workers, "pin_memory": root is not None and root.type == "cuda"}

    def _sampler(
        self, dataset: MotionTextDataset, *, shuffle: bool = False, drop_last: bool = False, batch: int | None = None
    ) -> SeededBatchSampler:
        if self.trainer is not None:
            rank, world = self.trainer.global_rank, self.trainer.world_size
        elif torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        else:
            rank, world = 0, 1
        return SeededBatchSampler(
            len(dataset),
            self.process_batch(world) if batch is None else batch,
            shuffle=shuffle,
            lengths=dataset.lengths if self.group_lengths else None,
            seed=self.seed,
            rank=rank,
            world_size=world,
            drop_last=drop_last,
        )
