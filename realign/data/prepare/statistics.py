"""Mean and standard deviation of a prepared set."""

import numpy as np
import torch
from numpy.typing import NDArray

from realign.motion.layout import mirror_features
from realign.motion.normalizer import grouped_std
from realign.motion.skeleton import Skeleton


def dataset_statistics(
    features: NDArray[np.float32], clips: NDArray[np.void], skeleton: Skeleton, symmetric: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and grouped standard deviation over the train split, or over all clips where there is none.

    Args:
        features: (total frames, C).
        clips: Table of clips.
        skeleton: Whose features.
        symmetric: Over the motions and their mirror images, which training draws from too.

    Returns:
        Mean and standard deviation (C,); the latter is averaged in each feature group.
    """
    train = clips[(clips["splits"] & 1) > 0]
    rows = train if len(train) else clips
    if (rows["part"] == 0).any():
        rows = rows[rows["part"] == 0]  # parts lie within, and would count twice
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
    grouped = grouped_std(std.float(), skeleton)
    grouped[grouped < 1e-6] = 1.0  # a group that never changes, as contacts in a clip of jumps, stays as it is
    return mean[0].float().numpy(), grouped.numpy()
