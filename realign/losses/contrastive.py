"""Contrastive losses between embeddings of motions and captions."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

_NEVER = -1e9  # removes a pair from the softmax; finite, so that gradients are not NaN


def near_duplicates(
    labels: Int[Tensor, "B"], features: Float[Tensor, "B D"] | None = None, threshold: float = 0.6
) -> Bool[Tensor, "B B"]:
    """Pairs of different samples with nearly the same caption, which are not negatives of each other.

    Args:
        labels: One number for every distinct caption; equal captions always count.
        features: Sentence embeddings of the captions, compared by cosine; not compared when None.
        threshold: Cosine above which two captions count as nearly the same.

    Returns:
        A symmetric matrix, False on the diagonal.
    """
    same = labels[:, None] == labels[None, :]
    if features is not None:
        near = _cosines(features, features) > threshold
        same = same | near | near.T  # float products are not always symmetric
    return same.fill_diagonal_(False)


def _cosines(left: Float[Tensor, "B E"], right: Float[Tensor, "B E"]) -> Float[Tensor, "B B"]:
    """All cosines, in float32 or wider also under autocast, since ranks depend on small differences."""
    with torch.autocast(left.device.type, enabled=False):
        wide = torch.promote_types(left.dtype, torch.float32)
        return F.normalize(left.to(wide), dim=-1) @ F.normalize(right.to(wide), dim=-1).T


def info_nce(
    text: Float[Tensor, "B E"],
    motion: Float[Tensor, "B E"],
    excluded: Bool[Tensor, "B B"] | None = None,
    temperature: float = 0.1,
) -> Float[Tensor, ""]:
    """Symmetric InfoNCE of matched rows (van den Oord et al. 2018, equation 4; TMR, equation 2).

    The mean over rows of the cross-entropy of s_ij = cos(text_i, motion_j) / temperature against j = i, averaged over
    both directions; excluded pairs are in no denominator.

    Args:
        text: Embeddings of captions.
        motion: Embeddings of their motions.
        excluded: Pairs that are not negatives; see `near_duplicates`.
        temperature: Divides the cosines.
    """
    scores = _cosines(text, motion) / temperature
    if excluded is not None:
        scores = scores.masked_fill(excluded, _NEVER)
    rows = torch.arange(len(scores), device=scores.device)
    return 0.5 * (F.cross_entropy(scores, rows) + F.cross_entropy(scores.T, rows))


def hard_negative_loss(
    text: Float[Tensor, "B E"],
    motion: Float[Tensor, "B E"],
    excluded: Bool[Tensor, "B B"] | None = None,
    top: int = 5,
    margin: float = 0.05,
    temperature: float = 0.1,
) -> Float[Tensor, ""]:
    """Ranks the match above the hardest negatives, in both directions.

    The mean over queries and over their `top` hardest negatives of softplus((s_wrong - s_true + margin) / temperature),
    s being cosines.

    Args:
        text: Embeddings of captions.
        motion: Embeddings of their motions.
        excluded: Pairs that are not negatives; see `near_duplicates`.
        top: Negatives of each query; all of them in a smaller batch.
        margin: Difference of cosines that the loss demands.
        temperature: Divides the differences; a smaller one weighs the hardest negatives more.
    """
    scores = _cosines(text, motion)
    never = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    if excluded is not None:
        never = never | excluded
    wrong, true = scores.masked_fill(never, _NEVER), scores.diagonal()[:, None]
    count = min(top, len(scores) - 1)
    losses = [
        F.softplus((each.topk(count).values - true + margin) / temperature).mean() if count > 0 else each.sum() * 0
        for each in (wrong, wrong.T)
    ]
    return (losses[0] + losses[1]) / 2
