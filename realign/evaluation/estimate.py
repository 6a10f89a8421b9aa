"""Means over replications with 95 % intervals: the papers' and Student's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

PUBLISHED = 20
"""From this number of replications on, a row shows the papers' interval: published tables take 20."""
METHODS = {"papers": "papers' interval, 1.96 s/sqrt(n)", "student": "Student's t"}
Method = Literal["papers", "student"]


@dataclass(frozen=True)
class Estimate:
    """A mean over replications.

    Attributes:
        mean: The mean.
        interval: Half the width of its 95 % interval; None for one replication, which shows no spread.
        method: How the interval was taken, a key of `METHODS`; None where there is none.
    """

    mean: float
    interval: float | None = None
    method: Method | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.mean:.3g}" + (f" ± {self.interval:.2g}" if self.interval is not None else "")

    @classmethod
    def of(cls, values: Sequence[float], difference: bool = False) -> "Estimate":
        """That of at least one value.

        From 20 values on, as in published tables, the interval is the papers': 1.96 std / sqrt(n) with the population's
        std. It would cover only 61 % for n = 2 and 85 % for n = 5. Fewer values, and differences of any number, get
        Student's t with the sample's std, which covers 95 % for Gaussian values and every n.

        Args:
            values: One a replication.
            difference: They are differences between two rows.
        """
        n, mean = len(values), math.fsum(values) / len(values)
        if n == 1:
            return cls(mean)
        squares = math.fsum((value - mean) ** 2 for value in values)
        if n >= PUBLISHED and not difference:
            return cls(mean, 1.96 * math.sqrt(squares / n / n), "papers")
        return cls(mean, student_quantile(n - 1) * math.sqrt(squares / (n - 1) / n), "student")


@cache
def student_quantile(freedom: int, probability: float = 0.975) -> float:
    """Quantile of Student's t distribution, to the precision of floating point, by bisection of the angle.

    Args:
        freedom: Degrees of freedom, at least 1.
        probability: Above 0.5, below 1.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(64):
        middle = (low + high) / 2
        if _within(middle, freedom) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return math.tan((low + high) / 2) * math.sqrt(freedom)


def _within(angle: float, freedom: int) -> float:
    """Probability that |t| < sqrt(freedom) tan(angle), the finite sums of Abramowitz and Stegun 26.7.3 and 26.7.4."""
    odd, sine, cosine = freedom % 2, math.sin(angle), math.cos(angle)
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= (k - 1) / k * cosine * cosine
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
