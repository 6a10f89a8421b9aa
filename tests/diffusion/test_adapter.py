"""Guidance in foreign sampling loops equals guidance in our sampler."""

import pytest
import torch
from diffusion_parts import LinearReward, exact_denoiser, make_scheduler, sampler, seeds

from realign.diffusion.sampler import starting_noise
from realign.errors import InputError
from realign.guidance.adapter import guided_output
from realign.guidance.config import GuidanceConfig

SHAPE, STEPS = (3, 6, 2), 10
MASK = torch.ones(SHAPE[:2], dtype=torch.bool)
OPTIONS = {
    "every step": GuidanceConfig.plain(strength=0.5),
    "window and interval": GuidanceConfig.plain(strength=0.5, start=0.2, stop=0.9, interval=3, profile="signal"),
    "at the clean sample": GuidanceConfig.plain(strength=0.5, point="x0", norm="clip", norm_limit=0.1),
}


def start() -> torch.Tensor:
    return starting_noise(seeds(0, 1, 2), MASK, SHAPE[2])


def ours(scheduler, guidance):
    return sampler(scheduler, STEPS).sample(exact_denoiser(scheduler), SHAPE, MASK, guidance, seeds(0, 1, 2))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("name", ["ddim", "dpm", "unipc"])
def test_guidance_in_a_diffusers_loop_equals_our_sampler(name, kind, options):
    scheduler = make_scheduler(name, kind)
    guidance, model, x = LinearReward(scheduler, 1.0, OPTIONS[options]), exact_denoiser(scheduler), start()
    scheduler.set_timesteps(STEPS)
    for i, t in enumerate(scheduler.timesteps):
        output = model(x, t.expand(len(x)))
        abar = scheduler.alphas_cumprod[t]
        output = guided_output(guidance, output, x, t, abar, scheduler.config.prediction_type, step=(i, STEPS))
        x = scheduler.step(output, t, x).prev_sample
    expected = ours(make_scheduler(name, kind), guidance)
    assert (expected - ours(make_scheduler(name, kind), None)).abs().max() > 0.01
    torch.testing.assert_close(x, expected, atol=2e-4, rtol=2e-4)


def test_guidance_in_an_own_loop_equals_our_sampler():
    scheduler = make_scheduler("ddim")
    guidance, model, x = LinearReward(scheduler, 1.0, OPTIONS["every step"]), exact_denoiser(scheduler), start()
    abars = torch.cumprod(1 - scheduler.betas, 0)
    steps = list(range(999, -1, -100))
    for t, t_next in zip(steps, [*steps[1:], None], strict=True):  # DDIM by hand: Song et al. 2021, equation 12
        abar, abar_next = abars[t], torch.tensor(1.0) if t_next is None else abars[t_next]
        epsilon = guided_output(guidance, model(x, torch.full((3,), t)), x, t, float(abar))
        x0 = (x - (1 - abar).sqrt() * epsilon) / abar.sqrt()
        x = abar_next.sqrt() * x0 + (1 - abar_next).sqrt() * epsilon
    torch.testing.assert_close(x, ours(scheduler, guidance), atol=1e-4, rtol=1e-4)


def test_outputs_keep_their_type_and_rest_outside_the_window():
    scheduler, x = make_scheduler("ddim"), start()
    guidance = LinearReward(scheduler, 1.0, GuidanceConfig.plain(start=0.5))
    output = x.bfloat16()
    assert guided_output(guidance, output, x, 500, 0.5, step=(4, 10)) is output
    found = guided_output(guidance, output, x, 500, 0.5, step=(5, 10))
    assert found.dtype == torch.bfloat16 and not torch.equal(found, output)
    assert (
        guided_output(LinearReward(scheduler, 1.0, GuidanceConfig.plain(strength=0.0)), output, x, 500, 0.5) is output
    )


def test_updates_of_the_next_sample_are_refused():
    scheduler, x = make_scheduler("ddim"), start()
    with pytest.raises(InputError, match="'additive' changes the next sample"):
        guided_output(LinearReward(scheduler, 1.0, GuidanceConfig.plain(update="additive")), x, x, 500, 0.5)
