"""Tensors from old files that also hold objects of other programs, which are replaced by inert stand-ins."""

import pickle
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from realign.errors import InputError

_REBUILT = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
_OF_VALUES = {
    *("builtins", "argparse", "collections", "datetime", "decimal", "enum", "fractions", "numbers", "pathlib"),
    *("typing", "uuid"),
}
_VALUES = {
    "_codecs": ("encode",),
    "builtins": ("object", "set", "frozenset", "list", "tuple", "dict", "int", "float", "bool", "str", "bytes",
                 "complex", "slice", "bytearray"),
    "collections": ("defaultdict", "deque"),
    "copyreg": ("_reconstructor", "__newobj__"),
    "datetime": ("datetime", "date", "time", "timedelta", "timezone"),
}  # fmt: skip
"""What of Python itself lies in files of values: these names, and the classes of `_OF_VALUES`."""


def read_inert(path: Path) -> Any:
    """What a file written by ``torch.save`` holds; objects that are not tensors or plain values are empty stand-ins.

    Args:
        path: The file.

    Raises:
        InputError: It names something of Python itself that does more than hold values.
        Exception: It is damaged or another kind of file; anything may be raised.
    """
    module: Any = SimpleNamespace(__name__="inert", Unpickler=_Unpickler, load=_load)
    try:
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=module)
    except _Refused as refused:
        raise InputError(
            f"{path} asks to run {refused}, and pickled code is never executed; take the published file."
        ) from refused


class _Refused(Exception):
    """The name of what a file asks for."""


class Inert:
    """Stand-in for an object of another program; it ignores its state."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> "Inert":
        """Another one for whatever is asked."""
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Forget an item."""

    def extend(self, values: Any) -> None:
        """Forget items."""

    add = append


class _Known:
    """A function of torch that makes tensors; a file cannot change its attributes."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a function takes no state")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # files are written with the names of Python 2, as Python's own reader knows
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in _REBUILT:
            return _Known(getattr(torch._utils, name))
        if module == "torch" and name in ("Size", "device"):
            return _Known(getattr(torch, name))
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if not _harmless(module, name):
            raise _Refused(f"{module}.{name}")
        return type("Inert", (Inert,), {})  # a class of its own, for a file may give a class a state


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


def _harmless(module: str, name: str) -> bool:
    """Whether a name belongs to another program, or stands for a value; a file that names more was made to run it."""
    if module.partition(".")[0] not in sys.stdlib_module_names | {"nt", "posix"}:
        return True
    is_class = "." not in name and name.lstrip("_")[:1].isupper()
    return name in _VALUES.get(module, ()) or (module.partition(".")[0] in _OF_VALUES and is_class)
