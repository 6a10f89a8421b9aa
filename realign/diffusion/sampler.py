"""The one denoising loop of the project."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from realign.diffusion.adapter import push_at
from realign.diffusion.guidance import Guidance
from realign.diffusion.path import NoisePath
from realign.diffusion.prediction import PredictionType
from realign.diffusion.solver import Evaluation, Solver
from realign.diffusion.updates import UPDATES
from realign.errors import InputError
from realign.masking import apply_mask, lengths_to_mask
from realign.seeding import noise_like_mask

Predict = Callable[[Tensor, Tensor], Tensor]
"""predict(x_t Float["B N W"], t Real["B"]) -> model output Float["B N W"] in the path's prediction type."""


class Sampler:
    """Denoises along any path; a sample does not depend on the batch it shares.

    Args:
        path: What the model was trained on.
        steps: Denoising steps.
        scheduler: What to step with: a name or, for diffusions, a scheduler; the path's own when None.
        eta: Fraction of fresh noise, for schedulers that take one: 0 is deterministic DDIM, 1 has the noise of DDPM.

    Raises:
        InputError: The scheduler does not suit the path, or a number is out of range.
    """

    def __init__(self, path: NoisePath, steps: int = 50, scheduler: Any = None, eta: float = 0.0) -> None:
        self.path, self.steps, self.scheduler = path, steps, scheduler
        self.solver = path.solver(steps, scheduler, eta)  # refuses now what would fail later

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
        seeds, solver, kind = _seeds(seeds, len(mask)), self.solver(), self.path.prediction
        steering = None if guidance is None else _Steering(guidance, solver, kind)
        x = starting_noise(seeds, mask, shape[2])
        for index, call in enumerate(solver.evaluations):
            t = torch.full(shape[:1], call.t, device=mask.device)
            output = apply_mask(predict(x, t).float(), mask)
            push = None if steering is None else steering.push(call, x, t, mask, output)
            if steering is not None and push is not None:
                output = steering.update.output(output, push, call.level, kind)
            draw = partial(step_noise, seeds, mask, shape[2], index)
            with torch.autocast(x.device.type, enabled=False):
                x = solver.step(index, output, x, draw)
            if steering is not None and push is not None:
                x = steering.update.sample(x, push, call.level, call.after)
            x = apply_mask(x, mask)
        return x


class _Steering:
    """A guidance over the steps of one call."""

    def __init__(self, guidance: Guidance, solver: Solver, kind: PredictionType) -> None:
        options = guidance.options
        if options.update != "score_shift":
            solver.check_update(options.update)
        self.guidance, self.update, self.kind = guidance, UPDATES[options.update], kind
        self.weights = options.weights(solver.steps)

    def push(self, call: Evaluation, x: Tensor, t: Tensor, mask: Tensor, output: Tensor) -> Tensor | None:
        """Push of an evaluation; None where guidance rests."""
        if call.step not in self.weights:
            return None
        return self.weights[call.step] * push_at(self.guidance, output, x, t, call.level, self.kind, mask)


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
