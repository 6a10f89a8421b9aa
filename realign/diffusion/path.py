"""Paths from clean samples to noise, for training, sampling and guidance."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor, nn

from realign.diffusion import prediction
from realign.diffusion.prediction import Level, PredictionType
from realign.diffusion.solver import Solver
from realign.errors import InputError
from realign.seeding import uniform

CLEAN_STEP = -1
"""The timestep of clean samples on every path; a scheduler's timestep 0 is noisy already."""


class NoisePath(nn.Module, ABC):
    """x_t = alpha(t) x_0 + sigma(t) eps, and what a model predicts along it.

    Tables are buffers, so that they move to the model's device, and are not saved in checkpoints.

    Attributes:
        prediction: What the model's output is.
        noisy: Whether any timestep but `CLEAN_STEP` exists.
    """

    prediction: PredictionType
    noisy = True

    @abstractmethod
    def level(self, t: Real[Tensor, "B"]) -> Level:
        """alpha and sigma of each sample's timestep, as (B, 1, 1); exactly 1 and 0 at `CLEAN_STEP`."""

    @abstractmethod
    def at(self, fraction: Float[Tensor, "B"]) -> Real[Tensor, "B"]:
        """Timestep at a fraction in [0, 1] of the path from clean samples to noise."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Readable name of the noise: equal for paths with the same x_t at every timestep.

        The prediction type is not part of it, since a reward only reads x_t.
        """

    @abstractmethod
    def solver(self, steps: int, scheduler: Any = None, eta: float = 0.0) -> Callable[[], Solver]:
        """Makes a new solver for each pass through the path.

        Args:
            steps: Steps from noise to sample.
            scheduler: A name or, for diffusions, a scheduler; the path's own when None.
            eta: Fraction of fresh noise, for schedulers that take one.

        Raises:
            InputError: The name is unknown, the scheduler means another path, or a number is out of range.
        """

    def guidance_scale(self, steps: int, scheduler: Any = None) -> float | None:
        """Scale of classifier-free guidance for this sampling; None is the model's own.

        Args:
            steps: As for `solver`.
            scheduler: As for `solver`.
        """
        return None

    def draw(
        self,
        seeds: Int[Tensor, "B"],
        purpose: str,
        device: torch.device | str,
        between: tuple[float, float] | None = (0.0, 1.0),
    ) -> Real[Tensor, "B"]:
        """A timestep for every sample, uniform over a range of fractions; `CLEAN_STEP` for None.

        Args:
            seeds: One a sample.
            purpose: Keeps different draws apart.
            device: Where the timesteps are wanted.
            between: The range; a single timestep if its ends are equal.
        """
        if between is None:
            return torch.full((len(seeds),), CLEAN_STEP, device=device)
        low, high = between
        return self.at(low + (high - low) * uniform(seeds, purpose, device))

    def alpha(self, t: Real[Tensor, "B"]) -> Float[Tensor, "B 1 1"]:
        """Factor of the clean sample."""
        return torch.as_tensor(self.level(t).alpha)

    def sigma(self, t: Real[Tensor, "B"]) -> Float[Tensor, "B 1 1"]:
        """Factor of the noise."""
        return torch.as_tensor(self.level(t).sigma)

    def interpolate(
        self, x: Float[Tensor, "B N W"], noise: Float[Tensor, "B N W"], t: Real[Tensor, "B"]
    ) -> Float[Tensor, "B N W"]:
        """Noisy samples, from clean ones and standard normal noise that is zero where they are padded."""
        alpha, sigma = self.level(t)
        return alpha * x + sigma * noise

    def target(
        self, x: Float[Tensor, "B N W"], noise: Float[Tensor, "B N W"], t: Real[Tensor, "B"]
    ) -> Float[Tensor, "B N W"]:
        """The target of a model's prediction."""
        return prediction.target(x, noise, self.level(t), self.prediction)

    def to_sample(
        self, output: Float[Tensor, "B N W"], x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"]
    ) -> Float[Tensor, "B N W"]:
        """Clean samples from a model's output."""
        return prediction.to_sample(output, x_t, self.level(t), self.prediction)

    def score_shift(
        self, output: Float[Tensor, "B N W"], push: Float[Tensor, "B N W"], t: Real[Tensor, "B"]
    ) -> Float[Tensor, "B N W"]:
        """A model's output after `push` is added to the score; see `prediction.score_shift`."""
        return prediction.score_shift(output, push, self.level(t), self.prediction)


class Clean(NoisePath):
    """The path of models that are trained on clean samples alone."""

    prediction = "sample"
    noisy = False
    fingerprint = "clean"

    def level(self, t: Real[Tensor, "B"]) -> Level:
        """Signal alone."""
        one = torch.ones(len(t), 1, 1, device=t.device)
        return Level(one, 0 * one)

    def at(self, fraction: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
        """The only timestep."""
        return torch.full_like(fraction, CLEAN_STEP, dtype=torch.long)

    def solver(self, steps: int, scheduler: Any = None, eta: float = 0.0) -> Callable[[], Solver]:
        """Raises, since there is no noise to start from."""
        raise InputError("A model that was trained without noise cannot be sampled; give it a scheduler or a path.")
