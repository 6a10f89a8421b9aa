"""Checks of a training command line before anything heavy is imported."""

import os
import pickletools
import re
import zipfile
from collections.abc import Mapping, Sequence
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from realign.commands.sources import check_classes
from realign.configuration import merge, read_config
from realign.errors import InputError, need
from realign.extras import EXTRAS, install
from realign.files import is_exported, missing
from realign.launcher import check_launcher
from realign.spelling import suggestion

OPTIONS = {
    *(
        "c",
        "config",
        "h",
        "help",
        "print_config",
        "seed_everything",
        "trainer",
        "model",
        "data",
        "ckpt_path",
        "verbose",
    ),
    *("weights_only", "return_predictions", "trust_code", "trust-code", "compile", "threads"),
}
_SPECIAL = ("last", "best", "hpc", "registry", "null", "")
_SHARDED = (".metadata", "meta.pt", "latest", "checkpoint")
_PACKAGES = {
    "WandbLogger": "wandb", "MLFlowLogger": "mlflow", "CometLogger": "comet_ml", "NeptuneLogger": "neptune",
}  # fmt: skip


def check_training(args: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """Check options, configurations, checkpoints, loggers and the launcher's variables, without torch.

    Args:
        args: A training command and its options.
        environment: Variables of the process.

    Raises:
        InputError: As said, with the value and the remedy.
    """
    need(*EXTRAS["train"])
    check_launcher(environment)
    pairs = [_split(word, after) for word, after in zip(args, [*args[1:], ""], strict=True) if word.startswith("-")]
    given = [(name, value) for name, value in pairs if " " not in name and not name[:1].isdigit()]  # others are values
    if any(name in ("h", "help") for name, _ in given):
        return
    configs = [read_config(value) for name, value in given if name in ("c", "config") and value]
    names = {name.partition(".")[0].rstrip("+") for name, _ in given}
    for name in sorted(names | {str(key) for config in configs for key in config}):
        if name and name not in OPTIONS:
            remedy = suggestion(name, OPTIONS, "such are config, trainer, model, data and ckpt_path.")
            raise InputError(f"{name!r} is not an option of realign {args[0]}; {remedy}")
    if "print_config" in names:
        return  # which reads no data and needs no model
    whole: dict[str, Any] = reduce(merge, configs, {})
    for part, example in (("model", "realign.tasks.GeneratorTask"), ("data", "realign.data.MotionDataModule")):
        if part not in names and not whole.get(part):
            raise InputError(
                f"realign {args[0]} needs --config FILE with an entry {part}, or --{part} CLASS, such as {example}."
            )
    check_classes(whole, dict(given))
    _check_logger(given, whole.get("trainer"))
    _check_data(given, whole.get("data"))
    checkpoint = [value for name, value in given if name == "ckpt_path"] or [str(whole.get("ckpt_path") or "")]
    if checkpoint[-1] not in _SPECIAL and not re.match(r"[a-z]\w*:", checkpoint[-1]):  # an address, or a registry's
        check_checkpoint(Path(checkpoint[-1]), weights=args[0] != "fit")


def check_checkpoint(path: Path, weights: bool = False) -> None:
    """Refuse a path that training cannot continue from; nothing in it is executed.

    Args:
        path: The path.
        weights: A folder of exported weights serves, too.

    Raises:
        InputError: It is missing, cut short, foreign, or a folder of exported weights that does not serve.
    """
    if path.is_dir():
        if weights and is_exported(path):
            return
        if any((path / name).exists() for name in _SHARDED):  # written by a strategy that splits the weights
            return
        raise InputError(
            f"{path} is a folder, as `realign export` writes, without the state of a training; give the .ckpt that "
            "`realign fit` wrote."
        )
    if not path.exists():
        raise missing("checkpoint", path)
    try:
        with zipfile.ZipFile(path) as archive:
            content = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
            words = set() if content is None else _words(archive.read(content))
    except (zipfile.BadZipFile, ValueError, EOFError, IndexError) as error:
        raise InputError(
            f"{path} is not a checkpoint, or is damaged or cut short; copy it again or take an earlier one."
        ) from error
    if not {"state_dict", "pytorch-lightning_version"} <= words:
        raise InputError(
            f"{path} is not a checkpoint of a training (Python objects in it are never executed); give one that "
            "`realign fit` wrote."
        )


def _split(word: str, after: str) -> tuple[str, str]:
    """Name and value of an option, which may be one word or two."""
    name, sign, value = word.lstrip("-").partition("=")
    return name, value if sign else after


def _check_logger(given: Sequence[tuple[str, str]], trainer: Any) -> None:
    """Refuse a logger whose package is absent; options of the command line override the file."""
    told = [value for name, value in given if name.startswith("trainer.logger")]
    text = " ".join(told) if told else str(trainer.get("logger") if isinstance(trainer, dict) else "")
    for logger, package in _PACKAGES.items():
        if logger in text and find_spec(package) is None:
            raise InputError(
                f"{logger} needs the package {package}, which is not installed; run `{install(package)}`, "
                "or take another, such as --trainer.logger=CSVLogger --trainer.logger.save_dir=runs."
            )


def _check_data(given: Sequence[tuple[str, str]], data: Any) -> None:
    """Refuse a folder that was not prepared, where the command line or the file names one."""
    options = dict(given)
    file: dict[str, Any] = data if isinstance(data, dict) else {}
    kind = options.get("data.class_path") or options.get("data") or file.get("class_path")
    folder = options.get("data.init_args.data") or options.get("data.data") or (file.get("init_args") or {}).get("data")
    if str(kind).rpartition(".")[2] == "MotionDataModule" and isinstance(folder, str):
        from realign.data.store import read_meta
        from realign.files import local_set

        if isinstance(place := local_set(folder), Path):
            read_meta(place)


def _words(pickled: bytes) -> set[str]:
    """All strings in a pickle, which is read but not executed."""
    return {value for _, value, _ in pickletools.genops(pickled) if isinstance(value, str)}
