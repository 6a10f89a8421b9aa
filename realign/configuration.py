"""Configurations that build on others: `base` names the files laid under one, `let` the values used in several places.

    base: [../base/generator.yaml, ../base/humanml3d.yaml]   # paths as seen from this file; later ones win
    let: {epochs: 3000}                                      # ${epochs} anywhere in the result, bases included
    trainer: {max_epochs: "${epochs}"}

Mappings merge key by key, a `class_path` that differs drops the `init_args` beneath it, anything else is replaced.
``${config}`` is the configuration's own name, such as ``generator_mld_kit``.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from realign.errors import InputError, renamed
from realign.files import read_text

_VALUE = re.compile(r"\$\{(\w+)\}")


def configs_folder() -> Path:
    """The configurations that come with the package: inside it where it is installed, beside it in a clone."""
    package = Path(__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def find_config(name: str | Path) -> Path:
    """The file of a configuration: a path, else one that comes with the package, such as ``generator/mld_humanml3d``.

    Raises:
        InputError: There is none of that name.
    """
    path = Path(name)
    if path.is_file():
        return path
    folder = configs_folder()
    shipped = folder / f"{path.parent / path.stem}.yaml"
    if not path.is_absolute() and ".." not in path.parts and shipped.is_file():
        return shipped
    if path.is_dir():
        raise InputError(f"The configuration {str(name)!r} is a folder; name a file in it.")
    names = [each.relative_to(folder).with_suffix("").as_posix() for each in folder.glob("*/*.yaml")]
    names = [each for each in names if not each.startswith("base/")]
    near = difflib.get_close_matches((path.parent / path.stem).as_posix(), names, n=3, cutoff=0.5)
    raise InputError(
        f"There is no configuration {str(name)!r}; give a file"
        + (f", or one that comes with realign, such as {' or '.join(near)}." if near else ".")
    )


def read_config(name: str | Path) -> dict[str, Any]:
    """A configuration with its bases laid under it and its values filled in.

    Raises:
        InputError: A file is missing, not YAML, its own base, or asks for a value that nothing sets.
    """
    path = find_config(name)
    merged = _with_bases(path, ())
    values = {"config": f"{path.resolve().parent.name}_{path.stem}", **(merged.pop("let", None) or {})}
    return _with_new_names(_fill(merged, values, path))


def compose_arguments(args: Sequence[str]) -> list[str]:
    """Command-line words in which every ``--config NAME`` is replaced by the composed configuration, as YAML text.

    Raises:
        InputError: As `read_config`.
    """
    composed: list[str] = []
    words = iter(args)
    for word in words:
        option, given, name = word.partition("=")
        if option not in ("--config", "-c"):
            composed.append(word)
            continue
        value = name if given else next(words, None)
        composed += ["--config"] if value is None else ["--config", yaml.safe_dump(read_config(value), sort_keys=False)]
    return composed


def _with_bases(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """The content of a file over its bases, with `let` still in it."""
    if path.resolve() in above:
        raise InputError(f"The configuration {path} is its own base; take it out of base.")
    try:
        own = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        detail = " ".join(str(error).split())[:200]
        raise InputError(f"The configuration {path} is not YAML ({detail}); correct it.") from error
    if not isinstance(own, dict):
        raise InputError(f"The configuration {path} holds no names with values; give a file such as those in configs/.")
    bases = own.pop("base", None) or []
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        below = path.parent / base
        if not below.is_file():
            raise InputError(f"The configuration {path} names the base {base!r}, but there is no {below}; correct it.")
        merged = merge(merged, _with_bases(below, (*above, path.resolve())))
    return merge(merged, own)


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two configurations, the second laid over the first."""
    result = dict(below)
    if "class_path" in above and below.get("class_path", above["class_path"]) != above["class_path"]:
        result.pop("init_args", None)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def _fill(value: Any, values: Mapping[str, Any], path: Path) -> Any:
    """`value` with every ``${name}`` replaced; one that stands alone keeps the type of what it names."""
    if isinstance(value, Mapping):
        return {key: _fill(each, values, path) for key, each in value.items()}
    if isinstance(value, list):
        return [_fill(each, values, path) for each in value]
    if not isinstance(value, str):
        return value
    unknown = next((name for name in _VALUE.findall(value) if name not in values), None)
    if unknown is not None:
        raise InputError(f"The configuration {path} uses ${{{unknown}}}, which no let sets; add it to let.")

    def value_of(found: re.Match[str]) -> Any:
        others = {name: each for name, each in values.items() if name != found[1]}  # a value cannot name itself
        return _fill(values[found[1]], others, path)

    alone = _VALUE.fullmatch(value)
    return value_of(alone) if alone else _VALUE.sub(lambda found: str(value_of(found)), value)


_GATHERED = ("mu", "eta", "anchors", "temperature", "through_decoder", "options", "best_of")
"""Options of `RewardGuidedSampling` that its `guidance` gathers now."""


def _with_new_names(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with options of the first version under their new names, which is told."""
    trainer = config.get("trainer")
    callbacks = trainer.get("callbacks") if isinstance(trainer, dict) else None
    for each in callbacks if isinstance(callbacks, list) else []:
        options = each.get("init_args") if isinstance(each, dict) else None
        if not isinstance(options, dict) or not str(each.get("class_path")).endswith("RewardGuidedSampling"):
            continue
        old = {name: options.pop(name) for name in _GATHERED if name in options}
        if old:
            renamed(f"{', '.join(old)} of RewardGuidedSampling", "its option guidance")
            candidates = old.pop("best_of", None)
            best = {} if candidates is None else {"method": "best-of", "candidates": candidates}
            options["guidance"] = {**(old.pop("options", None) or {}), **old, **best, **options.get("guidance", {})}
    return config
