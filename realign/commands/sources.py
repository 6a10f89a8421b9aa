"""Classes that a configuration names and their options, read from source files: importing them takes seconds."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from realign.errors import InputError
from realign.own_code import classes_in, find_own, is_class, no_package
from realign.spelling import suggestion

_KEYS = ("class_path", "init_args", "dict_kwargs", "help")
_TRAINER = "lightning.pytorch.trainer.trainer.Trainer"


def check_classes(config: Mapping[str, Any], words: Mapping[str, str]) -> None:
    """Refuse classes that are not there, and options that they do not have.

    Args:
        config: The whole configuration of a training.
        words: Options of the command line, with dotted names.

    Raises:
        InputError: As said, with a similar name if there is one. What cannot be told from a source file passes.
    """
    named = {**dict(classes_in(config)), **{name: word for name, word in words.items() if is_class(word)}}
    find_own(named.values())
    for place, name in named.items():
        _check_class(place, name)
    for place, name, option in [*_options(config), *_options_of_words(config, words)]:
        known = options_of(name)
        if known is not None and option not in known:
            remedy = suggestion(option, known, f"its options are {', '.join(sorted(known))}.")
            raise InputError(f"{place}: Option '{option}' is not accepted by {name}; {remedy}")


def _options(value: Any, place: str = "") -> Iterator[tuple[str, str, str]]:
    """Place, class and option of everything that a configuration sets."""
    if isinstance(value, Mapping):
        options = value.get("init_args")
        if isinstance(value.get("class_path"), str) and isinstance(options, Mapping):
            yield from ((place, value["class_path"], str(option)) for option in options)
        if place == "trainer":
            yield from ((place, _TRAINER, str(option).removesuffix("+")) for option in value)
        for key, each in value.items():
            yield from _options(each, place if key == "init_args" else f"{place}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _options(each, f"{place}.{number}")


def _options_of_words(config: Mapping[str, Any], words: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """The same of the options of a command line, as far as the configuration says their classes."""
    for word in words:
        node: Any = config
        parts = [part for part in word.split(".") if part != "init_args"]
        for number, part in enumerate(parts):
            place = ".".join(parts[:number])
            if place == "trainer":
                yield place, _TRAINER, part.removesuffix("+")
                break
            if not isinstance(node, Mapping):
                break
            name = words.get(place) or words.get(f"{place}.class_path") or node.get("class_path")
            if isinstance(name, str) and part not in _KEYS:
                yield place, name, part
                node = node.get("init_args") or {}
            node = node.get(part) if isinstance(node, Mapping) else None


def _check_class(place: str, class_path: str) -> None:
    if told := no_package(class_path):
        raise InputError(f"{place}: {told}")
    module, _, name = class_path.rpartition(".")
    path = source_of(module)
    if path is None:
        return
    text = path.read_text("utf-8")
    if re.search(rf"\b{name}\b", text) or re.search(r"import \*", text):
        return
    names = re.findall(r"\b[A-Z]\w*[a-z]\w*", text)
    raise InputError(f"{place}: {module} has no class {name}; {suggestion(name, names, f'see {path}.')}")


def source_of(module: str) -> Path | None:
    """The file of a module, found without importing its package; None if it is not a source file."""
    top, *rest = module.split(".")
    spec = find_spec(top) if top else None  # a class may be named without its module
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin)
    for part in rest:
        if path.name != "__init__.py":
            return None
        folder = path.parent / part
        path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    return path if path.suffix == ".py" and path.is_file() else None


@cache
def options_of(class_path: str) -> frozenset[str] | None:
    """Names of a class's constructor arguments; None if its source does not tell all of them."""
    found = _definition(class_path)
    makers = (
        [each for each in found.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"] if found else []
    )
    if not makers or makers[-1].args.kwarg is not None:
        return None
    arguments = makers[-1].args
    return frozenset(each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)) - {"self"}


def _definition(class_path: str, depth: int = 5) -> ast.ClassDef | None:
    """The definition of a class, followed through imports."""
    module, _, name = class_path.rpartition(".")
    path = source_of(module)
    if path is None or depth == 0:
        return None
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            original = next((each.name for each in node.names if (each.asname or each.name) == name), None)
            if original is not None:
                return _definition(f"{node.module}.{original}", depth - 1)
    return None
