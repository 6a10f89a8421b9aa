"""Shipped weights, devices and captions, for generation and search."""

from collections.abc import Sequence
from pathlib import Path

import torch

from realign.errors import InputError
from realign.files import read_lines, shipped_folder
from realign.text.captions import plain_caption

UNIT = 4  # frames: lengths are multiples of the unit that training crops to
SHORTEST, LONGEST = 20, 196  # frames


def pretrained_folder(name: str, remedy: str = "a checkpoint with --checkpoint") -> Path:
    """The folder of weights, or of another kind, that the package ships under `name`.

    Args:
        name: generator, retriever or index.
        remedy: What the user can name instead.

    Raises:
        InputError: When this installation carries none.
    """
    folder = shipped_folder(name)
    if not folder.is_dir():
        raise InputError(f"This installation ships no {name!r}; name {remedy}.")
    return folder


def pick_device(device: str) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU; anything else is passed to torch and tried.

    Raises:
        InputError: When torch does not know the device or cannot use it here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"The device {device!r} cannot be used here ({reason}); try --device cpu.") from error
    return chosen


def read_captions(texts: Sequence[str], file: Path | None = None) -> list[str]:
    """Captions from the command line, then one a line from a file; blank lines of the file are skipped.

    Raises:
        InputError: There is no caption, a blank one, or the file is not UTF-8 text.
    """
    return check_captions([*texts, *(read_lines(file) if file is not None else [])])


def check_captions(texts: Sequence[str]) -> list[str]:
    """Refuse an empty list and blank captions; return the others in their plain form.

    Raises:
        InputError: As said.
    """
    if isinstance(texts, str):
        raise InputError(f"Captions come as a list, but got the text {texts!r}; write [{texts!r}].")
    if not texts:
        raise InputError('No caption was given; write one, for example "a person walks forward".')
    plain = [plain_caption(text) for text in texts]
    for text, words in zip(texts, plain, strict=True):
        if not words:
            raise InputError(f'A caption is blank ({text!r}); write one, for example "a person walks forward".')
    return plain
