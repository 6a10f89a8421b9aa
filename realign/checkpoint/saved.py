"""Weights and configurations in files: Lightning checkpoints and exported folders."""

from pathlib import Path
from typing import Any, NamedTuple

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from realign.checkpoint.tensors import read_tensors
from realign.errors import InputError
from realign.file_names import CONFIG, GUIDANCE, SUMS, WEIGHTS
from realign.files import missing_model, model_path, read_lines, resolve_model, sha256_file
from realign.weight_names import with_current_names

_TRAINING_ONLY = ("optimizer", "lr_scheduler")
_OF_LIGHTNING = ("_class_path", "_instantiator")


class Saved(NamedTuple):
    """The content of a file.

    Attributes:
        path: Where it lies.
        config: class_path and init_args of the trained task, without options of training.
        state: Its weights; averaged ones where the training kept some.
        trust_code: Whether the configuration may name any class.
    """

    path: Path
    config: dict[str, Any]
    state: dict[str, Tensor]
    trust_code: bool = False


def read_saved(path: str | Path, trust_code: bool = False) -> Saved:
    """Read a checkpoint written by `realign fit`, a folder written by `save_pretrained`, or weights by name.

    Args:
        path: The file or the folder, a shipped name, or ORG/NAME of a repository on the Hub.
        trust_code: Let the configuration name classes outside this package, whose code then runs.

    Raises:
        InputError: When it is missing, damaged or foreign.
    """
    path = resolve_model(path)
    if not path.exists():
        raise missing_model(path)
    return Saved(path, *(_read_folder(path) if path.is_dir() else _read_checkpoint(path)), trust_code)


def saved_skeleton(path: str | Path) -> str | None:
    """The skeleton that a folder of weights, or a shipped name, says its motions have; nothing else is read.

    Args:
        path: As for `read_saved`; a repository on the Hub is not downloaded.

    Returns:
        Its name; None where only loading tells it, or fails.
    """
    try:
        config = read_yaml(model_path(path) / CONFIG)
    except (OSError, ValueError):
        return None
    own, options = str(config.get("class_path")).startswith("realign."), config.get("init_args")
    skeleton = options.get("skeleton") if own and isinstance(options, dict) else None
    return skeleton if isinstance(skeleton, str) else None


def fill(module: nn.Module, saved: Saved) -> None:
    """Load the weights that were read.

    Raises:
        InputError: They do not fit the module.
    """
    try:
        module.load_state_dict(with_current_names(saved.state, module))
    except RuntimeError as error:
        detail = "; ".join(line.strip()[:150] for line in str(error).splitlines()[1:3])
        raise InputError(
            f"The weights of {saved.path} do not fit its configuration ({detail}); export it again."
        ) from error


def class_and_options(options: dict[str, Any], name: str) -> dict[str, Any]:
    """class_path and init_args from the hyperparameters of LightningCLI, without options of training.

    Args:
        options: The hyperparameters.
        name: Their owner in errors.

    Raises:
        InputError: They do not name their class.
    """
    class_path = options.get("_class_path")
    if class_path is None:
        raise InputError(
            f"{name} does not say how it was built; train through `realign fit`, or build it with realign.cli.build."
        )
    return {"class_path": class_path, "init_args": _without(options, (*_OF_LIGHTNING, *_TRAINING_ONLY))}


def _without(options: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in names}


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    content = read_tensors(path, "checkpoint of this project", "give one written by `realign fit`")
    if not isinstance(content, dict) or not {"state_dict", "hyper_parameters"} <= content.keys():
        raise InputError(f"{path} is not a checkpoint of a task; give one written by `realign fit`.")
    options, state = content["hyper_parameters"], content["state_dict"]
    if not isinstance(options, dict) or not isinstance(state, dict):
        raise InputError(f"{path} is not a checkpoint of a task; give one written by `realign fit`.")
    # With EMAWeightAveraging, Lightning keeps the averaged weights here and the raw ones in current_model_state.
    return class_and_options(options, str(path)), state


def _read_folder(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise InputError(f"The folder {path} has no {name}; give a folder of exported weights or a .ckpt file.")
    _check_sums(path)
    try:
        config = read_yaml(path / CONFIG)
    except ValueError as error:
        raise InputError(f"{path / CONFIG} {error}; export the weights again.") from error
    options = config.get("init_args") or {}
    if "class_path" not in config or not isinstance(options, dict):
        raise InputError(f"{path / CONFIG} names no class_path with init_args; export the weights again.")
    try:
        state = load_file(path / WEIGHTS)
    except SafetensorError as error:
        raise InputError(f"{path / WEIGHTS} is damaged or cut short; copy it again.") from error
    return config | {"init_args": _without(options, _TRAINING_ONLY)}, state


def _check_sums(folder: Path) -> None:
    """Compare weights, configuration and guidance with their checksums, in a folder that has some."""
    if not (folder / SUMS).is_file():
        return
    lines = [line.split(maxsplit=1) for line in read_lines(folder / SUMS)]
    given = {line[1].lstrip("*"): line[0] for line in lines if len(line) == 2}
    guidance = [GUIDANCE] if GUIDANCE in given and (folder / GUIDANCE).is_file() else []
    for name in (CONFIG, WEIGHTS, *guidance):
        if given.get(name) != sha256_file(folder / name):
            own = ", or delete its line there if you changed it" if name == GUIDANCE else ""
            raise InputError(
                f"{folder / name} is damaged, as its checksum is not that of {SUMS}; download it again{own}."
            )


def read_yaml(path: Path) -> dict[str, Any]:
    """Names with plain values from a YAML file; tags that ask for objects are refused.

    Raises:
        ValueError: It is something else; the message says what.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of dates without meaning: ValueError
        raise ValueError("is not readable YAML") from error
    if not isinstance(content, dict):
        raise ValueError("holds no names with values")
    return content
