"""Read .npy files of pickled objects (MDM's results.npy) without executing code in them.

A pickle can import and call anything by name. Here it finds only four names, all of them stand-ins that store their
arguments; arrays are then made from the stored bytes. NumPy's own reconstruction is not used, since its state can
declare plain bytes to be objects.
"""

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from realign.errors import InputError
from realign.files import open_file

_PLAIN = re.compile(r"(b1|[iu][1248]|f[248]|[US]\d{1,6})")


def is_pickled(path: str | Path) -> bool:
    """Whether the header of a .npy file announces pickled objects; False for any other file."""
    try:
        with open_file(path) as file:
            return read_header(file).hasobject
    except Exception:  # a damaged header raises many exceptions; the plain reader reports why
        return False


def read_pickled(path: str | Path) -> Any:
    """The content of a .npy file of pickled objects: dicts, lists, texts, numbers and arrays of numbers.

    Args:
        path: The file.

    Returns:
        The object of an array without dimensions, else the list of its elements.

    Raises:
        InputError: It is damaged, or holds or calls anything else.
    """
    with open_file(path) as file:
        read_header(file)
        payload = io.BytesIO(file.read())
    try:
        return _plain(_Reader(payload).load())
    except _Refused as refused:
        raise InputError(
            f"cannot read {path}: its pickle asks for {refused}, but only arrays, texts, numbers, lists and dicts are "
            "read from a pickle; save the joints alone by numpy.save"
        ) from None
    except Exception as error:  # a damaged pickle can raise almost any exception
        raise InputError(
            f"cannot read {path} ({type(error).__name__}): its pickle is damaged; save the joints alone by numpy.save"
        ) from error


def read_header(file: Any) -> np.dtype[Any]:
    """The type in the header of an open .npy file; the file is left at the beginning of the data."""
    major, _ = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    return np.dtype(read(file)[2])


class _Refused(Exception):
    """A name or object that a pickle must not use."""


class _Type:
    """A dtype described by a pickle."""

    def __init__(self, code: object, *_: object) -> None:
        self.code: object = code
        self.order: Any = "="

    def __setstate__(self, state: Any) -> None:
        _, self.order, *parts = state
        if any(part is not None for part in parts[:3]):
            raise _Refused("an array of records")

    def made(self) -> np.dtype[Any]:
        if not isinstance(self.code, str) or not _PLAIN.fullmatch(self.code) or self.order not in ("<", ">", "=", "|"):
            raise _Refused(f"an array of type {str(self.code)[:20]!r}")
        return np.dtype(self.code).newbyteorder(self.order)


class _Array:
    """An array described by a pickle."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def made(self) -> Any:
        _, shape, kind, fortran, data = self.state
        if isinstance(data, list):  # of objects
            return _plain(data if shape else data[0])
        return np.frombuffer(data, kind.made()).reshape(shape, order="F" if fortran else "C")


class _Scalar:
    """A single number described by a pickle."""

    def __init__(self, kind: Any, data: bytes) -> None:
        self.kind, self.data = kind, data

    def made(self) -> Any:
        return np.frombuffer(self.data, self.kind.made())[0].item()


class _Reader(pickle._Unpickler):  # the one in C takes gigabytes if a file names a high memo number
    """An unpickler that finds only stand-ins; they are made anew for every file, so that none can change another's."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        kinds = {base.__name__: type(base.__name__, (base,), {}) for base in (_Type, _Array, _Scalar)}
        array = kinds["_Array"]
        self._known: dict[tuple[str, str], Any] = {
            ("numpy", "dtype"): kinds["_Type"],
            ("numpy", "ndarray"): array,
        }
        for core in ("numpy.core", "numpy._core"):  # before NumPy 2, and since
            self._known[f"{core}.multiarray", "_reconstruct"] = lambda *_: array()
            self._known[f"{core}.multiarray", "scalar"] = kinds["_Scalar"]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._known:
            raise _Refused(f"{module}.{name}"[:100])
        return self._known[module, name]


def _plain(content: Any) -> Any:
    """The content with stand-ins replaced by arrays and numbers."""
    if isinstance(content, _Array | _Scalar):
        return content.made()
    if isinstance(content, list | tuple):
        return [_plain(item) for item in content]
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}
    if content is None or isinstance(content, str | int | float):
        return content
    raise _Refused(f"a {type(content).__name__.lstrip('_')}")
