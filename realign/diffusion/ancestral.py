"""Ancestral steps as most published programs take them, from tables in double precision."""

from collections.abc import Callable

from torch import Tensor

from realign.diffusion.prediction import Level, PredictionType, to_sample
from realign.diffusion.solver import Evaluation, Solver


class AncestralSolver(Solver):
    """x_s ~ q(x_s | x_t, x_0) with its own variance (Ho et al. 2020, equations 6 and 7), whatever lies between t and s.

    The schedulers of diffusers round their tables to float32 before they take 1 - abar, which loses digits where there
    is little noise.

    Args:
        timesteps: Those to visit, the noisiest first.
        abar: Fraction of signal variance at each.
        kind: What the model predicts.
    """

    def __init__(self, timesteps: list[int], abar: list[float], kind: PredictionType) -> None:
        self.steps, self.kind = len(timesteps), kind
        levels = [*map(Level.of, abar), Level(1.0, 0.0)]
        self.evaluations = [Evaluation(t, levels[i], levels[i + 1], i) for i, t in enumerate(timesteps)]
        self.moments = [posterior(now, after) for now, after in zip(abar, [*abar[1:], 1.0], strict=True)]

    def step(self, index: int, output: Tensor, x: Tensor, draw: Callable[[int], Tensor]) -> Tensor:
        """One draw of the posterior; its mean at the last step."""
        of_clean, of_noisy, variance = self.moments[index]
        mean = of_clean * to_sample(output, x, self.evaluations[index].level, self.kind) + of_noisy * x
        return mean + variance**0.5 * draw(1) if variance else mean

    def check_update(self, update: str) -> None:
        """Every update has a place here: nothing is remembered between steps."""


def posterior(now: float, after: float) -> tuple[float, float, float]:
    """Factors of clean and noisy sample in the mean of q(x_s | x_t, x_0), and its variance, from abar_t and abar_s."""
    kept = now / after  # 1 - beta
    of_clean, of_noisy = after**0.5 * (1 - kept) / (1 - now), kept**0.5 * (1 - after) / (1 - now)
    return of_clean, of_noisy, (1 - after) / (1 - now) * (1 - kept)
