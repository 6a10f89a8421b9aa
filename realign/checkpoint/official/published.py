"""Published files: weights by their published names, options and statistics beside them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from realign.checkpoint.official import KINDS
from realign.checkpoint.official.key_map import KeyMap
from realign.checkpoint.tensors import read_tensors
from realign.errors import InputError
from realign.files import load_npy
from realign.motion.skeleton import HUMANML3D, KIT, Skeleton

_SHOWN = 3  # names in an error


class Published:
    """The weights of a published file.

    Args:
        kind: The expected kind, one of `KINDS`.
        path: Its path.
        state: Its weights by their published names.
    """

    def __init__(self, kind: str, path: Path, state: Mapping[str, Tensor]) -> None:
        self.kind, self.path, self.state = kind, path, dict(state)

    @classmethod
    def read(cls, kind: str, path: Path, nests: Sequence[str] = (), parts: Sequence[str] = ()) -> "Published":
        """Read a file of ``torch.save``; anything in it that is not a tensor is left out and never executed.

        Args:
            kind: The expected kind.
            path: The file.
            nests: Names under which the weights may be: the first that exists is used, else the whole file.
            parts: Names under each of which the file has some weights; they become prefixes of the weights' names.

        Raises:
            InputError: It is missing, damaged, contains code, or holds no weights.
        """
        if not path.is_file():
            raise InputError(f"There is no file {path}; give the published checkpoint of {kind}.")
        content = read_tensors(path, f"checkpoint of {kind}", "use the published file", old=True)
        nest = next((name for name in nests if isinstance(content, Mapping) and name in content), None)
        weights = content if nest is None else content[nest]
        names = dict(_items(weights))
        lacking = [part for part in parts if not _tensors(names.get(part))]
        if lacking:
            raise cls(kind, path, _tensors(content)).misfit(lacking, [], [])
        inner = [(f"{part}.", names[part]) for part in parts] if parts else [("", weights)]
        tensors = {before + name: each for before, within in inner for name, each in _tensors(within).items()}
        if not tensors:
            found = [str(name) for name in content] if isinstance(content, Mapping) else []
            raise InputError(
                f"{path} holds no weights{f' under {nest}' if nest else ''} but {few(found)}; give the published "
                f"checkpoint of {kind}{_looks_like(kind, _names(content))}."
            )
        return cls(kind, path, tensors)

    def shape(self, name: str, dims: int = 2) -> tuple[int, ...]:
        """Shape of a weight.

        Raises:
            InputError: There is no such weight with this number of dimensions.
        """
        if name not in self.state or self.state[name].dim() != dims:
            raise self.misfit([] if name in self.state else [name], [], [name] if name in self.state else [])
        return tuple(self.state[name].shape)

    def count(self, pattern: str) -> int:
        """Number of layers of a stack: how many numbers from 0 on the ``*`` of a weight's name takes.

        Raises:
            InputError: There are none.
        """
        number = 0
        while pattern.replace("*", str(number)) in self.state:
            number += 1
        if not number:
            raise self.misfit([pattern.replace("*", "0")], [], [])
        return number

    def skeleton(self, features: int) -> Skeleton:
        """The skeleton whose motions have this many features.

        Raises:
            InputError: There is none.
        """
        for skeleton in (HUMANML3D, KIT):
            if skeleton.num_features == features:
                return skeleton
        raise InputError(
            f"{self.path} makes {features} features per frame, but motions of HumanML3D have {HUMANML3D.num_features} "
            f"and of KIT-ML {KIT.num_features}; give a checkpoint of one of them."
        )

    def misfit(self, lacking: Sequence[str], surplus: Sequence[str], misshapen: Sequence[str]) -> InputError:
        """The error for a file whose weights are not those of its kind, with their published names.

        Args:
            lacking: Missing weights.
            surplus: Additional weights.
            misshapen: Weights of another shape.
        """
        faults = [
            *([f"it lacks {few(lacking)}"] if lacking else []),
            *([f"it holds {few(surplus)} too many"] if surplus else []),
            *([f"{few(misshapen)} {'have' if len(misshapen) > 1 else 'has'} another shape"] if misshapen else []),
        ]
        return InputError(
            f"{self.path} is not a checkpoint of {self.kind} as published: {' and '.join(faults)}; "
            f"give the published file{_looks_like(self.kind, list(self.state))}."
        )


def few(names: Sequence[str]) -> str:
    """The number of names and the first of them."""
    if len(names) == 1:
        return names[0]
    rest = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} names ({', '.join(names[:_SHOWN])}{rest})" if names else "nothing"


def beside(file: Path, given: Path | None, name: str) -> Path:
    """A file of this name beside a published one, unless another path is given."""
    return file.parent / name if given is None else given


def read_options(path: Path, option: str) -> dict[str, Any]:
    """The hyper-parameters of an ``args.json``.

    Args:
        path: The file.
        option: The option of the command for it.

    Raises:
        InputError: It is missing or damaged.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"There is no {path}, which holds the hyper-parameters; give it by {option}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON; copy it again or give another file by {option}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no names with values; give the published file by {option}.")
    return content


def read_statistics(
    folder: Path, features: int, what: str, remedy: str
) -> dict[str, Float[Tensor, "C"] | Float[Tensor, ""]]:
    """Mean and standard deviation of motion features in a folder, as weights of a `Normalizer` called ``normalizer``.

    Args:
        folder: Folder with Mean.npy and Std.npy, or mean.npy and std.npy, or mean.pt and std.pt.
        features: Their width.
        what: Their description for errors.
        remedy: Their origin for errors.

    Raises:
        InputError: A file is missing, unreadable, or of another width.
    """
    found = []
    for capital, name in (("Mean", "mean"), ("Std", "std")):
        names = (f"{capital}.npy", f"{name}.npy", f"{name}.pt")
        path = next((folder / each for each in names if (folder / each).is_file()), None)
        if path is None:
            raise InputError(f"There is no {names[0]} or {names[1]} in {folder}, which holds {what}; {remedy}.")
        array = read_array(path)
        if array.shape != (features,) or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise InputError(f"{path} has shape {array.shape}, but {features} finite values are needed; {remedy}.")
        found.append(torch.from_numpy(array.astype(np.float32)))
    mean, std = found
    if not bool((std > 0).all()):
        raise InputError(f"The deviations in {folder} hold values that are not above 0; {remedy}.")
    return statistics_state(mean, std)


def read_array(path: Path) -> np.ndarray:
    """The array of a .npy file, or the tensor of one of ``torch.save``."""
    if path.suffix == ".pt":
        tensor = read_tensors(path, "tensor of numbers", "copy it again")
        return tensor.numpy() if isinstance(tensor, Tensor) else np.asarray(None)
    try:
        return load_npy(path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not an array of numbers, or is cut short; copy it again.") from error


def statistics_state(mean: Float[Tensor, "C"], std: Float[Tensor, "C"]) -> dict[str, Tensor]:
    """Weights of a `Normalizer` called ``normalizer``."""
    return {"normalizer.mean": mean, "normalizer.std": std.clamp(min=1e-6), "normalizer.fitted": torch.tensor(True)}


def merge(published: Published, keys: KeyMap) -> tuple[dict[str, Tensor], list[str]]:
    """Weights in float32 under the names of this package, and the published names without a counterpart."""
    renamed, surplus = keys.rename(published.state)
    return {name: each.float() if each.is_floating_point() else each for name, each in renamed.items()}, surplus


def _items(content: Any) -> list[tuple[str, Any]]:
    pairs = content.items() if isinstance(content, Mapping) else ()
    return [(name, each) for name, each in pairs if isinstance(name, str)]


def _tensors(content: Any) -> dict[str, Tensor]:
    return {name: each for name, each in _items(content) if isinstance(each, Tensor)}


def _names(content: Any) -> list[str]:
    """Names of weights anywhere in a file."""
    names = []
    for name, each in _items(content):
        names += [f"{name}.{inner}" for inner in _names(each)] if isinstance(each, Mapping) else [name]
    return names


def _looks_like(kind: str, names: Sequence[str]) -> str:
    """The end of an error message: the kinds whose files look like this one."""
    others = [other for other, sign in KINDS.items() if other != kind and any(name.endswith(sign) for name in names)]
    return f", or import this one as {' or '.join(others)}, which it looks like" if others else ""
