"""Sampling of latent consistency models: one or a few steps, with fresh noise between them (Luo et al. 2023)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from realign.diffusion.prediction import Level, PredictionType, to_sample
from realign.diffusion.solver import Evaluation, Solver
from realign.errors import InputError

_SIGMA_DATA, _TIME_SCALE = 0.5, 10.0


@dataclass(frozen=True)
class LCMSteps:
    """Timesteps and guidance scales of a consistency model, by the number of steps.

    Attributes:
        original_steps: Steps of the solver that the model was distilled from: the timesteps to choose among.
        timesteps: Timesteps for some numbers of steps, one list for each; all others are spread evenly.
        scales: Guidance scales for the same numbers of steps, where each was published with its own.
    """

    original_steps: int = 50
    timesteps: list[list[int]] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)

    def check(self, trained: int) -> None:
        """Refuse numbers that do not make a schedule.

        Args:
            trained: Timesteps of the noise trained with.

        Raises:
            InputError: As said.
        """
        if not 1 <= self.original_steps <= trained:
            raise InputError(f"original_steps={self.original_steps} must be between 1 and the {trained} trained with.")
        for each in self.timesteps:
            if not each or not all(0 <= t < trained for t in each) or sorted(each, reverse=True) != each:
                raise InputError(f"The timesteps {each} must go down from at most {trained - 1} to at least 0.")
        if self.scales and len(self.scales) != len(self.timesteps):
            raise InputError(
                f"{len(self.scales)} scales are given for {len(self.timesteps)} lists of timesteps; give one for each."
            )

    def schedule(self, steps: int, trained: int) -> list[int]:
        """Timesteps of a number of steps.

        Raises:
            InputError: There are more steps than timesteps to choose among.
        """
        for each in self.timesteps:
            if len(each) == steps:
                return each
        if not 1 <= steps <= self.original_steps:
            raise InputError(
                f"Cannot sample in {steps} steps; choose 1 to {self.original_steps}, the steps that the model was "
                "distilled from."
            )
        spacing = trained // self.original_steps
        return [spacing * (self.original_steps - i * self.original_steps // steps) - 1 for i in range(steps)]

    def scale(self, steps: int) -> float | None:
        """Guidance scale of a number of steps; None if it has no scale of its own."""
        counts = [len(each) for each in self.timesteps]
        return self.scales[counts.index(steps)] if self.scales and steps in counts else None


class LCMSolver(Solver):
    """A clean sample at every step, and noise of the next timestep added to it (Luo et al. 2023, algorithm 3).

    Steps are identified by number, since a schedule may name a timestep twice.

    Args:
        timesteps: Timesteps at which the model is called.
        alphas_cumprod: The table abar of the noise trained with.
        kind: What the model predicts.
    """

    def __init__(self, timesteps: Sequence[int], alphas_cumprod: Tensor, kind: PredictionType) -> None:
        self.steps, self.kind = len(timesteps), kind
        levels = [Level.of(float(abar)) for abar in alphas_cumprod[torch.tensor(timesteps)]]
        after = [*levels[1:], Level(1.0, 0.0)]
        self.evaluations = [Evaluation(t, levels[i], after[i], i) for i, t in enumerate(timesteps)]

    def step(self, index: int, output: Tensor, x: Tensor, draw: Callable[[int], Tensor]) -> Tensor:
        """The clean sample by the boundary condition (equation 9), made noisy again unless it is the last."""
        call = self.evaluations[index]
        scaled = (call.t * _TIME_SCALE) ** 2 + _SIGMA_DATA**2
        skip, out = _SIGMA_DATA**2 / scaled, call.t * _TIME_SCALE / scaled**0.5
        clean = out * to_sample(output, x, call.level, self.kind) + skip * x
        if index + 1 == self.steps:
            return clean
        return call.after.alpha * clean + call.after.sigma * draw(1)

    def check_update(self, update: str) -> None:
        """Accept any guidance update: the next step starts from the next sample."""
        return None
