"""The one denoising loop of the project."""

import inspect
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from realign.diffusion.adapter import push_at
from realign.diffusion.guidance import Guidance
from realign.diffusion.schedule import Scheduler, check_scheduler, noise_levels
from realign.diffusion.updates import UPDATES
from realign.errors import InputError
from realign.masking import apply_mask, lengths_to_mask

Predict = Callable[[Tensor, Tensor], Tensor]
"""predict(x_t Float["B N W"], t Int["B"]) -> model output Float["B N W"] in the scheduler's prediction type."""


class _Group(NamedTuple):
    """Rows that are stepped together, at their common length and by a scheduler of their own; None is all."""

    rows: list[int] | None
    length: int | None
    scheduler: Any


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
        self._takes_generator = "generator" in accepted
        self._strides = hasattr(scheduler, "final_alpha_cumprod") and not hasattr(scheduler, "step_index")
        # a little less than 1, where what remains of the variance may be rounded below 0
        self._options: dict[str, Any] = {"eta": min(eta, 1 - 1e-6)} if "eta" in accepted else {}
        # A scheduler of unknown kind counts as one that draws noise: right for all, only slower.
        draws = eta > 0 if "eta" in accepted else scheduler.config.get("algorithm_type", "sde").startswith("sde")
        self._draws_noise = self._takes_generator and draws

    @torch.no_grad()
    def sample(
        self,
        predict: Predict,
        shape: tuple[int, int, int],
        mask: Bool[Tensor, "B N"],
        guidance: Guidance | None = None,
        generators: list[torch.Generator] | None = None,
    ) -> Float[Tensor, "B N W"]:
        """Samples x_0 from noise, in float32, zero at padding.

        Args:
            predict: Model output at (x_t, t); classifier-free guidance lives inside.
            shape: (B, N, W).
            mask: True where a token exists: the leading tokens of each row. Its device is where sampling runs.
            guidance: Steers the samples; None samples the generator as it is.
            generators: One CPU generator a sample; None seeds them from torch's global generator.

        Raises:
            InputError: Shape, mask, generators or guidance do not fit each other.
        """
        lengths = _lengths(shape, mask)
        generators = _generators(generators, len(lengths))
        scheduler, steps = self._fresh_scheduler()
        levels, kind = noise_levels(scheduler), scheduler.config.prediction_type
        steering = None if guidance is None else _Steering(guidance, scheduler, levels)
        groups = self._groups(lengths, scheduler)
        x = _initial_noise(shape, lengths, generators).to(mask.device)
        for i, step in enumerate(scheduler.timesteps.tolist()):
            t = torch.full(shape[:1], steps[i], device=mask.device)
            output = apply_mask(predict(x, t).float(), mask)
            push = None if steering is None else steering.push(i, x, t, mask, output)
            if steering is None or push is None:
                x = self._step(output, step, x, groups, generators)
            else:
                output = steering.update.output(output, push, levels[i], kind)
                x = self._step(output, step, x, groups, generators)
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

    def _groups(self, lengths: list[int], scheduler: Scheduler) -> list[_Group]:
        """Rows to step together: all, or those of equal length where the scheduler draws noise of their shape."""
        if not self._draws_noise:
            return [_Group(None, None, scheduler)]
        by_length: dict[int, list[int]] = {}
        for row, length in enumerate(lengths):
            by_length.setdefault(length, []).append(row)
        return [_Group(rows, length, deepcopy(scheduler)) for length, rows in by_length.items()]

    def _step(
        self, output: Tensor, step: int, x: Tensor, groups: list[_Group], generators: list[torch.Generator]
    ) -> Tensor:
        """One scheduler step of every group, in float32 whatever the autocast around it."""
        x_next = torch.zeros_like(x)
        with torch.autocast(x.device.type, enabled=False):
            for rows, length, scheduler in groups:
                where = (slice(None) if rows is None else rows, slice(length))
                options = dict(self._options)
                if self._takes_generator:
                    options["generator"] = generators if rows is None else [generators[row] for row in rows]
                x_next[where] = scheduler.step(output[where], step, x[where], return_dict=False, **options)[0]
        return x_next


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


def _lengths(shape: tuple[int, int, int], mask: Tensor) -> list[int]:
    lengths = mask.sum(1)
    if mask.shape != shape[:2] or not torch.equal(mask, lengths_to_mask(lengths, mask.shape[1])):
        raise InputError(
            f"A mask of shape {tuple(mask.shape)} does not suit samples of shape {tuple(shape)}; "
            "give one row a sample, True for its leading tokens."
        )
    return lengths.tolist()


def _generators(generators: list[torch.Generator] | None, samples: int) -> list[torch.Generator]:
    if generators is None:
        seeds = torch.randint(2**62, (samples,)).tolist()
        return [torch.Generator().manual_seed(seed) for seed in seeds]
    if len(generators) != samples:
        raise InputError(f"Got {len(generators)} generators for {samples} samples; give one a sample.")
    return generators


def _initial_noise(shape: tuple[int, int, int], lengths: list[int], generators: list[torch.Generator]) -> Tensor:
    """Noise drawn at each sample's own length, so that padding changes nothing."""
    x = torch.zeros(shape)
    for row, (length, generator) in enumerate(zip(lengths, generators, strict=True)):
        x[row, :length] = torch.randn(length, shape[2], generator=generator)
    return x
