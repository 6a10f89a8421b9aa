"""Reading tensors and plain values from pickled files without executing anything."""

import pickle
from pathlib import Path
from typing import Any

import torch

from realign.errors import InputError


def read_tensors(path: Path, what: str, remedy: str) -> Any:
    """What a file written by ``torch.save`` holds, on the CPU.

    Args:
        path: The file.
        what: What it should be, to end "is not ..." with.
        remedy: What to do instead, the end of the error message.

    Raises:
        InputError: It asks for code, or is damaged or something else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is not a {what}, or holds Python objects, which are never executed; {remedy}."
        ) from error
    except OSError as error:
        if error.errno is None:  # of torch, about the content
            raise InputError(f"{path} is not a {what}, or is damaged or cut short; copy it again.") from error
        raise
    except Exception as error:  # another kind of file is read as if it were one, and can raise any exception
        raise InputError(f"{path} is not a {what}, or is damaged or cut short; copy it again.") from error
