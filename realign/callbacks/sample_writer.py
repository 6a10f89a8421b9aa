from pathlib import Path
from typing import Any

import numpy as np
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from realign.batch import MotionTextBatch
from realign.motion.render import save_motions
from realign.tasks.base import Task


class SampleWriter(Callback):
    """Render what the task makes of the first validation batch: files in ``log_dir/samples``, a strip in TensorBoard.

    The task decides what there is to see (`Task.preview`): a reconstruction beside its original, or a generated motion
    beside the recorded one of the same caption. Only rank 0 renders.

    Args:
        clips: Motions of the batch to show.
        every_n_epochs: Render after every so many training epochs.
        suffix: Format of the files, as `save_motions` knows them.
    """

    def __init__(self, clips: int = 2, every_n_epochs: int = 1, suffix: str = ".gif") -> None:
        self.clips = clips
        self.every_n_epochs = every_n_epochs
        self.suffix = suffix

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: MotionTextBatch, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Render at the first batch of a due epoch; the sanity check before training is passed over."""
        due = batch_idx == 0 and dataloader_idx == 0 and trainer.current_epoch % self.every_n_epochs == 0
        if not due or trainer.sanity_checking or not trainer.is_global_zero or not isinstance(pl_module, Task):
            return
        shown = pl_module.preview(batch[: self.clips])
        folder = Path(trainer.log_dir or trainer.default_root_dir) / "samples"
        save_motions(folder / f"step={trainer.global_step:07d}{self.suffix}", shown)
        strip = save_motions(folder / f"step={trainer.global_step:07d}.png", shown)[0]
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                picture = np.asarray(_open(strip))
                logger.experiment.add_image("val/sample", picture, trainer.global_step, dataformats="HWC")


def _open(path: Path) -> Any:
    from PIL import Image

    return Image.open(path).convert("RGB")
