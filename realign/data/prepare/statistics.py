"""Mean and standard deviation of a prepared set."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realign.motion.layout import mirror_features
from realign.motion.normalizer import grouped_std
from realign.motion.skeleton import Skeleton

_ROWS = 1 << 16


def dataset_statistics(
    features: NDArray[np.float32], clips: NDArray[np.void], skeleton: Skeleton, symmetric: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and grouped standard deviation over the train split, or over all clips without one.

    Args:
        features: (total frames, C).
        clips: Table of clips.
        skeleton: Skeleton of the features.
        symmetric: Include the mirror images, from which training draws too.

    Returns:
        Mean and standard deviation (C,); the latter is averaged in each feature group.
    """
    train = clips[(clips["splits"] & 1) > 0]
    rows = train if len(train) else clips
    if (rows["part"] == 0).any():
        rows = rows[rows["part"] == 0]  # frames of parts would count twice
    total = np.zeros(features.shape[1])
    squares, frames = np.zeros_like(total), 0
    for start, length in zip(rows["start"].tolist(), rows["frames"].tolist(), strict=True):
        x = features[start : start + length].astype(np.float64)
        total += x.sum(0)
        squares += np.einsum("fc,fc->c", x, x)
        frames += length
    mean, second = torch.from_numpy(total / frames)[None], torch.from_numpy(squares / frames)[None]
    if symmetric:
        mean = (mean + mirror_features(mean, skeleton)) / 2
        second = (second + mirror_features(second, skeleton).abs()) / 2
    std = (second - mean.square()).clamp(min=0).sqrt()[0]
    return mean[0].float().numpy(), _grouped(std.float(), skeleton)


def published_statistics(
    features: NDArray[np.float32], short: Sequence[NDArray[np.float32]], skeleton: Skeleton
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and grouped standard deviation as HumanML3D's program computes them.

    It uses the clips of every split and length, and adds their rows one by one in float32. Its rounding errors show in
    the published values: over 4 million rows they differ by up to 0.2 % from exact ones.

    Args:
        features: (total frames, C) of all clips.
        short: Features of clips that are too short to be stored.
        skeleton: Skeleton of the features.

    Returns:
        Mean and standard deviation (C,); the latter is averaged in each feature group.
    """

    def added(change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> NDArray[np.float32]:
        total = np.zeros((1, features.shape[1]), dtype=np.float32)
        for part in (features, *short):
            for begin in range(0, len(part), _ROWS):
                rows = change(part[begin : begin + _ROWS])
                total = np.concatenate([total, rows]).sum(axis=0, keepdims=True)  # this axis is summed row by row
        return total[0]

    count = np.float32(len(features) + sum(map(len, short)))
    mean = added(lambda rows: rows) / count
    std = np.sqrt(added(lambda rows: np.square(rows - mean)) / count)
    return mean, _grouped(torch.from_numpy(std), skeleton)


def _grouped(std: Tensor, skeleton: Skeleton) -> NDArray[np.float32]:
    """Deviations averaged in each group; a group that never changes, such as contacts in a jump, gets 1."""
    grouped = grouped_std(std, skeleton)
    grouped[grouped < 1e-6] = 1.0
    return np.asarray(grouped.numpy())
