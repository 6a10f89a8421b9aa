"""Solvers: the timesteps at which a model is called, and the step after each call."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from realign.diffusion.prediction import Level


class Evaluation(NamedTuple):
    """One call of the model.

    Attributes:
        t: Timestep of the call.
        level: Signal and noise of its input.
        after: The same after the step that follows.
        step: Number of that step, from 0; solvers of higher order call several times a step.
    """

    t: float
    level: Level
    after: Level
    step: int


class Solver(ABC):
    """One pass from noise to clean samples, used once.

    Attributes:
        steps: Steps from noise to sample.
        evaluations: The calls of the model, in order.
    """

    steps: int
    evaluations: list[Evaluation]

    @abstractmethod
    def step(self, index: int, output: Tensor, x: Tensor, draw: Callable[[int], Tensor]) -> Tensor:
        """The input of the next evaluation.

        Args:
            index: Number of the evaluation that was made.
            output: Output of the model, in float32.
            x: Input of the model.
            draw: The n-th noise of this step, for solvers that add some.
        """

    @abstractmethod
    def check_update(self, update: str) -> None:
        """Refuse a guidance update that changes the next sample if the solver cannot apply it.

        Raises:
            InputError: As said.
        """
