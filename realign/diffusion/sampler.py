"""The denoising loop."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from realign.diffusion.path import NoisePath
from realign.diffusion.steered import Steers
from realign.errors import InputError
from realign.masking import apply_mask, lengths_to_mask
from realign.seeding import noise_like_mask
from realign.transfer import upload

Predict = Callable[[Tensor, Tensor], Tensor]
"""predict(x_t Float["B N W"], t Real["B"]) -> model output Float["B N W"] in the path's prediction type."""

Draw = Callable[[int, int], Tensor]
"""draw(step, n) -> the n-th standard normal noise Float["B N W"] of a step, both from 1; step 0 is the start."""


class Sampler:
    """Denoises along any path; a sample does not depend on its batch.

    Args:
        path: What the model was trained on.
        steps: Denoising steps.
        scheduler: A name or, for diffusions, a scheduler; the path's own when None.
        eta: Fraction of fresh noise, for schedulers that take one: 0 is deterministic DDIM, 1 has the noise of DDPM.

    Raises:
        InputError: The scheduler does not suit the path, or a number is out of range.
    """

    def __init__(self, path: NoisePath, steps: int = 50, scheduler: Any = None, eta: float = 0.0) -> None:
        self.path, self.steps, self.scheduler = path, steps, scheduler
        self.solver = path.solver(steps, scheduler, eta)  # raises errors early

    @torch.no_grad()
    def sample(
        self,
        predict: Predict,
        shape: tuple[int, int, int],
        mask: Bool[Tensor, "B N"],
        guidance: Steers | None = None,
        seeds: Int[Tensor, "B"] | None = None,
        draw: Draw | None = None,
    ) -> Float[Tensor, "B N W"]:
        """Samples x_0 from noise, in float32, zero at padding.

        Args:
            predict: Model output at (x_t, t), with classifier-free guidance.
            shape: (B, N, W).
            mask: True where a token exists: the leading tokens of each row. Sampling runs on its device.
            guidance: Steers the samples; None samples the generator as it is.
            seeds: One a sample, all its randomness; None draws them from torch's global generator.
            draw: Gives all noise in place of the seeds, such as what another program drew.

        Raises:
            InputError: Shape, mask, seeds or guidance do not fit each other.
        """
        _check_mask(shape, mask)
        solver = self.solver()
        if draw is None:
            draw = seeded(upload(_seeds(seeds, len(mask)), mask.device), mask, shape[2])
        steered = None if guidance is None else guidance.over(solver, self.path.prediction)
        x = apply_mask(draw(0, 1), mask)
        for index, call in enumerate(solver.evaluations):
            t = torch.full(shape[:1], call.t, device=mask.device)
            output = apply_mask(predict(x, t).float(), mask)
            if steered is not None:
                output = steered.output(call, output, x, t, mask)
            with torch.autocast(x.device.type, enabled=False):
                x = solver.step(index, output, x, partial(draw, index + 1))
            if steered is not None:
                x = steered.sample(call, x)
            x = apply_mask(x, mask)
        return x


def seeded(seeds: Int[Tensor, "B"], mask: Bool[Tensor, "B N"], width: int) -> Draw:
    """Noise of the samples' own: what a sampling of these seeds draws."""

    def draw(step: int, number: int) -> Float[Tensor, "B N W"]:
        if step == 0:
            return starting_noise(seeds, mask, width)
        return step_noise(seeds, mask, width, step - 1, number)

    return draw


def starting_noise(seeds: Int[Tensor, "B"], mask: Bool[Tensor, "B N"], width: int) -> Float[Tensor, "B N W"]:
    """Initial noise of samples with these seeds."""
    return noise_like_mask(seeds, "starting noise", mask, width)


def step_noise(
    seeds: Int[Tensor, "B"], mask: Bool[Tensor, "B N"], width: int, step: int, number: int = 1
) -> Float[Tensor, "B N W"]:
    """The noise of a sampling step, counted from 0, by the number of the draw."""
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
