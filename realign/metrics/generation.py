"""The measures of generated motions of Guo et al. (CVPR 2022), from the embeddings of an evaluator, in float64.

R-precision and MM-Dist compare motions with their captions, FID with real motions, Diversity and MModality with one
another.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from realign.errors import InputError
from realign.precision import double, widest

TOP = (1, 2, 3)


def matching_batches(count: int, size: int = 32, seed: int = 0) -> Int[Tensor, "K S"]:
    """Positions of the floor(count / size) batches that R-precision ranks in, shuffled; the rest is left out.

    Raises:
        InputError: Fewer samples than one batch takes.
    """
    if count < size:
        raise InputError(
            f"{count} motions do not fill one batch of {size}, in which R-precision ranks; evaluate at least {size}."
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[: count // size * size].reshape(-1, size)


def euclidean_distances(x: Float[Tensor, "*B N E"], y: Float[Tensor, "*B M E"]) -> Float[Tensor, "*B N M"]:
    """Euclidean distance of every row of x from every row of y.

    |x|^2 + |y|^2 - 2 x.y in float64: what cancellation leaves of equal rows, negative or not, is 0, never NaN. The
    result is rounded to float32, so that equal distances are equal wherever they stand in the matrix.
    """
    x, y = double(x), double(y)
    scale = x.norm(dim=-1).square()[..., :, None] + y.norm(dim=-1).square()[..., None, :]
    squared = scale - 2 * (x @ y.mT)
    return squared.masked_fill(squared < 1e-13 * scale, 0).sqrt().float()


def r_precision(
    distances: Float[Tensor, "*B S S"], same: Bool[Tensor, "*B S S"] | None = None, top: tuple[int, ...] = TOP
) -> Float[Tensor, "K"]:
    """Fraction of captions with a right motion among the k nearest ones of its batch, for every k of `top`.

    Of equal distances, every order counts as equally likely, and the result is the expectation over these orders. Of e
    motions at the distance of the nearest right one, p of them right, after g nearer ones, none of the first s = k - g
    is right with probability prod_{j < s} (e - p - j) / (e - j).

    Args:
        distances: Captions in rows, motions in columns; row i describes motion i.
        same: True where a motion is right, too, such as one with an identical caption.
        top: The values of k.
    """
    right = torch.eye(distances.shape[-1], dtype=torch.bool, device=distances.device).expand_as(distances)
    right = right if same is None else right | same.to(right.device)  # distances may have been moved to the CPU
    nearest = distances.masked_fill(~right, torch.inf).amin(-1, keepdim=True)
    nearer = (distances < nearest).sum(-1)
    tied = distances == nearest
    equal, hits = tied.sum(-1), (tied & right).sum(-1)
    fractions = []
    for k in top:
        missed = torch.ones(nearer.shape, dtype=widest(distances.device), device=distances.device)
        for j in range(k):
            # beyond the last of the equal ones the probability is 0, since one of them is right
            step = (equal - hits - j).clamp(min=0) / (equal - j).clamp(min=1)
            missed = torch.where(j < k - nearer, missed * step, missed)
        fractions.append(1 - missed.mean())
    return torch.stack(fractions)


def mm_dist(text: Float[Tensor, "N E"], motion: Float[Tensor, "N E"]) -> Float[Tensor, ""]:
    """Mean Euclidean distance of motions from their own captions."""
    return (double(text) - double(motion)).norm(dim=-1).mean()


@dataclass(frozen=True)
class Gaussian:
    """Mean and covariance of a set of embeddings, the latter as a factor A with covariance A A^T.

    Attributes:
        mean: The mean.
        factor: A: as many columns as the set has samples, at most as many as it has dimensions.
    """

    mean: Float[Tensor, "E"]
    factor: Float[Tensor, "E R"]

    @classmethod
    def of(cls, x: Float[Tensor, "N E"]) -> "Gaussian":
        """The Gaussian of a set.

        Raises:
            InputError: Fewer than two samples, which have no covariance.
        """
        mean, centred = _centred(x)
        if len(centred) <= centred.shape[1]:
            return cls(mean, centred.T)
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        return cls(mean, vectors * values.clamp(min=0).sqrt())


def frechet_distance(real: Gaussian, x: Float[Tensor, "N E"]) -> Float[Tensor, ""]:
    """Fréchet distance of two Gaussians, |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) (Heusel et al. 2017, eq. 6).

    With S1 = A A^T and S2 = B B^T, the trace of the square root of S1 S2 is the sum of the singular values of A^T B,
    and of the roots of the eigenvalues of A^T S2 A. The first is exact also for fewer samples than dimensions, where
    the product of the covariances is singular; the second is faster for large sets. Neither takes a complex root.

    Args:
        real: The set compared with; it can be kept for many comparisons.
        x: Embeddings of the other set.

    Raises:
        InputError: The widths differ, or fewer than two samples.
    """
    mean, centred = _centred(x)
    if mean.shape != real.mean.shape:
        raise InputError(
            f"The motions compared with have {len(real.mean)} dimensions, but these {len(mean)}; embed both with the "
            "same evaluator."
        )
    factor = real.factor.to(centred)
    if len(centred) <= centred.shape[1]:
        overlap, total = torch.linalg.svdvals(centred @ factor).sum(), centred.square().sum()
    else:
        covariance = centred.T @ centred
        roots = torch.linalg.eigvalsh(factor.T @ covariance @ factor)
        overlap, total = roots.clamp(min=0).sqrt().sum(), covariance.trace()
    return (mean - real.mean.to(mean)).square().sum() + factor.square().sum() + total - 2 * overlap


def diversity(x: Float[Tensor, "N E"], pairs: int = 300, seed: int = 0) -> Float[Tensor, ""]:
    """Mean distance between two random draws of `pairs` samples each, without replacement; of all if there are fewer.

    Args:
        x: Embeddings of motions.
        pairs: Pairs of motions.
        seed: Of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    x = double(x)
    one, other = (torch.randperm(len(x), generator=generator)[:pairs].to(x.device) for _ in range(2))
    return (x[one] - x[other]).norm(dim=-1).mean()


def multimodality(x: Float[Tensor, "P S E"], pairs: int = 10, seed: int = 0) -> Float[Tensor, ""]:
    """Mean distance between two random draws of `pairs` among the S motions of a caption, over P captions.

    Args:
        x: Embeddings of S motions for each caption.
        pairs: Pairs a caption, the same ones for all.
        seed: Of the draws.

    Raises:
        InputError: More pairs than motions.
    """
    if pairs > x.shape[1]:
        raise InputError(
            f"{pairs} pairs cannot be drawn from {x.shape[1]} motions a caption; draw fewer or make more motions."
        )
    generator = torch.Generator().manual_seed(seed)
    x = double(x)
    one, other = (torch.randperm(x.shape[1], generator=generator)[:pairs].to(x.device) for _ in range(2))
    return (x[:, one] - x[:, other]).norm(dim=-1).mean()


def _centred(x: Float[Tensor, "N E"]) -> tuple[Float[Tensor, "E"], Float[Tensor, "N E"]]:
    """Mean, and C with covariance C^T C."""
    if len(x) < 2:
        raise InputError(f"{len(x)} motions have no covariance to compare; evaluate at least 2.")
    x = double(x)
    mean = x.mean(0)
    return mean, (x - mean).div_((len(x) - 1) ** 0.5)
