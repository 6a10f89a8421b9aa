"""Configurations that build on others: `base` names the files laid under one, `let` the values used in several places.

    base: [../base/generator.yaml, ../base/humanml3d.yaml]   # paths as seen from this file; later ones win
    let: {epochs: 3000}                                      # ${epochs} anywhere in the result, bases included
    trainer: {max_epochs: "${epochs}"}

Mappings merge key by key, a `class_path` that differs drops the `init_args` beneath it, a key that ends in ``+`` adds
its list to the one below, anything else is replaced. A base that is not a file is a configuration of the package, so
that your own file in any folder can be as short as

    base: generator/mld_humanml3d
    trainer: {max_epochs: 100, callbacks+: [{class_path: LearningRateMonitor}]}

``${config}`` is the folder and the name of the outermost file, such as ``generator_mld_kit``. Several ``--config``
options are composed separately, each with its own values, and the later one is laid over the earlier.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from realign.errors import InputError, renamed
from realign.files import read_text
from realign.spelling import similar

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
    found = path if path.is_file() else _shipped(path)
    if found is not None:
        return found
    if path.is_dir():
        raise InputError(f"The configuration {str(name)!r} is a folder; name a file in it.")
    near = _near(path, bases=False)
    raise InputError(
        f"There is no configuration {str(name)!r}; give a file"
        + (f", or one that comes with realign, such as {near}." if near else ".")
    )


def _bare(path: Path) -> str:
    """A path as a name of configurations of the package: without suffix and without ``..``."""
    parts = [part for part in path.parts if part not in ("..", path.anchor)]
    return Path(*parts).as_posix().removesuffix(".yaml").removesuffix(".yml") if parts else ""


def _shipped(path: Path) -> Path | None:
    """The configuration of that name that comes with the package."""
    found = configs_folder() / f"{_bare(path)}.yaml"
    return None if path.is_absolute() or ".." in path.parts or not found.is_file() else found


def _near(path: Path, bases: bool) -> str:
    """Names of configurations of the package that are similar to a missing one."""
    folder = configs_folder()
    names = [each.relative_to(folder).with_suffix("").as_posix() for each in sorted(folder.glob("*/*.yaml"))]
    names = [each for each in names if bases or not each.startswith("base/")]
    return " or ".join(similar("/".join(_bare(path).split("/")[-2:]), names, 3, 0.5))


def read_config(name: str | Path) -> dict[str, Any]:
    """A configuration merged with its bases, with its values filled in.

    Raises:
        InputError: A file is missing, not YAML, its own base, or uses a value that no let sets.
    """
    if isinstance(name, str) and "\n" in name:
        composed = yaml.safe_load(name)
        if isinstance(composed, dict):
            return composed
    path = find_config(name)
    merged = _with_bases(path, ())
    values = {"config": f"{path.resolve().parent.name}_{path.stem}", **(merged.pop("let", None) or {})}
    return _with_new_names(_fill(merged, values, path))


def read_value(name: str | Path, value: str) -> Any:
    """A value that a configuration, or one of its bases, sets in `let`; None where none does.

    Raises:
        InputError: As `read_config`.
    """
    path = find_config(name)
    values = _with_bases(path, ()).get("let") or {}
    return _fill(values.get(value), values, path)


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
    if not isinstance(own.get("let") or {}, dict):
        raise InputError(f"The configuration {path} sets let to {own['let']!r}; give it names with values.")
    merged: dict[str, Any] = {}
    for base in _as_list(own.pop("base", None)):
        merged = merge(merged, _with_bases(_find_base(base, path), (*above, path.resolve())))
    return merge(merged, own)


def _find_base(base: Any, path: Path) -> Path:
    """The file that the configuration at `path` calls its base."""
    if not isinstance(base, str):
        raise InputError(f"The configuration {path} names the base {base!r}; give a path or a name, or a list of such.")
    below = path.parent / base
    found = below if below.is_file() else _shipped(Path(base))
    if found is None:
        near = _near(Path(base), bases=True)
        raise InputError(
            f"The configuration {path} names the base {base!r}, but there is no {below}"
            + (f"; one that comes with realign is {near}." if near else "; correct it.")
        )
    return found


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two configurations, the second laid over the first."""
    result = dict(below)
    if "class_path" in above and below.get("class_path", above["class_path"]) != above["class_path"]:
        result.pop("init_args", None)
    for key, value in above.items():
        plain = key.removesuffix("+") if isinstance(key, str) else key
        if plain == key:
            result.pop(f"{key}+", None)
        else:  # without a list below, it is added to that of an earlier --config
            key = plain if plain in result else key
            value = [*_as_list(result.get(key)), *_as_list(value)]
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def _as_list(value: Any) -> list[Any]:
    """A list unchanged; None as an empty one, and anything else as its only entry."""
    return value if isinstance(value, list) else [] if value is None else [value]


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
"""Former options of `RewardGuidedSampling`, now fields of its `guidance`."""
_JUDGE = re.compile(r"(?<=_by_)judge$|(?<=/)judge(?=_text$)")  # in names of what it logs


def _with_new_names(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with options of version 0.1.0 under their new names, with a note."""
    trainer = config.get("trainer")
    callbacks = trainer.get("callbacks") if isinstance(trainer, dict) else None
    for each in callbacks if isinstance(callbacks, list) else []:
        options = each.get("init_args") if isinstance(each, dict) else None
        if not isinstance(options, dict):
            continue
        monitor = options.get("monitor")
        if isinstance(monitor, str) and (new := _JUDGE.sub("evaluator", monitor)) != monitor:
            renamed(monitor, new)
            options["monitor"] = new
        if not str(each.get("class_path")).endswith("RewardGuidedSampling"):
            continue
        old = {name: options.pop(name) for name in _GATHERED if name in options}
        if old:
            renamed(f"{', '.join(old)} of RewardGuidedSampling", "its option guidance")
            candidates = old.pop("best_of", None)
            best = {} if candidates is None else {"method": "best-of", "candidates": candidates}
            options["guidance"] = {**(old.pop("options", None) or {}), **old, **best, **options.get("guidance", {})}
    return config
