"""Read .npz archives field by field, without executing pickles in them."""

import struct
import zipfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realign.errors import InputError
from realign.files import StoredFile, open_file, read_npy
from realign.motion.pickled import read_header

_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, struct.error, NotImplementedError, RuntimeError)


class Npz:
    """An open .npz archive.

    Args:
        path: The file.

    Raises:
        InputError: It is cut off or not an archive.
        OSError: It cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(open_file(path) if isinstance(path, StoredFile) else path)
        except _BROKEN as error:
            raise InputError(f"{path} is cut off or not an .npz archive ({error}); copy it again.") from None
        self.names = {name.removesuffix(".npy") for name in self._archive.namelist()}

    def __enter__(self) -> "Npz":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._archive.close()

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def read(self, name: str) -> NDArray[Any]:
        """One array.

        Args:
            name: Name of the field.

        Raises:
            InputError: The field is missing, holds pickled objects, or is damaged.
        """
        if name not in self.names:
            raise InputError(f"{self.path} has no field {name!r} (it has {', '.join(sorted(self.names))[:200]}).")
        try:
            with self._archive.open(f"{name}.npy") as file:
                pickled = read_header(file).hasobject
            if not pickled:
                with self._archive.open(f"{name}.npy") as file:
                    return read_npy(file)
        except (KeyError, OSError, *_BROKEN) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{self.path}: its field {name!r} is damaged ({reason}); copy it again.") from None
        raise InputError(
            f"{self.path}: its field {name!r} is pickled code, which is not executed; save it as a plain array."
        )

    def numbers(self, name: str) -> NDArray[np.float64]:
        """One array of numbers, in float64.

        Args:
            name: Name of the field.

        Raises:
            InputError: As `read`, or it does not hold numbers.
        """
        array = self.read(name)
        if array.dtype.kind not in "fiu":
            raise InputError(f"{self.path}: its field {name!r} holds {array.dtype}, not numbers.")
        return np.asarray(array, dtype=np.float64)
