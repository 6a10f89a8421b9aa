"""Published checkpoints as folders of weights that every command reads."""

import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from realign.checkpoint.export import save_pretrained
from realign.checkpoint.load import build_model
from realign.checkpoint.official import KINDS
from realign.checkpoint.official.imported import Imported
from realign.checkpoint.saved import Saved
from realign.errors import InputError


def import_official(kind: str, file: str | Path, output: str | Path, **options: Any) -> str:
    """Write a published checkpoint as a folder of weights and configuration. Nothing pickled is executed.

    Args:
        kind: One of `KINDS`.
        file: The published file, or the folder of several files.
        output: The folder to write.
        options: Options of the importer; None counts as not given.

    Returns:
        A short description.

    Raises:
        InputError: The kind or an option is unknown, or the file is missing, damaged, or of another kind.
    """
    found = read_official(kind, file, **options)
    save_pretrained(build(found), output, found.config)
    return found.summary


def read_official(kind: str, file: str | Path, **options: Any) -> Imported:
    """The content of a published checkpoint under the names of this package; arguments as for `import_official`."""
    if kind not in KINDS:
        raise InputError(f"There is no importer for {kind!r}; choose one of {', '.join(KINDS)}.")
    read = import_module(f"realign.checkpoint.official.{kind}").read
    taken = [name for name in inspect.signature(read).parameters if name != "file"]
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in taken:
            known = " ".join(f"--{each.replace('_', '-')}" for each in taken) or "no options"
            raise InputError(f"Importing {kind} does not take --{name.replace('_', '-')}, but {known}; leave it out.")
    return read(Path(file), **given)


def build(found: Imported) -> nn.Module:
    """The model with its weights, loaded strictly, without its text encoder, whose files may be missing.

    Raises:
        InputError: A weight is missing, surplus, or of another shape.
    """
    config = found.config if found.text_dim is None else _without_text(found.config, found.text_dim)
    model = build_model(Saved(found.published.path, config, found.state), nn.Module, filled=False)
    wanted = model.state_dict()
    misshapen = [name for name, value in found.state.items() if name in wanted and value.shape != wanted[name].shape]
    lacking, surplus = ([name for name in one if name not in other] for one, other in
                        ((wanted, found.state), (found.state, wanted)))  # fmt: skip
    if lacking or surplus or misshapen or found.surplus:
        lacking, surplus, misshapen = (list(map(found.keys.published, each)) for each in (lacking, surplus, misshapen))
        raise found.published.misfit(lacking, found.surplus + surplus, misshapen)
    broken = [name for name, value in found.state.items() if not bool(value.isfinite().all())]
    if broken:
        raise InputError(
            f"{found.published.path} holds NaN or infinite values in {found.keys.published(broken[0])}; copy it again."
        )
    model.load_state_dict(found.state)
    return model.eval()


def _without_text(value: Any, dim: int) -> Any:
    """A configuration with a light text encoder of the same width inside the wrappers of the frozen one."""
    if isinstance(value, Mapping):
        return {
            name: _light(each, dim) if name == "text_encoder" else _without_text(each, dim)
            for name, each in value.items()
        }
    return [_without_text(each, dim) for each in value] if isinstance(value, list) else value


def _light(encoder: Any, dim: int) -> dict[str, Any]:
    options = encoder["init_args"]
    if "encoder" in options:
        return {**encoder, "init_args": {**options, "encoder": _light(options["encoder"], dim)}}
    return {"class_path": "realign.text.HashingEncoder", "init_args": {"dim": dim}}
