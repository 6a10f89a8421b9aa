"""Classes of users: the working folder is searched for them after all installed packages."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

KNOWN_PACKAGES = ("realign.", "diffusers.", "torch.")
"""Beginnings of the names of classes that need no `trust_code`, if they are components."""


def search_working_folder() -> None:
    """Let modules in the working folder be imported, after those of all installed packages."""
    if not any(Path(each or ".").resolve() == Path.cwd() for each in sys.path):
        sys.path.append(str(Path.cwd()))


def find_own(class_paths: Iterable[str]) -> None:
    """Search the working folder, too, if a class is in no installed package but may be there.

    Args:
        class_paths: Full names of classes that the user's own configuration or command line names.
    """
    for name in class_paths:
        top = name.partition(".")[0]
        if find_spec(top) is None and ((Path.cwd() / top).is_dir() or Path(f"{top}.py").is_file()):
            search_working_folder()


def no_package(class_path: str) -> str | None:
    """The sentence about a class whose package or module is nowhere to be found; None if it is there."""
    top = class_path.partition(".")[0]
    if find_spec(top) is not None:
        return None
    return (
        f"{class_path} is not found: {top} is neither an installed package nor {top}.py or a folder {top} in "
        f"{Path.cwd()}; start the command in the folder that holds it, or name that folder in PYTHONPATH."
    )


def is_class(text: Any) -> bool:
    """Whether a value reads as the full name of a class."""
    return isinstance(text, str) and re.fullmatch(r"(?:[A-Za-z_]\w*\.)+[A-Z]\w*", text, re.ASCII) is not None


def classes_in(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Place and full name of every class in a configuration."""
    if isinstance(value, Mapping):
        if is_class(value.get("class_path")):
            yield place, value["class_path"]
        for key, each in value.items():
            yield from classes_in(each, place if key == "init_args" else f"{place}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from classes_in(each, f"{place}.{number}")
