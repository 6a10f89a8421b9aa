import itertools
import subprocess
import sys

import pytest
import torch
from diffusion_parts import MEAN, LinearReward, exact_denoiser, make_scheduler, sampler, seeds

from realign.diffusion import FlowMatching
from realign.diffusion.sampler import starting_noise
from realign.errors import InputError
from realign.guidance.config import GuidanceConfig
from realign.masking import lengths_to_mask

LENGTHS = [7, 20, 20, 1, 13, 7, 19, 20]
VARIANTS = {
    "ddim": ("ddim", {}, 0.0),
    "ddim with eta": ("ddim", {}, 0.7),
    "ddpm": ("ddpm", {}, 0.0),
    "dpm": ("dpm", {}, 0.0),
    "stochastic dpm": ("dpm", {"algorithm_type": "sde-dpmsolver++"}, 0.0),
    "third-order dpm": ("dpm", {"solver_order": 3}, 0.0),
    "unipc": ("unipc", {}, 0.0),
    "unipc, Karras": ("unipc", {"use_karras_sigmas": True}, 0.0),
    "lcm": ("lcm", {}, 0.0),
    "euler": ("euler", {"shift": 2.0}, 0.0),
    "heun": ("heun", {"shift": 2.0}, 0.0),
}
FLOWS = ("euler", "heun")


def source_of(name, kind="epsilon", **options):
    """A flow and the name of its solver, or a diffusion's scheduler."""
    if name == "lcm":
        return make_scheduler("ddpm", kind), "lcm"
    return (FlowMatching(**options), name) if name in FLOWS else (make_scheduler(name, kind, **options), None)


class TokenMixer(torch.nn.Module):
    """A denoiser in which each token attends to the valid tokens of its sample, and padding holds arbitrary values."""

    def __init__(self, width=5):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.near, self.far = torch.nn.Linear(width, width), torch.nn.Linear(width, width)

    def on(self, mask):
        def predict(x, t):
            mean = (x * mask[..., None]).sum(1, keepdim=True) / mask.sum(1).reshape(-1, 1, 1)
            return torch.tanh(self.near(x) + self.far(mean) + t.reshape(-1, 1, 1) / 1000) + 5.0 * ~mask[..., None]

        return predict


def run(variant, rows, kind="epsilon", guided=False, width=5, size=None, steps=12):
    name, options, eta = VARIANTS[variant]
    source, scheduler = source_of(name, kind, **options)
    mask = lengths_to_mask(torch.tensor([LENGTHS[row] for row in rows]), size)
    guidance = LinearReward(source, 0.5, GuidanceConfig.plain(interval=2)) if guided else None
    shape = (*mask.shape, width)
    with torch.no_grad():
        x = sampler(source, steps, scheduler, eta).sample(TokenMixer().on(mask), shape, mask, guidance, seeds(*rows))
    return x, mask


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_sample_is_the_same_alone_and_in_a_batch(variant, guided):
    together, mask = run(variant, range(8), guided=guided, size=24)
    assert not together[~mask].any() and together.isfinite().all() and together.dtype == torch.float32
    for row, length in enumerate(LENGTHS):
        alone, _ = run(variant, [row], guided=guided)
        torch.testing.assert_close(together[row, :length], alone[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_sampling_repeats_itself_and_leaves_the_scheduler_as_it_was(variant):
    name, options, eta = VARIANTS[variant]
    source, scheduler = source_of(name, **options)
    chosen = sampler(source, 6, scheduler, eta)
    mask = torch.ones(2, 4, dtype=torch.bool)
    draws = [chosen.sample(TokenMixer().on(mask), (2, 4, 5), mask, seeds=seeds(3, seed)) for seed in (4, 4, 5)]
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0][0], draws[2][0]) and not torch.equal(draws[0][1], draws[2][1])
    assert name in FLOWS or source.num_inference_steps is None


def test_one_step_of_ddim_is_the_published_formula():
    scheduler = make_scheduler("ddim", "v_prediction")
    mask = torch.ones(1, 4, dtype=torch.bool)
    predict = TokenMixer().on(mask)
    x = starting_noise(seeds(9), mask, 5)
    with torch.no_grad():
        for t, t_next in ((999, 499), (499, None)):  # Song et al. 2021, equation 12, with sigma = 0
            abar = torch.cumprod(1 - scheduler.betas, 0)[t]
            abar_next = torch.cumprod(1 - scheduler.betas, 0)[t_next] if t_next else torch.tensor(1.0)
            v = predict(x, torch.tensor([t]))
            x0, epsilon = abar.sqrt() * x - (1 - abar).sqrt() * v, abar.sqrt() * v + (1 - abar).sqrt() * x
            x = abar_next.sqrt() * x0 + (1 - abar_next).sqrt() * epsilon
    torch.testing.assert_close(sampler(scheduler, 2).sample(predict, (1, 4, 5), mask, seeds=seeds(9)), x)


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpm", "unipc"])
@pytest.mark.parametrize("steps", [1, 3, 61, 103])
def test_the_model_is_called_once_per_step(name, steps):
    scheduler = make_scheduler(name)
    mask, asked = torch.ones(1, 2, dtype=torch.bool), []

    def predict(x, t):
        asked.append(int(t))
        return exact_denoiser(scheduler)(x, t)

    x = sampler(scheduler, steps).sample(predict, (1, 2, 1), mask, seeds=seeds(0))
    assert x.isfinite().all() and len(asked) == steps == len(set(asked)) and min(asked) >= 0 and max(asked) == 999


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpm", "unipc"])
@pytest.mark.parametrize("steps", [2, 15, 35, 60, 150])
def test_any_number_of_steps_reaches_the_clean_sample(name, steps):
    scheduler = make_scheduler(name, "v_prediction")
    mask = torch.ones(2, 4, dtype=torch.bool)
    x = sampler(scheduler, steps).sample(exact_denoiser(scheduler, std=0.0), (2, 4, 5), mask, seeds=seeds(1, 2))
    torch.testing.assert_close(x, torch.full_like(x, MEAN), atol=2e-3, rtol=0)  # all data lie in one point


def test_the_state_stays_in_float32_under_autocast():
    scheduler = make_scheduler("unipc")
    mask, seen = torch.ones(2, 4, dtype=torch.bool), []

    def predict(x, t):
        seen.append(x.dtype)
        return exact_denoiser(scheduler)(x, t)

    draws = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            draws.append(sampler(scheduler, 8).sample(predict, (2, 4, 5), mask, seeds=seeds(1, 2)))
    assert torch.equal(*draws) and set(seen) == {torch.float32}


def test_half_precision_outputs_are_taken():
    scheduler = make_scheduler("dpm")
    mask = torch.ones(2, 4, dtype=torch.bool)
    exact = exact_denoiser(scheduler)
    x = sampler(scheduler, 8).sample(lambda x, t: exact(x, t).bfloat16(), (2, 4, 5), mask, seeds=seeds(1, 2))
    assert x.dtype == torch.float32 and x.isfinite().all()


def test_samples_carry_no_graph():
    scheduler, mixer = make_scheduler("ddim"), TokenMixer()
    mask = torch.ones(2, 4, dtype=torch.bool)
    assert not sampler(scheduler, 3).sample(mixer.on(mask), (2, 4, 5), mask).requires_grad


def test_without_seeds_the_global_seed_decides():
    scheduler, mask = make_scheduler("ddim"), torch.ones(2, 4, dtype=torch.bool)
    draws = []
    for seed in (1, 1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            draws.append(sampler(scheduler, 3).sample(exact_denoiser(scheduler), (2, 4, 5), mask))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0][0], draws[0][1])


def test_a_schedule_with_zero_terminal_snr_samples_and_is_guided():
    scheduler = make_scheduler("ddim", "v_prediction", rescale_betas_zero_snr=True)
    mask = torch.ones(2, 4, dtype=torch.bool)
    for steps in (10, 15, 35):
        chosen = sampler(scheduler, steps, eta=1.0)
        assert chosen.sample(exact_denoiser(scheduler), (2, 4, 5), mask).isfinite().all()
    for update in ("score_shift", "additive", "ddpm"):
        guidance = LinearReward(scheduler, 1.0, GuidanceConfig.plain(update=update))
        assert sampler(scheduler, 10).sample(exact_denoiser(scheduler), (2, 4, 5), mask, guidance).isfinite().all()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ddim", {"steps": 0}, "0 steps; choose 1 to 1000"),
        ("ddim", {"steps": 1001}, "1001 steps"),
        ("ddim", {"eta": -0.1}, "eta=-0.1"),
        ("ddim", {"eta": 1.5}, "eta=1.5 does not suit DDIMScheduler; set it between 0 and 1"),
        ("dpm", {"eta": 0.5}, "eta=0.5 does not suit DPMSolverMultistepScheduler; set it to 0"),
    ],
)
def test_bad_settings_are_refused(name, arguments, message):
    with pytest.raises(InputError, match=message):
        sampler(make_scheduler(name), **{"steps": 50, **arguments})


def test_arguments_that_do_not_fit_each_other_are_refused():
    chosen, mask = sampler(make_scheduler("ddim"), 2), torch.ones(2, 4, dtype=torch.bool)
    predict = exact_denoiser(make_scheduler("ddim"))
    with pytest.raises(InputError, match="3 seeds for 2 samples"):
        chosen.sample(predict, (2, 4, 5), mask, seeds=seeds(1, 2, 3))
    with pytest.raises(InputError, match=r"mask of shape \(2, 4\) does not suit samples of shape \(2, 5, 5\)"):
        chosen.sample(predict, (2, 5, 5), mask)
    with pytest.raises(InputError, match="leading tokens"):
        chosen.sample(predict, (2, 4, 5), mask.clone().index_fill_(1, torch.tensor(1), False))


def test_importing_the_sampler_does_not_import_diffusers():
    code = "import sys, realign.diffusion.sampler; sys.exit('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("name", ["ddim", "dpm", "unipc"])
def test_deterministic_schedulers_equal_a_plain_loop(name, kind):
    scheduler, mask = make_scheduler(name, kind), torch.ones(2, 4, dtype=torch.bool)
    predict = TokenMixer().on(mask)
    found = sampler(scheduler, 10).sample(predict, (2, 4, 5), mask, seeds=seeds(1, 2))
    x = starting_noise(seeds(1, 2), mask, 5)
    scheduler.set_timesteps(10)
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(predict(x, t.expand(2)), t, x).prev_sample
    torch.testing.assert_close(found, x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("name", FLOWS)
def test_flows_are_integrated_as_published(name, shift):
    mask = torch.ones(2, 4, dtype=torch.bool)
    predict, x = TokenMixer().on(mask), starting_noise(seeds(1, 2), mask, 5)
    fractions = [0.999 * (1 - i / 5) for i in range(6)]
    sigmas = [shift * u / (1 + (shift - 1) * u) for u in fractions]

    def velocity(x, sigma):
        return predict(x, torch.full((2,), 1000 * sigma))

    with torch.no_grad():
        for sigma, after in itertools.pairwise(sigmas):
            first = velocity(x, sigma)
            trial = x + (after - sigma) * first
            second = velocity(trial, after) if name == "heun" and after else first
            x = x + (after - sigma) * (first + second) / 2
    found = sampler(FlowMatching(shift), 5, name).sample(predict, (2, 4, 5), mask, seeds=seeds(1, 2))
    torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("name", FLOWS)
def test_flows_that_predict_clean_samples_go_where_their_velocities_lead(name, guided):
    mask = torch.ones(2, 4, dtype=torch.bool)
    velocity = TokenMixer().on(mask)

    def clean(x, t):
        return x - t.reshape(-1, 1, 1) / 1000 * velocity(x, t)

    found = []
    for predict, prediction in ((velocity, "flow_prediction"), (clean, "sample")):
        flow = FlowMatching(2.0, prediction=prediction)
        guidance = LinearReward(flow, 1.0, GuidanceConfig.plain(strength=0.5)) if guided else None
        found.append(sampler(flow, 6, name).sample(predict, (2, 4, 5), mask, guidance, seeds=seeds(1, 2)))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("steps", [1, 2, 15, 61])
def test_flows_reach_the_clean_sample_in_any_number_of_steps(name, steps):
    flow, mask, asked = FlowMatching(), torch.ones(2, 4, dtype=torch.bool), []
    exact = exact_denoiser(flow, std=0.0)

    def predict(x, t):
        asked.append(float(t[0]))
        return exact(x, t)

    x = sampler(flow, steps, name).sample(predict, (2, 4, 5), mask, seeds=seeds(1, 2))
    torch.testing.assert_close(x, torch.full_like(x, MEAN), atol=1e-4, rtol=0)  # all data lie in one point
    assert len(asked) == (steps if name == "euler" else 2 * steps - 1) and max(asked) == pytest.approx(999)


@pytest.mark.parametrize("update", ["additive", "ddpm"])
def test_updates_of_the_next_sample_are_refused_for_flows(update):
    flow, mask = FlowMatching(), torch.ones(2, 4, dtype=torch.bool)
    guidance = LinearReward(flow, 1.0, GuidanceConfig.plain(update=update))
    with pytest.raises(InputError, match=f"{update}' is defined for diffusions, not for a flow; use 'score_shift'"):
        sampler(flow, 2).sample(exact_denoiser(flow), (2, 4, 5), mask, guidance)
