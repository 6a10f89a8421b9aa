"""Components built from a configuration."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from jsonargparse import ArgumentError, ArgumentParser
from torch import nn

from realign.checkpoint.admission import admit, check_class
from realign.checkpoint.saved import Saved
from realign.errors import InputError
from realign.own_code import classes_in, no_package

Kind = TypeVar("Kind")


def rebuild(saved: Saved, base: type[nn.Module], kind: type[Kind]) -> Kind:
    """Instantiate a configuration; jsonargparse checks every class against the annotation it stands for.

    Args:
        saved: What was read.
        base: A base of all the classes that the configuration may name.
        kind: The class, or a base of it, that is wanted.

    Raises:
        InputError: It names a class that is not allowed, another kind, or unknown parts or options.
    """
    parser, parsed = _parse(admit(saved.config, saved.path, saved.trust_code), base, saved.path)
    if not saved.trust_code:
        _check_found(parsed.module.as_dict(), saved.path)  # short names are full ones now
    found = find_class(parsed.module.class_path)
    if not issubclass(found, kind):
        holds, wanted = f"a {found.__name__}", vars(kind).get("wanted")
        if wanted is not None:  # whoever asks for any model does not know its classes
            holds = getattr(found, "wanted", holds)
        raise InputError(
            f"{saved.path} holds {holds}, but {wanted or f'a {kind.__name__}'} is needed; give one of that kind."
        )
    built: Kind = _instantiate(parser, parsed, saved.path)
    return built


def build_part(config: Mapping[str, Any], base: type[Kind], path: Path) -> Kind:
    """Instantiate a part of a configuration of one's own, which may name any class.

    Args:
        config: class_path and init_args.
        base: A base of the class.
        path: The file that it comes from.

    Raises:
        InputError: It names another kind, or parts or options that are unknown.
    """
    built: Kind = _instantiate(*_parse(config, base, path), path)
    return built


def _parse(config: Mapping[str, Any], base: type, path: Path) -> tuple[ArgumentParser, Any]:
    for _, name in classes_in(config):
        if told := no_package(name):
            raise InputError(f"{path}: {told}")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(base, "module", required=True)
    try:
        return parser, parser.parse_object({"module": config})
    except (ArgumentError, TypeError, ValueError, ImportError, AttributeError) as error:
        raise _cannot_build(path, error) from error


def _instantiate(parser: ArgumentParser, parsed: Any, path: Path) -> Any:
    try:
        return parser.instantiate_classes(parsed).module
    except InputError:
        raise
    except Exception as error:  # values out of range can raise any exception
        raise _cannot_build(path, error) from error


def _cannot_build(path: Path, error: Exception) -> InputError:
    detail = " ".join(str(error).split())[:300]
    return InputError(f"{path} asks for parts that this version cannot build: {detail}")


def _check_found(value: Any, path: Path) -> None:
    """Check the result of jsonargparse: only allowed classes, and no function or class as a value."""
    if isinstance(value, Mapping):
        if isinstance(value.get("class_path"), str):
            check_class(value["class_path"], path)
        for each in value.values():
            _check_found(each, path)
    elif isinstance(value, (list, tuple)):
        for each in value:
            _check_found(each, path)
    elif inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
        raise InputError(f"{path} names {value!r} where a value is wanted; take a file written by realign.")


def find_class(class_path: str) -> type:
    """The class of a full name."""
    module, _, name = class_path.rpartition(".")
    return getattr(__import__(module, fromlist=[name]), name)
