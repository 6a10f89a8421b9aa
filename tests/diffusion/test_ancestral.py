"""Ancestral sampling against explicit Gaussian posteriors, and sampling with given noise."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusion_parts import seeds

from realign.diffusion import VP
from realign.diffusion.ancestral import AncestralSolver, posterior
from realign.diffusion.sampler import Sampler, seeded
from realign.errors import InputError

MASK = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


def path(kind: str = "sample", steps: int = 40) -> VP:
    return VP(DDPMScheduler(steps, beta_schedule="squaredcos_cap_v2", prediction_type=kind, clip_sample=False))


@pytest.mark.parametrize(("now", "after"), [(0.2, 0.5), (0.9, 0.95), (0.3, 1.0)])
def test_the_posterior_is_that_of_two_gaussians(now: float, after: float) -> None:
    """q(x_s | x_t, x_0) from the joint normal distribution of x_s and x_t given x_0, by its conditional moments."""
    kept = now / after
    covariance = np.array([[1 - after, kept**0.5 * (1 - after)], [kept**0.5 * (1 - after), 1 - now]])
    slope = covariance[0, 1] / covariance[1, 1]
    x0, x_t = 0.7, -1.3
    mean = after**0.5 * x0 + slope * (x_t - now**0.5 * x0)
    of_clean, of_noisy, variance = posterior(now, after)
    assert of_clean * x0 + of_noisy * x_t == pytest.approx(mean)
    assert variance == pytest.approx(covariance[0, 0] - slope * covariance[0, 1], abs=1e-12)


@pytest.mark.parametrize("kind", ["sample", "epsilon", "v_prediction"])
def test_steps_are_those_of_the_plain_formula(kind: str) -> None:
    noise, abar = path(kind), (1 - path().scheduler.betas.double()).cumprod(0)
    sampler, rows = Sampler(noise, 7, "ancestral"), seeds(3, 4)
    draw = seeded(rows, MASK, 2)

    def predict(x, t):
        return torch.tanh(x + t.reshape(-1, 1, 1) / 40)

    found = sampler.sample(predict, (2, 5, 2), MASK, seeds=rows)
    visited = [round(39 / 6 * number) for number in range(7)][::-1]
    assert [call.t for call in sampler.solver().evaluations] == visited
    x = draw(0, 1).double()
    for step, t in enumerate(visited, 1):
        s = visited[step] if step < 7 else None
        now, after = abar[t], abar[s] if s is not None else torch.tensor(1.0).double()
        out = predict(x.float(), torch.full((2,), t)).double()
        clean = {
            "sample": out,
            "epsilon": (x - (1 - now).sqrt() * out) / now.sqrt(),
            "v_prediction": now.sqrt() * x - (1 - now).sqrt() * out,
        }[kind]
        beta = 1 - now / after
        x = after.sqrt() * beta / (1 - now) * clean + (1 - beta).sqrt() * (1 - after) / (1 - now) * x
        if s is not None:
            x = x + (beta * (1 - after) / (1 - now)).sqrt() * draw(step, 1)
        x = x * MASK[..., None]
    torch.testing.assert_close(found, x.float(), atol=2e-5, rtol=2e-5)


def test_given_noise_replaces_the_seeds() -> None:
    asked: list[tuple[int, int]] = []

    def draw(step: int, number: int) -> torch.Tensor:
        asked.append((step, number))
        return torch.full((2, 5, 2), float(len(asked)))

    sampler = Sampler(path(), 4, "ancestral")
    found = sampler.sample(lambda x, t: 0 * x, (2, 5, 2), MASK, draw=draw)
    assert asked == [(0, 1), (1, 1), (2, 1), (3, 1)] and not found.any()  # the last step has no noise
    x = torch.ones(2, 5, 2)
    for index, solver in enumerate([sampler.solver()] * 4):
        x = solver.step(index, 0 * x, x, lambda number, drawn=index + 2: torch.full((2, 5, 2), float(drawn)))
    assert not x.any()


def test_one_step_begins_at_the_last_timestep_and_bad_numbers_are_refused() -> None:
    solver = path().solver(1, "ancestral")()
    assert isinstance(solver, AncestralSolver) and [call.t for call in solver.evaluations] == [39]
    for steps, eta, message in ((0, 0.0, "choose 1 to 40"), (41, 0.0, "choose 1 to 40"), (5, 0.5, "leave it out")):
        with pytest.raises(InputError, match=message):
            path().solver(steps, "ancestral", eta)
