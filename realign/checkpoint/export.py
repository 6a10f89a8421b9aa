"""Folders of exported weights."""

import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from realign.checkpoint.saved import class_and_options
from realign.errors import InputError
from realign.file_names import CARD, CONFIG, GUIDANCE, SUMS, WEIGHTS
from realign.files import atomic_path


def save_pretrained(
    task: nn.Module, directory: str | Path, config: dict[str, Any] | None = None, half: bool = False
) -> Path:
    """Write a task as a folder of weights (safetensors) and configuration (YAML), complete or not at all.

    Args:
        task: A trained task.
        directory: The folder. A folder of weights is replaced, but its guidance is kept.
        config: class_path and init_args of the task; by default what LightningCLI built it from.
        half: Store parameters as float16, for half the size; loading turns them back.

    Returns:
        The folder.

    Raises:
        InputError: When no configuration is known, or the folder holds anything else.
    """
    directory = Path(directory)
    _check_replaceable(directory)
    options: Any = getattr(task, "hparams", {})
    config = class_and_options(dict(options), "this task") if config is None else config
    parameters = {name for name, _ in task.named_parameters()}
    state = {
        name: value.detach().cpu().to(torch.float16 if half and name in parameters else value.dtype).contiguous()
        for name, value in task.state_dict().items()
    }
    with atomic_path(directory) as folder:
        folder.mkdir()
        (folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
        shutil.copymode(folder / CONFIG, folder / WEIGHTS)  # safetensors lets nobody else read
        if (directory / GUIDANCE).is_file():
            shutil.copy2(directory / GUIDANCE, folder / GUIDANCE)
    return directory


def _check_replaceable(directory: Path) -> None:
    """Refuse a folder that holds something else than weights."""
    if directory.is_dir():
        others = sorted({path.name for path in directory.iterdir()} - {CARD, CONFIG, GUIDANCE, SUMS, WEIGHTS})
        if others:
            raise InputError(f"{directory} holds more than weights, such as {others[0]}; choose another folder.")
    elif directory.exists():
        raise InputError(f"{directory} is a file; choose a folder for the weights.")
