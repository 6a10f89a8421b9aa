"""Reading .npy files: arrays of numbers, and results of other programs, without executing pickled code."""

from pathlib import Path

import numpy as np

from realign.errors import InputError
from realign.files import load_npy
from realign.motion.arrays import split_clips
from realign.motion.pickled import read_pickled


def load_results(path: str | Path) -> list[tuple[np.ndarray, str]]:
    """Arrays and texts of a .npy of pickled objects: MDM's results.npy, or a list of arrays of different lengths.

    Args:
        path: The file.

    Raises:
        InputError: It holds anything else, or would execute code.
    """
    content = read_pickled(path)
    if isinstance(content, dict) and isinstance(content.get("motion"), np.ndarray):
        batch = split_clips(content["motion"], path)
        texts = np.ravel(content.get("text", [])).tolist()
        lengths = np.ravel(content.get("lengths", [])).tolist()
        count = len(batch.arrays)
        if len(lengths) != count or not all(isinstance(length, int) and length > 0 for length in lengths):
            lengths = [None] * count
        texts = [str(text) for text in texts] if len(texts) == count else [""] * count
        motions = [motion[:length] for motion, length in zip(batch.arrays, lengths, strict=True)]
        return [(_numbers(motion, path), text) for motion, text in zip(motions, texts, strict=True)]
    if isinstance(content, list) and content and all(isinstance(item, np.ndarray) for item in content):
        return [(_numbers(item, path), "") for item in content]
    keys = f" with {', '.join(content)}"[:100] if isinstance(content, dict) else ""
    raise InputError(
        f"{path} holds a pickled {type(content).__name__}{keys}, which is not a motion, or damaged: give MDM's "
        "results.npy (a dict with 'motion'), or joints or features saved by numpy.save"
    )


def load_array(path: str | Path) -> np.ndarray:
    """Read a .npy file of finite numbers without executing pickled code.

    Args:
        path: The file.

    Raises:
        InputError: The file is missing, truncated, not an array of numbers, empty, or holds NaN or infinity.
    """
    try:
        array = load_npy(path)
    except FileNotFoundError:
        raise InputError(f"no such motion file: {path}; check the path") from None
    except (ValueError, OSError) as error:
        raise InputError(f"cannot read {path} ({error}): the file is damaged, save or download it again") from error
    return _numbers(array, path)


def _numbers(array: np.ndarray, path: str | Path) -> np.ndarray:
    """The array, if it holds finite numbers."""
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path} does not hold an array of numbers: give joints or features saved by numpy.save")
    if not array.size:
        raise InputError(f"{path} holds no frames (shape {array.shape}): give at least one frame")
    if not np.isfinite(array).all():
        raise InputError(f"{path} holds NaN or infinite values: repair the clip or leave it out")
    return array
