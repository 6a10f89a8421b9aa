"""The interface of guidance in the sampling loop: it may change a model's output and the sample after a step."""

from abc import ABC, abstractmethod

from jaxtyping import Bool, Float, Real
from torch import Tensor

from realign.diffusion.prediction import PredictionType
from realign.diffusion.solver import Evaluation, Solver


class SteeredSteps(ABC):
    """Guidance over the steps of one call of the sampler."""

    @abstractmethod
    def output(
        self,
        call: Evaluation,
        output: Float[Tensor, "B N W"],
        x_t: Float[Tensor, "B N W"],
        t: Real[Tensor, "B"],
        mask: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B N W"]:
        """The model's output under guidance.

        Args:
            call: The evaluation of the model.
            output: What the model predicted.
            x_t: Its noisy input, zero at padding.
            t: Their timesteps.
            mask: True where a token exists.
        """

    @abstractmethod
    def sample(self, call: Evaluation, x_next: Float[Tensor, "B N W"]) -> Float[Tensor, "B N W"]:
        """The samples after the solver's step under guidance."""


class Steers(ABC):
    """Guidance for the samples of one call, in their order."""

    @abstractmethod
    def over(self, solver: Solver, kind: PredictionType) -> SteeredSteps:
        """Begin a call.

        Args:
            solver: Its steps.
            kind: What the model predicts.

        Raises:
            InputError: The guidance does not suit the solver.
        """

    def finish(self, motion: Float[Tensor, "B F C"]) -> Float[Tensor, "B F C"]:
        """The decoded motions under guidance, not normalised; by default, as they are."""
        return motion
