"""From a trained model and a prepared set to an index, on one device or many."""

import os
import warnings
from pathlib import Path

import torch
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException

from realign.callbacks.index_builder import IndexBuilder
from realign.data.datamodule import MotionDataModule
from realign.errors import InputError
from realign.tasks.reward import RewardTask


def build_index(
    task: RewardTask,
    data: str | Path,
    folder: str | Path,
    *,
    split: str = "train",
    factory: str | None = None,
    with_motions: bool = False,
    with_captions: bool = True,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    devices: int = 1,
    strategy: str | None = None,
    progress: bool = False,
) -> bool:
    """Embed the clean motions of a split with `predict` and write them as an index, with all their captions.

    Args:
        task: A trained reward model or retriever.
        data: Folder written by `realign prepare`.
        folder: The index's folder; an index that is there is replaced.
        split: train, val, test or all.
        factory: A FAISS factory string; chosen by the number of motions when None.
        with_motions: Keep the motions in the index too, so that hits can be drawn without the prepared set.
        with_captions: Index the captions, too.
        batch_size: Motions a batch of one process.
        device: A torch device; its kind alone where there are several.
        devices: Devices, each with a process of its own.
        strategy: Lightning's; ddp for several devices when None.
        progress: Show a progress bar.

    Returns:
        Whether this process is the one that wrote.

    Raises:
        InputError: Data of another skeleton, an unknown split, too few devices, or as `IndexBuilder`.
    """
    device = torch.device(device)
    if devices < 1 or (devices > 1 and device.index is not None):
        raise InputError(f"{devices} devices cannot be taken from {device}; name a kind of device and at least 1.")
    most = {"cpu": os.cpu_count() or 1, "cuda": torch.cuda.device_count()}.get(device.type, 1)
    if devices > most:
        raise InputError(f"{devices} devices of the kind {device.type} are more than the {most} here; ask for fewer.")
    module = MotionDataModule(str(data), batch_size=batch_size, predict_split=split, whole=True)
    if module.skeleton != task.skeleton:
        raise InputError(f"{data} shows the skeleton {module.skeleton!r}, but the model knows {task.skeleton!r}.")
    # a split that is unknown or too small must not cost the start of processes
    motions = len(module.dataset(split, whole=True))
    if motions < devices:
        raise InputError(f"{motions} motions cannot be shared by {devices} devices; use fewer.")
    builder = IndexBuilder(str(folder), factory, with_motions, with_captions)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")  # hints about loaders that deal the shares themselves
            trainer = Trainer(
                accelerator="gpu" if device.type == "cuda" else device.type,
                devices=devices if device.index is None else [device.index],
                strategy=strategy or ("ddp" if devices > 1 else "auto"),
                callbacks=[builder],
                logger=False,
                enable_checkpointing=False,
                enable_model_summary=False,
                enable_progress_bar=progress,
            )
            trainer.predict(task, datamodule=module, return_predictions=False)
    except MisconfigurationException as error:
        raise InputError(f"{devices} devices of the kind {device.type} cannot be used here ({error}).") from error
    return trainer.is_global_zero
