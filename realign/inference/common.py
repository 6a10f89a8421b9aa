"""Shipped weights, devices, captions and options of sampling, for generation and search."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from realign.errors import InputError
from realign.files import read_lines, shipped_folder
from realign.interfaces import TextToMotionModel
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


def sampling_options(
    generator: TextToMotionModel,
    samples: int,
    seed: int,
    batch_size: int,
    steps: int | None,
    guidance_scale: float | None,
    scheduler: str | None,
) -> dict[str, Any]:
    """The options of sampling that were given; all arguments are checked.

    Raises:
        InputError: A number is out of its range, or the generator does not take an option.
    """
    for name, value, low in (("samples", samples, 1), ("seed", seed, 0), ("batch size", batch_size, 1)):
        if value < low:
            raise InputError(f"The {name} must be at least {low}, but is {value}.")
    if steps is not None and not 1 <= steps <= 1000:
        raise InputError(f"The number of denoising steps must lie between 1 and 1000, but is {steps}.")
    if guidance_scale is not None and not math.isfinite(guidance_scale):
        raise InputError(f"The scale of classifier-free guidance must be a finite number, but is {guidance_scale}.")
    asked = {"steps": steps, "guidance_scale": guidance_scale, "scheduler": scheduler}
    options = {name: value for name, value in asked.items() if value is not None}
    generator.check_options(**options)
    return options
