"""Tasks back from files: Lightning checkpoints and folders of weights. Nothing pickled is ever executed."""

import pickle
import zipfile
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from realign.errors import InputError
from realign.files import atomic_path
from realign.tasks.base import Task

TaskType = TypeVar("TaskType", bound=Task)

WEIGHTS, CONFIG = "model.safetensors", "config.yaml"
_TRAINING_ONLY = ("optimizer", "lr_scheduler")


def load_task(path: str | Path, kind: type[TaskType] = Task) -> TaskType:  # type: ignore[assignment]
    """Rebuild a trained task, in evaluation mode on the CPU; averaged weights where the training kept some.

    Args:
        path: A Lightning checkpoint written by `realign fit`, or a folder written by `save_pretrained`.
        kind: The class of task that is expected.

    Raises:
        InputError: When the file is missing, damaged, foreign, or holds another kind of task.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no checkpoint at {path}; check the path or train one with `realign fit`.")
    config, state = _read_folder(path) if path.is_dir() else _read_checkpoint(path)
    task = _build(config, path, kind)
    try:
        task.load_state_dict(state)
    except RuntimeError as error:
        detail = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise InputError(f"The weights of {path} do not fit its configuration ({detail}); export it again.") from error
    return task.eval()


def save_pretrained(
    task: Task, directory: str | Path, config: dict[str, Any] | None = None, half: bool = False
) -> Path:
    """Write a task as a folder of weights (safetensors) and configuration (YAML), complete or not at all.

    Args:
        task: A trained task.
        directory: The folder; one that exists is replaced.
        config: class_path and init_args of the task; by default what LightningCLI built it from.
        half: Store parameters as float16, for half the size; loading turns them back.

    Returns:
        The folder.

    Raises:
        InputError: When no configuration is known.
    """
    config = _config(dict(task.hparams), "this task") if config is None else config
    parameters = {name for name, _ in task.named_parameters()}
    state = {
        name: value.detach().cpu().to(torch.float16 if half and name in parameters else value.dtype).contiguous()
        for name, value in task.state_dict().items()
    }
    with atomic_path(directory) as folder:
        folder.mkdir()
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
        (folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return Path(directory)


def _config(options: dict[str, Any], name: str) -> dict[str, Any]:
    """class_path and init_args from the hyperparameters that LightningCLI leaves, without the optimiser."""
    class_path = options.pop("_class_path", None)
    options.pop("_instantiator", None)
    if class_path is None:
        raise InputError(
            f"{name} does not say how it was built; train through `realign fit`, or build it with realign.cli.build."
        )
    kept = {key: value for key, value in options.items() if key not in _TRAINING_ONLY}
    return {"class_path": class_path, "init_args": kept}


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is no checkpoint of this project, or holds Python objects, which are never executed; "
            "give one written by `realign fit`."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is damaged or cut short; copy it again or take an earlier checkpoint.") from error
    if not isinstance(content, dict) or not {"state_dict", "hyper_parameters"} <= content.keys():
        raise InputError(f"{path} is no checkpoint of a task; give one written by `realign fit`.")
    # With EMAWeightAveraging, Lightning keeps the averaged weights here and the raw ones in current_model_state.
    return _config(dict(content["hyper_parameters"]), str(path)), content["state_dict"]


def _read_folder(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise InputError(f"The folder {path} has no {name}; give a folder of exported weights or a .ckpt file.")
    try:
        config = yaml.safe_load((path / CONFIG).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path / CONFIG} is not readable YAML; export the weights again.") from error
    if not isinstance(config, dict) or "class_path" not in config:
        raise InputError(f"{path / CONFIG} names no class_path; export the weights again.")
    try:
        return config, load_file(path / WEIGHTS)
    except SafetensorError as error:
        raise InputError(f"{path / WEIGHTS} is damaged or cut short; copy it again.") from error


def _build(config: dict[str, Any], path: Path, kind: type[TaskType]) -> TaskType:
    """Instantiate the configuration; jsonargparse checks every class against the annotation it stands for."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Task, "task", required=True)
    try:
        parsed = parser.parse_object({"task": config})
    except (ArgumentError, TypeError, ValueError, ImportError) as error:
        detail = " ".join(str(error).split())[:300]
        raise InputError(f"{path} asks for parts that this version cannot build: {detail}") from error
    found = _class(parsed.task.class_path)
    if not issubclass(found, kind):
        raise InputError(f"{path} holds a {found.__name__}, but a {kind.__name__} is needed; give one of that kind.")
    task = parser.instantiate_classes(parsed).task
    task.hparams.update({"_class_path": config["class_path"], **config.get("init_args", {})})
    return task


def _class(class_path: str) -> type:
    module, _, name = class_path.rpartition(".")
    return getattr(__import__(module, fromlist=[name]), name)
