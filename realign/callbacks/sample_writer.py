from typing import Any

from lightning import Callback, LightningModule, Trainer

from realign.batch import MotionTextBatch
from realign.callbacks.gallery import is_due, log_folder, show
from realign.errors import InputError
from realign.render.save import check_suffix
from realign.tasks.base import Task


class SampleWriter(Callback):
    """Renders the task's preview of the first validation batch: files in ``log_dir/samples``, and in loggers.

    `Task.preview` gives the motions: recorded ones beside their reconstructions, or beside generated ones of the same
    captions. Only rank 0 renders.

    Args:
        clips: Motions of the batch to show.
        every_n_epochs: Render after every so many training epochs.
        suffix: Format of the files, as `save_motions` knows them.

    Raises:
        InputError: A number below 1, or an unknown format.
    """

    def __init__(self, clips: int = 2, every_n_epochs: int = 1, suffix: str = ".gif") -> None:
        for name, value in (("clips", clips), ("every_n_epochs", every_n_epochs)):
            if value < 1:
                raise InputError(f"{name}={value} must be at least 1.")
        check_suffix(f"motions{suffix}")
        self.clips = clips
        self.every_n_epochs = every_n_epochs
        self.suffix = suffix

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: MotionTextBatch, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Render at the first batch of a due epoch."""
        first = batch_idx == 0 and dataloader_idx == 0
        if not first or not is_due(trainer, self.every_n_epochs) or not isinstance(pl_module, Task):
            return
        folder = log_folder(trainer) / "samples"
        if trainer.is_global_zero:
            show(trainer, folder, "val/sample", pl_module.preview(batch[: self.clips]), self.suffix)
