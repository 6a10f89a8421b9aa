"""Published checkpoints in synthetic weights, and the outputs of the original programs on them.

The folder named by REALIGN_OFFICIAL holds for every peer ``spec_PEER.json`` (names, shapes, nesting of its files) and
``golden_PEER.npz`` (inputs and outputs of the original code). A weight is a function of its name and shape alone.
"""

import copy
import json
import math
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

TOLERANCE = 2e-5  # of the largest magnitude of an array
DEVIATIONS: dict[str, float] = {}
"""Largest deviation of every array that was compared in this run, in its largest magnitude, by "peer key"."""


def official_folder() -> Path:
    """The folder of specifications and reference outputs; the test is skipped where it is absent."""
    beside = Path(__file__).parents[3] / "shared" / "reference" / "official"
    folder = Path(os.environ.get("REALIGN_OFFICIAL", beside))
    if not folder.is_dir():
        pytest.skip(f"no specifications of published checkpoints at {folder}; set REALIGN_OFFICIAL to their folder")
    return folder


def read_spec(peer: str) -> dict[str, Any]:
    """The specification of a peer."""
    path = official_folder() / f"spec_{peer}.json"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    return json.loads(path.read_text("utf-8"))


def fill(name: str, shape: tuple[int, ...]) -> Tensor:
    """The values of a weight: normal noise seeded by its name, around 1 for scales of norms."""
    noise = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).standard_normal(shape) * 0.05
    if len(shape) == 1 and "norm" in name and name.endswith("weight"):
        noise = noise + 1.0
    return torch.from_numpy(np.asarray(noise, np.float32).reshape(shape))


def position_table(shape: tuple[int, int, int]) -> Tensor:
    """Rows of sines in even and cosines in odd columns."""
    rows, _, width = shape
    rate = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
    angle = torch.arange(rows).float()[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], -1).reshape(rows, 1, width)


def weights_of(file: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of one file of a specification."""
    found = {}
    for row in file["tensors"]:
        shape = tuple(row["shape"])
        if row.get("formula") == "sinusoidal":
            found[row["key"]] = position_table(shape)
        else:
            found[row["key"]] = fill(row.get("tied_to") or row.get("fill_key") or row["key"], shape)
    return found


def content_of(file: Mapping[str, Any]) -> dict[str, Any]:
    """What ``torch.save`` wrote into one file."""
    weights, nests = weights_of(file), file.get("nest", [])
    return {**file.get("extra", {}), **{nest: dict(weights) for nest in nests}} if nests else weights


def write_published(variant: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the files of a variant under their published names; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for file in variant["files"]:
        torch.save(content_of(file), folder / file["name"])
        paths.append(folder / file["name"])
    return paths


def write_statistics(folder: Path, features: int, names: tuple[str, str] = ("Mean.npy", "Std.npy")) -> Path:
    """A folder of some mean and deviation."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.RandomState(features)
    np.save(folder / names[0], rng.standard_normal(features).astype(np.float32))
    np.save(folder / names[1], rng.uniform(0.5, 2, features).astype(np.float32))
    return folder


class Draws:
    """What an original program drew, in order of use.

    Args:
        seed: Of ``numpy.random.RandomState``.
        shape: Of every draw, as the original had its axes.
        turn: Brings a draw to (B, N, W).
    """

    def __init__(self, seed: int, shape: Sequence[int], turn: Callable[[Tensor], Tensor] = lambda noise: noise) -> None:
        self.state, self.shape, self.turn, self.drawn = np.random.RandomState(int(seed)), tuple(shape), turn, 0

    def __call__(self, *place: int) -> Tensor:
        """The next one, as `Sampler.sample` takes it by `draw`."""
        self.drawn += 1
        return self.turn(torch.from_numpy(self.state.standard_normal(self.shape).astype(np.float32)))


class Golden:
    """Inputs and outputs of an original program.

    Args:
        peer: Whose.
    """

    def __init__(self, peer: str) -> None:
        path = official_folder() / f"golden_{peer}.npz"
        if not path.is_file():
            pytest.skip(f"there is no {path}")
        self.peer, self.arrays = peer, dict(np.load(path))

    def under(self, group: str) -> "Golden":
        """The arrays of a group by the rest of their keys; those that it lacks are shared with the others."""
        found = copy.copy(self)
        found.peer = f"{self.peer} {group}"
        own = {key.removeprefix(f"{group}/"): each for key, each in self.arrays.items() if key.startswith(f"{group}/")}
        shared = {key: each for key, each in self.arrays.items() if key in ("clip_tokens", "eot_index", "lengths")}
        found.arrays = shared | own
        return found

    def without(self, groups: Sequence[str]) -> "Golden":
        """The arrays of no such group."""
        found = copy.copy(self)
        found.arrays = {key: each for key, each in self.arrays.items() if key.partition("/")[0] not in groups}
        return found

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(self.arrays[key])

    def number(self, key: str) -> int:
        """A single number."""
        return int(self.arrays[key])

    def keys(self, start: str = "", part: str = "") -> list[str]:
        """Keys that begin so and hold this part."""
        return [key for key in self.arrays if key.startswith(start) and part in key]

    def compare(self, key: str, found: Tensor, tolerance: float = TOLERANCE) -> None:
        """Assert that an output is the original's."""
        wanted = torch.from_numpy(self.arrays[key]).double()
        assert found.shape == wanted.shape, f"{key}: {tuple(found.shape)} instead of {tuple(wanted.shape)}"
        largest = max(float(wanted.abs().max()), 1e-30)
        deviation = float((found.double() - wanted).abs().max()) / largest
        name = f"{self.peer} {key}"
        DEVIATIONS[name] = max(DEVIATIONS.get(name, 0.0), deviation)
        assert deviation <= tolerance, f"{key} deviates by {deviation:.2g} of its largest magnitude"


@cache
def golden(peer: str) -> Golden:
    """The outputs of a peer's original program, read once."""
    return Golden(peer)
