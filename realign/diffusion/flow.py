"""Rectified flow: straight lines from clean samples to noise, and the ordinary differential equation that goes back."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

from jaxtyping import Float, Real
from torch import Tensor

from realign.diffusion.path import NoisePath
from realign.diffusion.prediction import Level, PredictionType, to_sample
from realign.diffusion.solver import Evaluation, Solver
from realign.errors import InputError

FlowPrediction = Literal["flow_prediction", "sample"]


class FlowMatching(NoisePath):
    """x_t = (1 - s) x_0 + s eps with s = t / timesteps, along which a velocity eps - x_0 leads (Liu et al. 2023).

    Timesteps are real numbers from 0 to `timesteps`, the range of timestep embeddings. The shift (Esser et al. 2024,
    section 5.3.2) moves the timesteps of training and sampling alike: s = shift u / (1 + (shift - 1) u) at a fraction u
    of the path. Above 1, more timesteps are near the noise.

    Args:
        shift: 1 leaves the timesteps evenly spaced.
        timesteps: Timestep of pure noise. Sampling starts one before it, where guidance can act on some signal.
        prediction: What the model predicts: the velocity (``flow_prediction``), or the clean sample (``sample``), from
            which the velocity follows. A velocity holds the noise of every channel, which a network that is narrower
            than its tokens cannot pass on: its motions tremble (Li and He, arXiv 2511.13720, who compare both).

    Raises:
        InputError: A number is out of range, or another prediction.
    """

    prediction: FlowPrediction

    def __init__(
        self, shift: float = 1.0, timesteps: int = 1000, prediction: FlowPrediction = "flow_prediction"
    ) -> None:
        super().__init__()
        if prediction not in get_args(FlowPrediction):
            raise InputError(f"A flow predicts one of {', '.join(get_args(FlowPrediction))}, but not {prediction!r}.")
        self.prediction = prediction
        if not 0 < shift < math.inf:
            raise InputError(f"The shift of a flow must be a positive number, but is {shift}.")
        if timesteps < 2:
            raise InputError(f"The timesteps of a flow must be at least 2, but are {timesteps}.")
        self.shift, self.timesteps = shift, timesteps

    def level(self, t: Real[Tensor, "B"]) -> Level:
        """alpha and sigma of each sample's timestep."""
        sigma = (t.float() / self.timesteps).clamp(min=0).reshape(-1, 1, 1)  # CLEAN_STEP lies below 0
        return Level(1 - sigma, sigma)

    def at(self, fraction: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
        """Timestep at a fraction of the path."""
        return self.timesteps * self._shifted(fraction)  # type: ignore[return-value]

    @property
    def fingerprint(self) -> str:
        """Names the path and its unit; the shift only changes how often timesteps are drawn."""
        return f"flow-{self.timesteps}"

    def solver(self, steps: int, scheduler: Any = None, eta: float = 0.0) -> Callable[[], Solver]:
        """``euler`` (when None), which calls the model once a step, or ``heun``, which calls it twice."""
        name = "euler" if scheduler is None else scheduler
        if not isinstance(name, str) or name not in SOLVERS:
            shown = name if isinstance(name, str) else type(name).__name__
            raise InputError(
                f"{shown!r} cannot sample a flow, which the model was trained on; choose one of {', '.join(SOLVERS)}."
            )
        if not 1 <= steps <= self.timesteps:
            raise InputError(f"Cannot sample in {steps} steps; choose 1 to {self.timesteps}, the steps trained with.")
        if eta:
            raise InputError(f"eta={eta} does not suit a flow, which is sampled without fresh noise; set it to 0.")
        first = 1 - 1 / self.timesteps
        sigmas = [float(self._shifted(first * (1 - i / steps))) for i in range(steps + 1)]
        return partial(SOLVERS[name], sigmas, self.timesteps, self.prediction)

    def _shifted(self, fraction: Any) -> Any:
        return self.shift * fraction / (1 + (self.shift - 1) * fraction)


class EulerSolver(Solver):
    """x += (s' - s) u at every step.

    Args:
        sigmas: Noise before each step, then after the last.
        timesteps: Timestep at which sigma is 1.
        prediction: What the model's outputs are.
    """

    def __init__(self, sigmas: list[float], timesteps: int, prediction: PredictionType) -> None:
        self.sigmas, self.steps, self.prediction = sigmas, len(sigmas) - 1, prediction
        levels = [Level(1 - sigma, sigma) for sigma in sigmas]
        self.evaluations = [
            Evaluation(timesteps * sigma, levels[i], levels[i + 1], i) for i, sigma in enumerate(sigmas[:-1])
        ]

    def step(self, index: int, output: Tensor, x: Tensor, draw: Callable[[int], Tensor]) -> Tensor:
        """One step along the velocity."""
        return self._move(index, self._velocity(index, output, x), x)

    def _move(self, step: int, velocity: Tensor, x: Tensor) -> Tensor:
        return x + (self.sigmas[step + 1] - self.sigmas[step]) * velocity

    def _velocity(self, index: int, output: Tensor, x: Tensor) -> Tensor:
        """eps - x_0 from a model's output at x."""
        if self.prediction == "flow_prediction":
            return output
        level = self.evaluations[index].level
        return (x - to_sample(output, x, level, self.prediction)) / level.sigma

    def check_update(self, update: str) -> None:
        """The updates of the next sample are those of a diffusion."""
        raise InputError(f"Guidance update {update!r} is defined for diffusions, not for a flow; use 'score_shift'.")


class HeunSolver(EulerSolver):
    """The trapezoidal rule (Karras et al. 2022, algorithm 1): the mean of the velocities before and after a trial step.

    The last step is an Euler step, since there is no velocity at clean samples.
    """

    def __init__(self, sigmas: list[float], timesteps: int, prediction: PredictionType) -> None:
        super().__init__(sigmas, timesteps, prediction)
        calls = []
        for i, first in enumerate(self.evaluations):
            calls.append(first)
            if i + 1 < self.steps:  # the model is called at the end of the step, and the step is made again
                calls.append(first._replace(t=self.evaluations[i + 1].t, level=first.after))
        self.evaluations = calls
        self._start: tuple[Tensor, Tensor] | None = None

    def step(self, index: int, output: Tensor, x: Tensor, draw: Callable[[int], Tensor]) -> Tensor:
        """A trial step along the velocity, then the step along the mean of both."""
        step, velocity = self.evaluations[index].step, self._velocity(index, output, x)
        if self._start is None:
            self._start = (x, velocity) if step + 1 < self.steps else None
            return self._move(step, velocity, x)
        (x, first), self._start = self._start, None
        return self._move(step, (first + velocity) / 2, x)


SOLVERS: dict[str, type[EulerSolver]] = {"euler": EulerSolver, "heun": HeunSolver}
