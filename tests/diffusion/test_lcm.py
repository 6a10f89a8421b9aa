"""Few steps of a consistency model, against diffusers' scheduler and against plain loops."""

import pytest
import torch
from diffusers import LCMScheduler
from diffusion_parts import make_scheduler, seeds

from realign.diffusion import VP
from realign.diffusion.lcm import LCMSteps
from realign.diffusion.sampler import Sampler, starting_noise, step_noise
from realign.errors import InputError

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
MASK = torch.ones(2, 4, dtype=torch.bool)


def predict(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return torch.tanh(0.7 * x.flip(2) + t.reshape(-1, 1, 1) / 1000)


def path(kind: str = "epsilon", **options) -> VP:
    return VP(make_scheduler("ddpm", kind, **BETAS), LCMSteps(**options))


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(("original", "steps"), [(50, 1), (50, 2), (50, 4), (50, 7), (50, 50), (10, 3), (30, 4)])
def test_evenly_spaced_steps_equal_diffusers(original: int, steps: int, kind: str) -> None:
    x = found = None
    scheduler = LCMScheduler(**BETAS, original_inference_steps=original, clip_sample=False, prediction_type=kind)
    scheduler.set_timesteps(steps)
    x = starting_noise(seeds(1, 2), MASK, 3)
    torch.manual_seed(0)
    for i, t in enumerate(scheduler.timesteps):
        output = predict(x, t.expand(2))
        x = scheduler.step(output, t, x, generator=None, return_dict=False)[1]  # without noise
        if i + 1 < steps:
            abar = scheduler.alphas_cumprod[scheduler.timesteps[i + 1]]
            x = abar.sqrt() * x + (1 - abar).sqrt() * step_noise(seeds(1, 2), MASK, 3, i)
    sampler = Sampler(path(kind, original_steps=original), steps, "lcm")
    found = sampler.sample(predict, (2, 4, 3), MASK, seeds=seeds(1, 2))
    assert [call.t for call in sampler.solver().evaluations] == scheduler.timesteps.tolist()
    torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-5)


def test_a_timestep_may_be_named_twice() -> None:
    timesteps = [699, 299, 299]
    own = path(timesteps=[[799], timesteps], scales=[8.0, 12.5])
    table = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)
    x = starting_noise(seeds(1, 2), MASK, 3)
    for i, t in enumerate(timesteps):  # Luo et al. 2023, algorithm 3 and equation 9
        abar, noise = table[t], step_noise(seeds(1, 2), MASK, 3, i)
        clean = (x - (1 - abar).sqrt() * predict(x, torch.tensor([t, t]))) / abar.sqrt()
        skip, out = 0.25 / ((10 * t) ** 2 + 0.25), 10 * t / ((10 * t) ** 2 + 0.25) ** 0.5
        x = skip * x + out * clean
        if i < 2:
            x = table[timesteps[i + 1]].sqrt() * x + (1 - table[timesteps[i + 1]]).sqrt() * noise
    found = Sampler(own, 3, "lcm").sample(predict, (2, 4, 3), MASK, seeds=seeds(1, 2))
    torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-5)
    assert [own.guidance_scale(n, "lcm") for n in (1, 2, 3)] == [8.0, None, 12.5]
    assert own.guidance_scale(3, "ddim") is None and own.guidance_scale(3) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"original_steps": 0}, "original_steps=0 must be between 1 and the 1000"),
        ({"timesteps": [[299, 699]]}, "timesteps \\[299, 699\\] must go down from at most 999"),
        ({"timesteps": [[1000]]}, "timesteps \\[1000\\] must go down"),
        ({"timesteps": [[]]}, "timesteps \\[\\] must go down"),
        ({"timesteps": [[9]], "scales": [1.0, 2.0]}, "2 scales are given for 1 lists"),
    ],
)
def test_bad_schedules_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        path(**options)


def test_more_steps_than_distilled_are_refused() -> None:
    with pytest.raises(InputError, match="Cannot sample in 11 steps; choose 1 to 10, the steps that the model was"):
        Sampler(path(original_steps=10), 11, "lcm")
    with pytest.raises(InputError, match="eta=0.5 does not suit lcm"):
        Sampler(path(), 4, "lcm", eta=0.5)
