"""Reading tensors and plain values from pickled files without executing anything."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from realign.checkpoint.inert import read_inert
from realign.errors import InputError


def read_tensors(path: Path, what: str, remedy: str, old: bool = False) -> Any:
    """What a file written by ``torch.save`` holds, on the CPU.

    Args:
        path: The file.
        what: What it should be, to end "is not ..." with.
        remedy: What to do instead, the end of the error message.
        old: It may hold objects of other programs beside its tensors, as old files of Lightning do: they are left
            out. Without this such a file is refused.

    Raises:
        InputError: It asks for code, or is damaged or something else.
    """
    try:
        return _read(path, old)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is not a {what}, or holds Python objects, which are never executed; {remedy}."
        ) from error
    except OSError as error:
        if error.filename is None:  # about the content, such as a place in it that is not there
            raise InputError(f"{path} is not a {what}, or is damaged or cut short; copy it again.") from error
        raise
    except Exception as error:  # another kind of file is read as if it were one, and can raise any exception
        raise InputError(f"{path} is not a {what}, or is damaged or cut short; copy it again.") from error


def _read(path: Path, old: bool) -> Any:
    mapped = zipfile.is_zipfile(path)  # what is not asked for is never read, such as the state of an optimiser
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped if old else None)
    except pickle.UnpicklingError:
        if not old:
            raise
        return read_inert(path)
