import itertools

import pytest
import torch
from diffusion_parts import LinearReward, ancestral_step, exact_denoiser, make_scheduler, sampler, seeds

from realign.diffusion.prediction import Level
from realign.diffusion.sampler import starting_noise, step_noise
from realign.errors import InputError
from realign.guidance.config import GuidanceConfig
from realign.guidance.gradient import RewardGradient, scaled
from realign.guidance.updates import UPDATES
from realign.masking import lengths_to_mask

SHAPE = (4, 8, 3)
MASK = lengths_to_mask(torch.tensor([8, 3, 5, 3]), 8)


class NeuralReward(RewardGradient):
    """A small network's score of each sample."""

    def __init__(self, options=None):
        self.config = options or GuidanceConfig.plain()
        self.dtypes = []
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.network = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))

    def reward(self, x_t, t, mask):
        features = self.network(x_t)
        self.dtypes.append(features.dtype)
        return (features[..., 0] * mask).sum(1) / (1 + t)


def guided(guidance, scheduler=None, steps=10, mask=MASK, rows=(0, 1, 2, 3)):
    scheduler = scheduler or make_scheduler("ddim")
    predict = exact_denoiser(scheduler)
    shape = (len(mask), *mask.shape[1:], 3)
    return sampler(scheduler, steps).sample(predict, shape, mask, guidance, seeds(*rows))


def inputs(batch):
    x = torch.randn(batch, 8, 3, generator=torch.Generator().manual_seed(1))
    return x, torch.full((batch,), 5), torch.ones(batch, 8, dtype=torch.bool)


def test_the_gradient_is_that_of_finite_differences():
    guidance = NeuralReward()
    guidance.network.double()
    x, t, mask = inputs(2)
    x, mask = x.double(), lengths_to_mask(torch.tensor([8, 5]), 8)
    gradient, step = guidance.gradient(x, t, mask), 1e-6
    assert not gradient[1, 5:].any()
    for place in [(0, 0, 0), (0, 7, 2), (1, 4, 1), (1, 6, 1)]:
        nudge = torch.zeros_like(x)
        nudge[place] = step
        change = guidance.reward(x + nudge, t, mask) - guidance.reward(x - nudge, t, mask)
        assert gradient[place].item() == pytest.approx(change.sum().item() / (2 * step), abs=1e-8)


def test_the_strength_does_not_depend_on_the_batch():
    guidance = NeuralReward()
    x, t, mask = inputs(32)
    together = guidance.gradient(x, t, mask)
    for rows in (slice(0, 1), slice(4, 8)):
        torch.testing.assert_close(
            guidance.gradient(x[rows], t[rows], mask[rows]), together[rows], rtol=1e-5, atol=1e-8
        )


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_gradients_are_the_same_without_autograd_and_under_autocast(context):
    guidance = NeuralReward()
    expected = guidance.gradient(*inputs(2))
    with context(), torch.autocast("cpu", torch.bfloat16):
        found = guidance.gradient(*inputs(2))
    assert torch.equal(found, expected) and set(guidance.dtypes) == {torch.float32}
    assert all(parameter.grad is None for parameter in guidance.network.parameters())
    assert (
        guidance.gradient(*(part.bfloat16() if part.is_floating_point() else part for part in inputs(2))).dtype
        == torch.float32
    )


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_guided_sampling_works_without_autograd(context):
    guidance = NeuralReward()
    expected = guided(guidance)
    with context():
        found = guided(guidance)
    assert not torch.equal(found, guided(None))
    assert torch.equal(found, expected) and not found.requires_grad


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpm", "unipc"])
@pytest.mark.parametrize("update", UPDATES)
def test_zero_strength_is_no_guidance_bit_for_bit(name, update):
    scheduler = make_scheduler(name)
    guidance = LinearReward(scheduler, 1.0, GuidanceConfig.plain(strength=0.0, update=update))
    if name == "unipc" and update != "score_shift":
        with pytest.raises(InputError, match="UniPC.*undoes guidance update.*use 'score_shift'"):
            guided(guidance, scheduler)
        return
    assert torch.equal(guided(guidance, scheduler), guided(None, scheduler))
    assert guidance.steps == []


def test_a_vanishing_gradient_changes_nothing_bit_for_bit():
    scheduler = make_scheduler("ddim", "v_prediction")
    assert torch.equal(guided(LinearReward(scheduler, 0.0), scheduler), guided(None, scheduler))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, range(10)),
        ({"start": 0.5}, range(5, 10)),
        ({"stop": 0.3}, range(3)),
        ({"start": 0.2, "stop": 0.8, "interval": 4}, (2, 6)),
        ({"interval": 3}, (0, 3, 6, 9)),
        ({"start": 0.5, "stop": 0.5}, ()),
    ],
)
def test_gradients_are_computed_at_the_steps_asked_for_and_no_others(options, expected):
    scheduler = make_scheduler("ddim")
    guidance = LinearReward(scheduler, 1.0, GuidanceConfig.plain(**options))
    guided(guidance, scheduler)
    scheduler.set_timesteps(10)
    assert guidance.steps == [int(scheduler.timesteps[i]) for i in expected]


def test_an_interval_stands_for_every_step_of_the_window():
    assert GuidanceConfig.plain(interval=4, start=0.2, stop=0.8).weights(10) == {2: 4, 6: 2}


@pytest.mark.parametrize("update", ["additive", "ddpm"])
@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpm"])
def test_updates_of_the_next_sample_are_those_of_a_plain_loop(name, kind, update):
    scheduler, steps, mask = make_scheduler(name, kind), 8, torch.ones(2, 8, dtype=torch.bool)
    guidance = LinearReward(scheduler, 1.0, GuidanceConfig.plain(strength=0.3, update=update))
    found = guided(guidance, scheduler, steps, mask, rows=(0, 1))
    model = exact_denoiser(scheduler)
    x = starting_noise(seeds(0, 1), mask, 3)
    abars = torch.cumprod(1 - scheduler.betas, 0)
    scheduler.set_timesteps(steps)
    stops = [*scheduler.timesteps.tolist(), None]
    for i, (t, t_next) in enumerate(itertools.pairwise(stops)):
        gradient = guidance.gradient(x, torch.full((2,), t), mask)
        output = model(x, torch.full((2,), t))
        if name == "ddpm":
            x = ancestral_step(scheduler, output, x, t, t_next, step_noise(seeds(0, 1), mask, 3, i))
        else:
            x = scheduler.step(output, t, x).prev_sample
        alpha = abars[t] / (1.0 if t_next is None else abars[t_next])
        x = x + 0.3 * (1 if update == "additive" else (1 - alpha) / alpha.sqrt()) * gradient
    assert (found - guided(None, scheduler, steps, mask, rows=(0, 1))).abs().min() > 0.01
    torch.testing.assert_close(found, x, atol=1e-4, rtol=1e-4)


def test_additive_updates_add_the_gradient_to_the_next_sample():
    scheduler, steps = make_scheduler("ddim"), 10
    x, x_plain = (
        guided(
            LinearReward(scheduler, 1.0, GuidanceConfig.plain(strength=strength, update="additive", start=0.9)),
            scheduler,
        )
        for strength in (0.3, 0.0)
    )
    scheduler.set_timesteps(steps)
    gradient = LinearReward(scheduler, 1.0).gradient(x, scheduler.timesteps[-1:].expand(4), MASK)
    torch.testing.assert_close(x, x_plain + 0.3 * gradient)


def test_the_exact_update_scales_by_beta_over_root_alpha():
    level, after = Level.of(0.4), Level.of(0.5)
    moved = UPDATES["ddpm"].sample(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), level, after)
    assert moved.item() == pytest.approx(0.2 / 0.8**0.5)  # alpha_t = .8, beta_t = .2


def test_norm_control_acts_on_each_sample_over_its_valid_entries():
    gradient = torch.zeros(4, 8, 3)
    gradient[MASK] = 1.0
    gradient *= torch.tensor([0.0, 0.5, 2.0, 8.0]).reshape(4, 1, 1)
    for norm, expected in (("none", [0, 0.5, 2, 8]), ("clip", [0, 0.5, 1, 1]), ("normalize", [0, 1, 1, 1])):
        pushed = scaled(GuidanceConfig.plain(strength=3.0, norm=norm), gradient, Level.of(0.5), MASK)
        torch.testing.assert_close(pushed.amax((1, 2)), 3 * torch.tensor(expected).float())


@pytest.mark.parametrize(("profile", "factor"), [("constant", 1.0), ("noise", 0.8), ("signal", 0.6)])
def test_profiles_scale_the_strength(profile, factor):
    pushed = scaled(GuidanceConfig.plain(strength=2.0, profile=profile), torch.ones(4, 8, 3), Level.of(0.36), MASK)
    assert pushed.unique().item() == pytest.approx(2 * factor)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"update": "score"}, "Unknown guidance update 'score'; choose one of score_shift, additive, ddpm"),
        ({"profile": "cosine"}, "guidance profile 'cosine'"),
        ({"norm": "max"}, "guidance norm 'max'"),
        ({"point": "x1"}, "guidance point 'x1'"),
        ({"start": 0.7, "stop": 0.2}, r"window \[0.7, 0.2\]"),
        ({"stop": 1.5}, "within"),
        ({"interval": 0}, "interval=0 is too small; give 1 or more"),
        ({"strength": -1.0}, "strength=-1.0 is too small"),
        ({"candidates": 0}, "candidates=0"),
        ({"temperature": 0.0}, "temperature=0.0 must be positive"),
        ({"mu": float("nan")}, "mu=nan is not a finite number"),
        ({"interval": 1.5}, "interval=1.5 is not a whole number"),
        ({"through_decoder": 1}, "through_decoder=1 is not true or false"),
        ({"strength": True}, "strength=True is not a number"),
        ({"method": "guess"}, "Unknown guidance 'guess'; choose one of none, reward, best-of"),
        ({"norm_limit": 0.0}, "norm_limit=0.0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        GuidanceConfig.plain(**options)
