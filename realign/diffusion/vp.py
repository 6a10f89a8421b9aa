"""Variance-preserving diffusion: the noise of every diffusers scheduler that mixes by sqrt(abar) and sqrt(1 - abar)."""

import inspect
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor
from torch.overrides import TorchFunctionMode

from realign.diffusion.ancestral import AncestralSolver
from realign.diffusion.lcm import LCMSolver, LCMSteps
from realign.diffusion.path import NoisePath
from realign.diffusion.prediction import Level
from realign.diffusion.schedule import (
    DiffusersScheduler,
    Scheduler,
    check_scheduler,
    noise_levels,
    schedule_fingerprint,
    with_scheduler,
)
from realign.diffusion.solver import Evaluation, Solver
from realign.errors import InputError
from realign.transfer import upload


class VP(NoisePath):
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps (Ho et al. 2020, equation 4) at the whole timesteps of a scheduler.

    Args:
        scheduler: A diffusers scheduler: its betas, and the prediction type trained with.
        lcm: How a model that was distilled to consistency is sampled by ``lcm``.

    Raises:
        InputError: The scheduler is not variance preserving, or a number is out of range.
    """

    _alpha: Tensor
    _sigma: Tensor

    def __init__(self, scheduler: DiffusersScheduler, lcm: LCMSteps | None = None) -> None:
        super().__init__()
        self.scheduler = cast(Scheduler, scheduler)
        check_scheduler(scheduler)
        self.prediction = self.scheduler.config.prediction_type
        self.timesteps: int = self.scheduler.config.num_train_timesteps
        self.lcm = LCMSteps(min(LCMSteps.original_steps, self.timesteps)) if lcm is None else lcm
        self.lcm.check(self.timesteps)
        table = self.scheduler.alphas_cumprod.float()
        abar = torch.cat([table.new_ones(1), table])  # row 0 is CLEAN_STEP
        self.register_buffer("_alpha", abar.sqrt(), persistent=False)
        self.register_buffer("_sigma", (1 - abar).sqrt(), persistent=False)

    def level(self, t: Real[Tensor, "B"]) -> Level:
        """alpha and sigma of each sample's timestep."""
        row = t.long() + 1
        alpha, sigma = (table.to(t.device)[row].reshape(-1, 1, 1) for table in (self._alpha, self._sigma))
        return Level(alpha, sigma)

    def at(self, fraction: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
        """Timestep at a fraction of the schedule."""
        return (fraction * self.timesteps).long().clamp(0, self.timesteps - 1)

    @property
    def fingerprint(self) -> str:
        """Names the betas."""
        return schedule_fingerprint(self.scheduler)

    def solver(self, steps: int, scheduler: Scheduler | str | None = None, eta: float = 0.0) -> Callable[[], Solver]:
        """What a name stands for, or a scheduler's steps; those of the scheduler trained with when None.

        The names are ddim, ddpm, dpm and unipc, which are schedulers of diffusers, ancestral, and lcm for models that
        were distilled to consistency.
        """
        if isinstance(scheduler, str) and scheduler == "ancestral":
            return self._ancestral(steps, eta)
        if isinstance(scheduler, str) and scheduler == "lcm":
            if eta:
                raise InputError(f"eta={eta} does not suit lcm, which draws fresh noise at every step; set it to 0.")
            timesteps = self.lcm.schedule(steps, self.timesteps)
            return partial(LCMSolver, timesteps, self.scheduler.alphas_cumprod, self.prediction)
        chosen = self.scheduler if scheduler is None else scheduler
        if isinstance(chosen, str):
            chosen = with_scheduler(self.scheduler, chosen)
        check_scheduler(chosen)
        own, other = (self.fingerprint, self.prediction), (schedule_fingerprint(chosen), chosen.config.prediction_type)
        if own != other:
            raise InputError(
                f"The generator was trained with {own[0]} and prediction type {own[1]}, but the scheduler has "
                f"{other[0]} and {other[1]}; give it the same betas and prediction type."
            )
        accepted = inspect.signature(chosen.step).parameters
        self._check_steps(steps)
        if not 0 <= eta <= 1 or (eta and "eta" not in accepted):
            most_noise = "between 0 and 1" if "eta" in accepted else "to 0"
            raise InputError(f"eta={eta} does not suit {type(chosen).__name__}; set it {most_noise}.")
        # slightly below 1, where the remaining variance may be rounded below 0
        return partial(SchedulerSolver, chosen, steps, {"eta": min(eta, 1 - 1e-6)} if "eta" in accepted else {})

    def guidance_scale(self, steps: int, scheduler: Any = None) -> float | None:
        """The published scale for this number of steps of ``lcm``."""
        return self.lcm.scale(steps) if isinstance(scheduler, str) and scheduler == "lcm" else None

    def _ancestral(self, steps: int, eta: float) -> Callable[[], Solver]:
        """Steps over timesteps that are spread evenly from the last one down to 0."""
        self._check_steps(steps)
        if eta:
            raise InputError(f"eta={eta} does not suit ancestral sampling, which has the noise of eta=1; leave it out.")
        abar = (1 - self.scheduler.betas.double()).cumprod(0)
        spacing = (self.timesteps - 1) / max(1, steps - 1)
        kept = [round(spacing * number) for number in range(steps)][::-1] if steps > 1 else [self.timesteps - 1]
        return partial(AncestralSolver, kept, abar[kept].tolist(), self.prediction)

    def _check_steps(self, steps: int) -> None:
        if not 1 <= steps <= self.timesteps:
            raise InputError(f"Cannot sample in {steps} steps; choose 1 to {self.timesteps}, the steps trained with.")


def choose_path(scheduler: Scheduler | None, path: NoisePath | None) -> NoisePath:
    """The path of a configuration, from its scheduler or its path.

    Args:
        scheduler: Any variance-preserving diffusers scheduler.
        path: Any path.

    Raises:
        InputError: Both or neither are given, or the scheduler is not variance preserving.
    """
    if path is not None and scheduler is None:
        return path
    if scheduler is None or path is not None:
        raise InputError(
            f"{'Both' if scheduler is not None else 'Neither'} of scheduler and path are given, but exactly one of "
            "them defines the noise to train with: name a diffusers scheduler, or a path such as "
            "realign.diffusion.FlowMatching."
        )
    return VP(scheduler)


class SchedulerSolver(Solver):
    """Steps as a diffusers scheduler does; noise that it asks for is each sample's own.

    Args:
        scheduler: Copied, not changed.
        steps: Denoising steps.
        options: Further arguments of its steps.
    """

    def __init__(self, scheduler: Scheduler, steps: int, options: dict[str, Any]) -> None:
        self.scheduler, self.steps, self.options = _fresh(scheduler, steps), steps, options
        levels = [Level.of(abar) for abar in noise_levels(self.scheduler).tolist()]
        trained = self.scheduler.timesteps.tolist()
        self.evaluations = [Evaluation(t, levels[i], levels[i + 1], i) for i, t in enumerate(trained)]
        self._stops = trained
        if hasattr(self.scheduler, "final_alpha_cumprod") and not hasattr(self.scheduler, "step_index"):
            # DDIM goes from a step to the one T // n before it, which is the next chosen one only where n divides T,
            # and misses the clean sample else. Over a schedule of the chosen steps alone it goes to the next.
            self.scheduler.alphas_cumprod = self.scheduler.alphas_cumprod[self.scheduler.timesteps.flip(0)]
            self.scheduler.timesteps = torch.arange(len(trained)).flip(0)
            self.scheduler.num_inference_steps = len(trained)
            self.scheduler.register_to_config(num_train_timesteps=len(trained))
            self._stops = self.scheduler.timesteps.tolist()

    def step(self, index: int, output: Tensor, x: Tensor, draw: Callable[[int], Tensor]) -> Tensor:
        """One step of the scheduler."""
        with _Draws(draw):
            return self.scheduler.step(output, self._stops[index], x, return_dict=False, **self.options)[0]

    def check_update(self, update: str) -> None:
        """Refuse an update if the scheduler recomputes the sample that it returned."""
        if hasattr(self.scheduler, "last_sample"):
            raise InputError(
                f"{type(self.scheduler).__name__} recomputes the last sample, which undoes guidance update "
                f"{update!r}; use 'score_shift', or another scheduler."
            )


class _Draws(TorchFunctionMode):
    """Answers what schedulers ask of torch while they step: normal noise, by each sample's own; copies, without a wait.

    Args:
        draw: Gives the n-th noise.
    """

    def __init__(self, draw: Callable[[int], Tensor]) -> None:
        super().__init__()
        self.draw, self.drawn = draw, 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in (torch.randn, torch.randn_like):
            self.drawn += 1
            return self.draw(self.drawn)
        if function is Tensor.to and not kwargs and [type(each) for each in args[1:]] == [torch.device]:
            return upload(*args)
        if function is torch.linalg.solve:  # which looks whether the system, here one without a fault, has an answer
            return torch.linalg.solve_ex(*args, **kwargs).result
        return function(*args, **kwargs)


def _fresh(scheduler: Scheduler, steps: int) -> Scheduler:
    """A copy to step once through, since multistep schedulers carry the last outputs along."""
    scheduler = deepcopy(scheduler)
    scheduler.set_timesteps(steps)
    surplus = int((scheduler.timesteps < 0).sum())
    if surplus:  # "trailing" spacing rounds to one step too many, at -1, for counts such as 61
        scheduler.timesteps = scheduler.timesteps[:-surplus]
        scheduler.num_inference_steps = len(scheduler.timesteps)
        if hasattr(scheduler, "sigmas"):  # the last is the level after the last step
            scheduler.sigmas = torch.cat([scheduler.sigmas[: -surplus - 1], scheduler.sigmas[-1:]])
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)  # instead of a search, which goes wrong where two steps round to one
    return scheduler
