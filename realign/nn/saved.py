"""Weights beside the configuration that rebuilds what they belong to: Lightning checkpoints, and exported folders.

Nothing pickled is ever executed.
"""

import pickle
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from realign.errors import InputError
from realign.files import model_path

ModuleType = TypeVar("ModuleType", bound=nn.Module)

WEIGHTS, CONFIG = "model.safetensors", "config.yaml"
GUIDANCE = "guidance.yaml"  # beside a generator's weights
_TRAINING_ONLY = ("optimizer", "lr_scheduler")


class Saved(NamedTuple):
    """What a file holds.

    Attributes:
        path: Where it lies.
        config: class_path and init_args of the task that was trained.
        state: Its weights; averaged ones where the training kept some.
    """

    path: Path
    config: dict[str, Any]
    state: dict[str, Tensor]


def read_saved(path: str | Path) -> Saved:
    """Read a checkpoint written by `realign fit`, a folder written by `save_pretrained`, or shipped weights by name.

    Raises:
        InputError: When it is missing, damaged or foreign.
    """
    path = model_path(path)
    if not path.exists():
        raise InputError(f"There is no checkpoint at {path}; check the path or train one with `realign fit`.")
    return Saved(path, *(_read_folder(path) if path.is_dir() else _read_checkpoint(path)))


def rebuild(saved: Saved, base: type[nn.Module], kind: type[ModuleType]) -> ModuleType:
    """Instantiate a configuration; jsonargparse checks every class against the annotation it stands for.

    Args:
        saved: What was read.
        base: A base of all the classes that the configuration may name.
        kind: The class, or a base of it, that is wanted.

    Raises:
        InputError: It names another kind, or parts or options that are unknown.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(base, "module", required=True)
    try:
        parsed = parser.parse_object({"module": saved.config})
    except (ArgumentError, TypeError, ValueError, ImportError) as error:
        detail = " ".join(str(error).split())[:300]
        raise InputError(f"{saved.path} asks for parts that this version cannot build: {detail}") from error
    found = _class(parsed.module.class_path)
    if not issubclass(found, kind):
        raise InputError(
            f"{saved.path} holds a {found.__name__}, but a {kind.__name__} is needed; give one of that kind."
        )
    return parser.instantiate_classes(parsed).module


def fill(module: nn.Module, saved: Saved) -> None:
    """Load the weights that were read.

    Raises:
        InputError: They are not those of the module.
    """
    try:
        module.load_state_dict(saved.state)
    except RuntimeError as error:
        detail = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise InputError(
            f"The weights of {saved.path} do not fit its configuration ({detail}); export it again."
        ) from error


def class_and_options(options: dict[str, Any], name: str) -> dict[str, Any]:
    """class_path and init_args from the hyperparameters that LightningCLI leaves, without the optimiser.

    Args:
        options: The hyperparameters.
        name: What the error calls their owner.

    Raises:
        InputError: They do not say which class they are of.
    """
    class_path = options.get("_class_path")
    if class_path is None:
        raise InputError(
            f"{name} does not say how it was built; train through `realign fit`, or build it with realign.cli.build."
        )
    left_out = ("_class_path", "_instantiator", *_TRAINING_ONLY)
    return {"class_path": class_path, "init_args": {key: options[key] for key in options if key not in left_out}}


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is no checkpoint of this project, or holds Python objects, which are never executed; "
            "give one written by `realign fit`."
        ) from error
    except OSError:
        raise
    except Exception as error:  # what is no checkpoint is read as if it were one, and fails in any way
        raise InputError(
            f"{path} is no checkpoint, or damaged or cut short; copy it again or take an earlier one."
        ) from error
    if not isinstance(content, dict) or not {"state_dict", "hyper_parameters"} <= content.keys():
        raise InputError(f"{path} is no checkpoint of a task; give one written by `realign fit`.")
    # With EMAWeightAveraging, Lightning keeps the averaged weights here and the raw ones in current_model_state.
    return class_and_options(content["hyper_parameters"], str(path)), content["state_dict"]


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


def _class(class_path: str) -> type:
    module, _, name = class_path.rpartition(".")
    return getattr(__import__(module, fromlist=[name]), name)
