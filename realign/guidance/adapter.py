"""Guidance inside the sampling loop of another library: one call between the model and the scheduler's step."""

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

from realign.diffusion.prediction import Level, PredictionType, score_shift
from realign.errors import InputError
from realign.guidance.gradient import Guidance


def guided_output(
    guidance: Guidance,
    output: Float[Tensor, "B N W"],
    x_t: Float[Tensor, "B N W"],
    t: Real[Tensor, "*B"] | float,
    abar: Float[Tensor, ""] | float | Level,
    kind: PredictionType = "epsilon",
    *,
    mask: Bool[Tensor, "B N"] | None = None,
    step: tuple[int, int] | None = None,
) -> Float[Tensor, "B N W"]:
    """Add guidance to a model output, in any sampling loop of a diffusion or a flow.

    In a diffusers loop, after classifier-free guidance and before the scheduler's step::

        for i, t in enumerate(scheduler.timesteps):
            output = model(x, t)
            abar, kind = scheduler.alphas_cumprod[t], scheduler.config.prediction_type
            output = guided_output(guidance, output, x, t, abar, kind, step=(i, len(scheduler.timesteps)))
            x = scheduler.step(output, t, x).prev_sample

    In your own loop, put the same line between the network and the update; `abar` is the fraction of signal variance,
    alpha_bar_t in Ho et al. (2020). For a flow whose model predicts the velocity noise - sample, give ``Level(1 - s,
    s)`` instead, with the kind ``flow_prediction``. Samples are (batch, tokens, width): transpose others around the
    call.

    Args:
        guidance: Bound to these samples, in this order; its update is ``score_shift``.
        output: What the model predicted.
        x_t: The noisy samples that the model received.
        t: Timestep, of all samples or of each.
        abar: Fraction of signal variance of the step, or its level.
        kind: What the output is.
        mask: True where a token exists; everywhere when None.
        step: Number of this sampling step, from 0, and the number of all steps, for the window and interval; every call
            is guided when None.

    Returns:
        The new output, in the type of the old.

    Raises:
        InputError: The guidance's update acts on the next sample, which this function does not have.
    """
    config = guidance.config
    if config.update != "score_shift":
        raise InputError(
            f"Guidance update {config.update!r} changes the next sample, not the model's output; use 'score_shift' "
            "or realign.diffusion.sampler.Sampler."
        )
    weight = (1 if config.strength else 0) if step is None else config.weights(step[1]).get(step[0], 0)
    if not weight:
        return output
    mask = x_t.new_ones(x_t.shape[:2], dtype=torch.bool) if mask is None else mask
    t = torch.as_tensor(t, device=x_t.device).expand(len(x_t))
    level = abar if isinstance(abar, Level) else Level.of(torch.as_tensor(abar, dtype=torch.float32))
    push = weight * guidance.push(output.detach().float(), x_t, t, level, kind, mask)
    return score_shift(output.float(), push, level, kind).to(output.dtype)
