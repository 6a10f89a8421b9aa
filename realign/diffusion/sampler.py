"""The one denoising loop of the project."""

import inspect
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.overrides import TorchFunctionMode

from realign.diffusion.adapter import push_at
from realign.diffusion.guidance import Guidance
from realign.diffusion.schedule import Scheduler, check_scheduler, noise_levels
from realign.diffusion.updates import UPDATES
from realign.errors import InputError
from realign.masking import apply_mask, lengths_to_mask
from realign.seeding import noise_like_mask

Predict = Callable[[Tensor, Tensor], Tensor]
"""predict(x_t Float["B N W"], t Int["B"]) -> model output Float["B N W"] in the scheduler's prediction type."""


class Sampler:
    """Denoises with any variance-preserving scheduler; a sample does not depend on the batch it shares.

    Args:
        scheduler: A diffusers scheduler; it is copied for every call, never changed.
        steps: Denoising steps.
        eta: Share of fresh noise, for schedulers that take one: 0 is deterministic DDIM, 1 has the noise of DDPM.

    Raises:
        InputError: The scheduler is not variance preserving, or a number is out of range.
    """

    def __init__(self, scheduler: Scheduler, steps: int = 50, eta: float = 0.0) -> None:
        check_scheduler(scheduler)
        most = scheduler.config.num_train_timesteps
        if not 1 <= steps <= most:
            raise InputError(f"Cannot sample in {steps} steps; choose 1 to {most}, the steps trained with.")
        accepted = inspect.signature(scheduler.step).parameters
        if not 0 <= eta <= 1 or (eta and "eta" not in accepted):
            most_noise = "between 0 and 1" if "eta" in accepted else "to 0"
            raise InputError(f"eta={eta} does not suit {type(scheduler).__name__}; set it {most_noise}.")
        self.scheduler, self.steps, self.eta = scheduler, steps, eta
        self._strides = hasattr(scheduler, "final_alpha_cumprod") and not hasattr(scheduler, "step_index")
        # a little less than 1, where what remains of the variance may be rounded below 0
        self._options: dict[str, Any] = {"eta": min(eta, 1 - 1e-6)} if "eta" in accepted else {}

    @torch.no_grad()
    def sample(
        self,
        predict: Predict,
        shape: tuple[int, int, int],
        mask: Bool[Tensor, "B N"],
        guidance: Guidance | None = None,
        seeds: Int[Tensor, "B"] | None = None,
    ) -> Float[Tensor, "B N W"]:
        """Samples x_0 from noise, in float32, zero at padding.

        Args:
            predict: Model output at (x_t, t); classifier-free guidance lives inside.
            shape: (B, N, W).
            mask: True where a token exists: the leading tokens of each row. Its device is where sampling runs.
            guidance: Steers the samples; None samples the generator as it is.
            seeds: One a sample, all its randomness; None draws them from torch's global generator.

        Raises:
            InputError: Shape, mask, seeds or guidance do not fit each other.
        """
        _check_mask(shape, mask)
        seeds = _seeds(seeds, len(mask))
        scheduler, steps = self._fresh_scheduler()
        levels, kind = noise_levels(scheduler), scheduler.config.prediction_type
        steering = None if guidance is None else _Steering(guidance, scheduler, levels)
        x = starting_noise(seeds, mask, shape[2])
        for i, step in enumerate(scheduler.timesteps.tolist()):
            t = torch.full(shape[:1], steps[i], device=mask.device)
            output = apply_mask(predict(x, t).float(), mask)
            draw = partial(step_noise, seeds, mask, shape[2], i)
            push = None if steering is None else steering.push(i, x, t, mask, output)
            if steering is None or push is None:
                x = self._step(scheduler, output, step, x, draw)
            else:
                output = steering.update.output(output, push, levels[i], kind)
                x = self._step(scheduler, output, step, x, draw)
                x = steering.update.sample(x, push, levels[i], levels[i + 1])
            x = apply_mask(x, mask)
        return x

    def _fresh_scheduler(self) -> tuple[Scheduler, list[int]]:
        """A scheduler to step once through, and the training step that each of its steps is."""
        scheduler = deepcopy(self.scheduler)  # multistep schedulers carry the last outputs along
        scheduler.set_timesteps(self.steps)
        surplus = int((scheduler.timesteps < 0).sum())
        if surplus:  # "trailing" spacing rounds to one step too many, at -1, for counts such as 61
            scheduler.timesteps = scheduler.timesteps[:-surplus]
            scheduler.num_inference_steps = len(scheduler.timesteps)
            if hasattr(scheduler, "sigmas"):  # the last is the level after the last step
                scheduler.sigmas = torch.cat([scheduler.sigmas[: -surplus - 1], scheduler.sigmas[-1:]])
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)  # instead of a search, which goes wrong where two steps round to one
        steps = scheduler.timesteps.tolist()
        if self._strides:
            # DDIM goes from a step to the one T // n before it, which is the next chosen one only where n divides T,
            # and misses the clean sample else. Over a schedule of the chosen steps alone it goes to the next.
            scheduler.alphas_cumprod = scheduler.alphas_cumprod[scheduler.timesteps.flip(0)]
            scheduler.timesteps = torch.arange(len(steps)).flip(0)
            scheduler.num_inference_steps = len(steps)
            scheduler.register_to_config(num_train_timesteps=len(steps))
        return scheduler, steps

    def _step(
        self, scheduler: Scheduler, output: Tensor, step: int, x: Tensor, draw: Callable[[int], Tensor]
    ) -> Tensor:
        """One scheduler step in float32, whatever the autocast around it."""
        with torch.autocast(x.device.type, enabled=False), _Draws(draw):
            return scheduler.step(output, step, x, return_dict=False, **self._options)[0]


class _Draws(TorchFunctionMode):
    """Answers whatever asks torch for normal noise, as ancestral schedulers do, with noise of the samples' own.

    Args:
        draw: The n-th noise that is asked for.
    """

    def __init__(self, draw: Callable[[int], Tensor]) -> None:
        super().__init__()
        self.draw, self.drawn = draw, 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function not in (torch.randn, torch.randn_like):
            return function(*args, **(kwargs or {}))
        self.drawn += 1
        return self.draw(self.drawn)


class _Steering:
    """A guidance over the steps of one call."""

    def __init__(self, guidance: Guidance, scheduler: Scheduler, levels: Tensor) -> None:
        options = guidance.options
        if options.update != "score_shift" and hasattr(scheduler, "last_sample"):
            raise InputError(
                f"{type(scheduler).__name__} recomputes the last sample, which undoes guidance update "
                f"{options.update!r}; use 'score_shift', or another scheduler."
            )
        self.guidance, self.levels = guidance, levels
        self.update = UPDATES[options.update]
        self.kind = scheduler.config.prediction_type
        self.weights = options.weights(len(levels) - 1)

    def push(self, i: int, x: Tensor, t: Tensor, mask: Tensor, output: Tensor) -> Tensor | None:
        """Push of step i; None where guidance rests."""
        if i not in self.weights:
            return None
        return self.weights[i] * push_at(self.guidance, output, x, t, self.levels[i], self.kind, mask)


def starting_noise(seeds: Int[Tensor, "B"], mask: Bool[Tensor, "B N"], width: int) -> Float[Tensor, "B N W"]:
    """What samples of these seeds start from."""
    return noise_like_mask(seeds, "starting noise", mask, width)


def step_noise(
    seeds: Int[Tensor, "B"], mask: Bool[Tensor, "B N"], width: int, step: int, number: int = 1
) -> Float[Tensor, "B N W"]:
    """The noise that a sampling step, counted from 0, asks for first, second and so on."""
    return noise_like_mask(seeds, f"noise {number} of step {step}", mask, width)


def _check_mask(shape: tuple[int, int, int], mask: Tensor) -> None:
    if mask.shape != shape[:2] or not torch.equal(mask, lengths_to_mask(mask.sum(1), mask.shape[1])):
        raise InputError(
            f"A mask of shape {tuple(mask.shape)} does not suit samples of shape {tuple(shape)}; "
            "give one row a sample, True for its leading tokens."
        )


def _seeds(seeds: Tensor | None, samples: int) -> Tensor:
    if seeds is None:
        return torch.randint(2**62, (samples,))
    if len(seeds) != samples:
        raise InputError(f"Got {len(seeds)} seeds for {samples} samples; give one a sample.")
    return seeds
