"""Probabilities from scores: logistic regression, and how well probabilities agree with what is right."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from realign.errors import InputError

_STEPS, _RIDGE = 100, 1e-6


@dataclass(frozen=True)
class Logistic:
    """The probability 1 / (1 + exp(-(x @ weights + offset))).

    Attributes:
        weights: One for each of K values.
        offset: Added to the weighted sum.
    """

    weights: tuple[float, ...]
    offset: float

    @classmethod
    def fit(
        cls, values: Float[np.ndarray, "N K"], right: Bool[np.ndarray, "N"], sizes: Float[np.ndarray, "N"] | None = None
    ) -> "Logistic":
        """Fit by maximum likelihood, with Platt's targets, which keep the slope finite if no score is ambiguous.

        Args:
            values: K values of N examples.
            right: Which examples are right.
            sizes: How much each example counts; 1 when None.

        Raises:
            InputError: All examples are right, or none is.
        """
        right = np.asarray(right, bool)
        count = int(right.sum())
        if not 0 < count < len(right):
            raise InputError(
                f"{count} of {len(right)} examples are right, which teaches no probability; give some of both."
            )
        sizes = np.ones(len(right)) if sizes is None else np.asarray(sizes, np.float64)
        target = np.where(right, (count + 1) / (count + 2), 1 / (len(right) - count + 2))  # Platt 1999, section 2.2
        values = np.asarray(values, np.float64)
        middle, spread = values.mean(0), np.maximum(values.std(0), 1e-6)
        x = np.concatenate([(values - middle) / spread, np.ones((len(right), 1))], 1)
        beta = _newton(x, target, sizes / sizes.sum())
        weights = beta[:-1] / spread
        return cls(tuple(weights.tolist()), float(beta[-1] - weights @ middle))

    def __call__(self, values: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N"]:
        """Probabilities of N examples."""
        logits = np.asarray(values, np.float64) @ np.array(self.weights) + self.offset
        return _sigmoid(logits)

    def plain(self) -> dict[str, Any]:
        """As plain values for a JSON file."""
        return {"weights": list(self.weights), "offset": self.offset}

    @classmethod
    def of(cls, plain: Any, count: int) -> "Logistic":
        """What `plain` gave.

        Args:
            plain: The values read.
            count: How many weights there must be.

        Raises:
            ValueError: They are not finite numbers.
        """
        given = plain if isinstance(plain, Mapping) else {}
        weights = given.get("weights")
        numbers = [*(weights if isinstance(weights, list) else []), given.get("offset")]
        if len(numbers) != count + 1 or not all(type(n) in (int, float) and np.isfinite(n) for n in numbers):
            raise ValueError(f"{plain!r} does not hold {count} weights and an offset")
        return cls(tuple(map(float, numbers[:-1])), float(numbers[-1]))


def _newton(x: np.ndarray, target: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Newton's method with steps that are halved until the loss falls."""
    beta = np.zeros(x.shape[1])
    ridge = _RIDGE * np.diag([*np.ones(x.shape[1] - 1), 0.0])

    def loss(beta: np.ndarray) -> float:
        z = x @ beta
        return float((sizes * (np.logaddexp(0, z) - target * z)).sum() + beta @ ridge @ beta / 2)

    for _ in range(_STEPS):
        p = _sigmoid(x @ beta)
        gradient = x.T @ (sizes * (p - target)) + ridge @ beta
        hessian = (x * (sizes * p * (1 - p))[:, None]).T @ x + ridge
        step, before = np.linalg.lstsq(hessian, gradient, rcond=None)[0], loss(beta)
        while np.abs(step).max() > 1e-10 and loss(beta - step) > before:
            step = step / 2
        beta = beta - step
        if np.abs(step).max() < 1e-9:
            break
    return beta


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -z))


def auroc(positive: Float[np.ndarray, "N"], negative: Float[np.ndarray, "K"]) -> float:
    """The probability that a positive scores above a negative; ties count half.

    Examples:
        >>> auroc(np.array([0.9, 0.5]), np.array([0.5, 0.1]))
        0.875
    """
    negative = np.sort(negative)
    below, upto = (np.searchsorted(negative, positive, side) for side in ("left", "right"))
    return float((below + upto).mean() / 2 / len(negative))


@dataclass(frozen=True)
class Bin:
    """Examples whose probability lies between two bounds.

    Attributes:
        told: Their mean probability.
        right: The fraction of them that is right.
        size: Their fraction of all examples.
    """

    told: float
    right: float
    size: float


def reliability(
    told: Float[np.ndarray, "N"],
    right: Bool[np.ndarray, "N"],
    sizes: Float[np.ndarray, "N"] | None = None,
    bins: int = 10,
) -> list[Bin]:
    """Examples by probability, in bins of equal width; empty bins are left out.

    Args:
        told: Probabilities.
        right: Which examples are right.
        sizes: How much each example counts; 1 when None.
        bins: Their number.
    """
    sizes = np.ones(len(told)) if sizes is None else np.asarray(sizes, np.float64)
    numbers = np.minimum((np.asarray(told) * bins).astype(int), bins - 1)
    found = []
    for number in np.unique(numbers):
        inside = numbers == number
        part = sizes[inside]
        found.append(
            Bin(
                float(np.average(told[inside], weights=part)),
                float(np.average(right[inside], weights=part)),
                float(part.sum() / sizes.sum()),
            )
        )
    return found


def calibration_error(curve: list[Bin]) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3): the mean distance of probability and fraction."""
    return sum(each.size * abs(each.told - each.right) for each in curve)
