"""The published files of the evaluator of Guo et al., imported without executing code in them."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from realign.checkpoint.official.imported import Imported
from realign.checkpoint.official.key_map import KeyMap
from realign.checkpoint.official.published import Published, merge, read_array, read_statistics
from realign.errors import InputError
from realign.text.words import WordVectors

WEIGHTS = Path("text_mot_match/model/finest.tar")
META = {"humanml3d": Path("Comp_v6_KLD01/meta"), "kit": Path("Comp_v6_KLD005/meta")}
CONTACTS = 4  # features that the movement encoder does not read
PARTS = ("movement_encoder", "motion_encoder", "text_encoder")
GLOVE = ("our_vab_data.npy", "our_vab_words.pkl", "our_vab_idx.pkl")
KEYS = KeyMap({f"{part}.*": f"evaluator.{part}.*" for part in PARTS})
_UNKNOWN = "unk"  # the word whose vector all unknown words get


def read(file: Path, *, glove: Path | None = None, meta: Path | None = None) -> Imported:
    """The evaluator with its words and statistics.

    Args:
        file: The folder `t2m` or `kit` as unpacked, with text_mot_match/model/finest.tar, or that file.
        glove: Folder of the word vectors.
        meta: Folder of mean.npy and std.npy; the usual place inside the folder when None.

    Raises:
        InputError: A file is missing, has another shape, or contains code.
    """
    if glove is None:
        raise InputError(f"The evaluator reads words by {GLOVE[0]} and two more files; give their folder by --glove.")
    folder = file.parents[2] if file.is_file() and len(file.parents) > 2 else file
    weights = read_weights(file if file.is_file() else file / WEIGHTS)
    skeleton = weights.skeleton(weights.shape("movement_encoder.main.0.weight", 3)[1] + CONTACTS)
    features = skeleton.num_features
    words, vectors, unknown = read_glove(glove)
    table = WordVectors(vectors.shape[1], len(words), buckets=1)
    table.load_vectors(words, vectors, unknown)
    state, surplus = merge(weights, KEYS)
    state |= {f"evaluator.words.{name}": value for name, value in table.state_dict().items()}
    state |= read_statistics(
        meta or folder / META[skeleton.name], features,
        "the evaluator's own statistics, which differ from Mean.npy and Std.npy of the data set",
        "use the meta folder published with the weights, or name it by --meta",
    )  # fmt: skip
    options = {"features": features, "vocabulary": len(words), "learn_vectors": False}
    parts = {
        "evaluator": {"class_path": "realign.evaluators.GuoEvaluator", "init_args": options},
        "contrast": {"class_path": "realign.losses.MarginContrast"},
        "skeleton": skeleton.name,
    }
    config = {"class_path": "realign.tasks.EvaluatorTask", "init_args": parts}
    summary = f"evaluator of {skeleton.name}, {features} features per frame"
    return Imported(weights, config, state, KEYS, surplus, summary)


def read_weights(path: Path) -> Published:
    """State of the three encoders from `finest.tar`.

    Raises:
        InputError: The file is missing, damaged, contains code, or lacks one of the encoders.
    """
    return Published.read("guo", path, parts=PARTS)


def read_glove(folder: Path, width: int = 300) -> tuple[list[str], Float[Tensor, "V D"], Float[Tensor, "D"]]:
    """Words, their vectors, and the vector of unknown words.

    Raises:
        InputError: A file is missing or contains code, or the three do not belong together.
    """
    for name in GLOVE:
        _check_file(folder / name, "the word vectors")
    vectors, words, index = read_array(folder / GLOVE[0]), read_plain(folder / GLOVE[1]), read_plain(folder / GLOVE[2])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or not isinstance(index, dict):
        raise InputError(f"{folder / GLOVE[1]} must hold a list of words and {GLOVE[2]} their rows; copy them again.")
    if vectors.ndim != 2 or vectors.shape[1] != width or vectors.dtype.kind != "f" or not np.isfinite(vectors).all():
        raise InputError(
            f"{folder / GLOVE[0]} has shape {vectors.shape}, but vectors of {width} finite numbers are needed; "
            "use the published file."
        )
    rows = [index.get(word) for word in words]
    if _UNKNOWN not in index or not all(type(row) is int and 0 <= row < len(vectors) for row in rows):
        raise InputError(f"The files {', '.join(GLOVE)} in {folder} do not belong together; copy all three again.")
    table = torch.from_numpy(vectors.astype(np.float32))
    unique = dict(zip(words, rows, strict=True))
    return list(unique), table[list(unique.values())], table[index[_UNKNOWN]]


def read_plain(path: Path) -> Any:
    """Read a pickle of lists, dictionaries, strings and numbers.

    Raises:
        InputError: It names a class or function, or is damaged.
    """
    try:
        return _PlainUnpickler(io.BytesIO(path.read_bytes())).load()
    except InputError as error:
        raise InputError(f"{path} {error}") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise InputError(f"{path} is damaged or not a pickle; copy it again.") from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise InputError(f"asks for {module}.{name}, but pickled code is never executed; use the published file.")

    def persistent_load(self, pid: Any) -> Any:
        raise InputError("refers to external objects; use the published file.")


def _check_file(path: Path, what: str) -> None:
    if not path.is_file():
        raise InputError(f"There is no {path}, which holds {what}; see docs/evaluators.md for its place.")
