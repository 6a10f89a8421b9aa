"""The published files of the evaluator of Guo et al.: read without executing anything, checked, and imported."""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from realign.checkpoint.tensors import read_tensors
from realign.errors import InputError
from realign.files import load_npy

PARTS = ("movement_encoder", "motion_encoder", "text_encoder")
GLOVE = ("our_vab_data.npy", "our_vab_words.pkl", "our_vab_idx.pkl")
_UNKNOWN = "unk"  # the word whose vector the publication gives to all it does not know


def read_weights(path: Path) -> dict[str, dict[str, Tensor]]:
    """State of the three encoders from `finest.tar`.

    Raises:
        InputError: The file is missing, damaged, asks for code, or one of the encoders is absent.
    """
    _check_file(path, "the weights of the evaluator")
    content = read_tensors(path, "file of weights", "take the published one")
    found = sorted(content) if isinstance(content, dict) and all(isinstance(key, str) for key in content) else []
    if not set(PARTS) <= set(found):
        raise InputError(
            f"{path} holds {found or 'something else'}, but {', '.join(PARTS)} are needed; give finest.tar."
        )
    for part in PARTS:
        state = content[part]
        if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
            raise InputError(f"{path} holds no weights under {part}; take the published finest.tar.")
    return {part: dict(content[part]) for part in PARTS}


def adopt_weights(evaluator: nn.Module, weights: Mapping[str, Mapping[str, Tensor]], source: Path) -> None:
    """Load the three encoders strictly.

    Args:
        evaluator: A `GuoEvaluator` of the published sizes.
        weights: What `read_weights` gave.
        source: Named in errors.

    Raises:
        InputError: A name is missing or foreign, or a shape differs.
    """
    for part in PARTS:
        try:
            getattr(evaluator, part).load_state_dict(weights[part])
        except RuntimeError as error:
            detail = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
            raise InputError(
                f"The {part} of {source} is not that of the publication ({detail}); take the published finest.tar."
            ) from error


def read_statistics(folder: Path, features: int) -> tuple[Float[Tensor, "C"], Float[Tensor, "C"]]:
    """The evaluator's own mean and standard deviation, mean.npy and std.npy.

    Raises:
        InputError: A file is missing, unreadable, or of another width.
    """
    found = []
    for name in ("mean.npy", "std.npy"):
        path = folder / name
        _check_file(path, "the evaluator's own statistics, which differ from Mean.npy and Std.npy of the data set,")
        array = _array(path)
        if array.shape != (features,) or not np.isfinite(array).all():
            raise InputError(f"{path} has shape {array.shape}, but {features} finite values are needed; take the meta "
                             "folder published with the weights.")  # fmt: skip
        found.append(torch.from_numpy(array.astype(np.float32)))
    if not bool((found[1] > 0).all()):
        raise InputError(f"{folder / 'std.npy'} holds values that are not above 0; take the published file.")
    return found[0], found[1]


def read_glove(folder: Path, width: int = 300) -> tuple[list[str], Float[Tensor, "V D"], Float[Tensor, "D"]]:
    """Words, their vectors, and the vector of unknown words.

    Raises:
        InputError: A file is missing, asks for code, or the three do not belong together.
    """
    for name in GLOVE:
        _check_file(folder / name, "the word vectors")
    vectors, words, index = _array(folder / GLOVE[0]), read_plain(folder / GLOVE[1]), read_plain(folder / GLOVE[2])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or not isinstance(index, dict):
        raise InputError(f"{folder / GLOVE[1]} must hold a list of words and {GLOVE[2]} their rows; copy them again.")
    if vectors.ndim != 2 or vectors.shape[1] != width or vectors.dtype.kind != "f" or not np.isfinite(vectors).all():
        raise InputError(
            f"{folder / GLOVE[0]} has shape {vectors.shape}, but vectors of {width} finite numbers are needed; "
            "take the published file."
        )
    rows = [index.get(word) for word in words]
    if _UNKNOWN not in index or not all(type(row) is int and 0 <= row < len(vectors) for row in rows):
        raise InputError(f"The files {', '.join(GLOVE)} in {folder} do not belong together; copy all three again.")
    table = torch.from_numpy(vectors.astype(np.float32))
    unique = dict(zip(words, rows, strict=True))
    return list(unique), table[list(unique.values())], table[index[_UNKNOWN]]


def read_plain(path: Path) -> Any:
    """A pickle of lists, dictionaries, strings and numbers; one that names any class or function is refused.

    Raises:
        InputError: As said, or the file is damaged.
    """
    try:
        return _PlainUnpickler(io.BytesIO(path.read_bytes())).load()
    except InputError as error:
        raise InputError(f"{path} {error}") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise InputError(f"{path} is damaged or not a pickle; copy it again.") from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise InputError(f"asks for {module}.{name}, and pickled code is never executed; take the published file.")

    def persistent_load(self, pid: Any) -> Any:
        raise InputError("refers to objects outside itself; take the published file.")


def _array(path: Path) -> np.ndarray:
    try:
        return load_npy(path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not an array of numbers, or is cut short; copy it again.") from error


def _check_file(path: Path, what: str) -> None:
    if not path.is_file():
        raise InputError(f"There is no {path}, which holds {what}; see docs/evaluators.md for where it belongs.")
