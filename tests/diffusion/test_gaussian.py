import pytest
import torch
from diffusion_parts import MEAN, STD, LinearReward, exact_denoiser, make_scheduler, sampler, seeds

from realign.diffusion import FlowMatching
from realign.guidance.config import GuidanceConfig

SHAPE = (32, 64, 64)  # 65,536 independent draws a column: standard errors .2 % of the mean and .6 % of the variance
STEPS = {"ddpm": 500, "ddim": 250, "dpm": 50, "unipc": 50}
# every scheduler meets two prediction types, and every type two schedulers: the rest is the same arithmetic
PLAIN = [("ddpm", "epsilon"), ("ddim", "sample"), ("dpm", "v_prediction"), ("unipc", "epsilon")]
GUIDED = [("ddpm", "v_prediction"), ("ddim", "epsilon"), ("dpm", "sample"), ("unipc", "v_prediction")]


def sample(source, steps, guidance=None, name=None, **gaussian):
    mask = torch.ones(SHAPE[:2], dtype=torch.bool)
    predict = exact_denoiser(source, **gaussian)
    return sampler(source, steps, name).sample(predict, SHAPE, mask, guidance, seeds(*range(SHAPE[0])))


def slopes(size):
    """Entries of alternating sign, so that errors cannot cancel."""
    return size * (1 - 2.0 * (torch.arange(SHAPE[2]) % 2))


def check(x, mean, std, variance=0.03):
    for column in (0, 1):
        part = x[..., column::2]
        assert part.mean().item() == pytest.approx(mean[column], rel=0.03)
        assert part.var().item() == pytest.approx(std**2, rel=variance)


@pytest.mark.parametrize(("name", "kind"), PLAIN)
def test_samples_have_the_mean_and_variance_of_the_data(name, kind):
    check(sample(make_scheduler(name, kind), STEPS[name]), [MEAN, MEAN], STD)


@pytest.mark.parametrize(("name", "kind"), GUIDED)
def test_score_shift_samples_the_tilted_gaussian(name, kind):
    scheduler = make_scheduler(name, kind)
    guidance = LinearReward(scheduler, slopes(2.0), GuidanceConfig.plain(strength=1.5))
    shift = 1.5 * 2.0 * STD**2  # N(m, s^2) times exp(w a x) is N(m + w a s^2, s^2)
    check(sample(scheduler, STEPS[name], guidance), [MEAN + shift, MEAN - shift], STD)


def test_exact_ddpm_update_samples_the_tilted_gaussian():
    scheduler = make_scheduler("ddpm")
    guidance = LinearReward(scheduler, slopes(2.0), GuidanceConfig.plain(strength=1.5, update="ddpm"))
    check(sample(scheduler, STEPS["ddpm"], guidance), [MEAN + 0.75, MEAN - 0.75], STD)


def test_gradient_at_the_clean_sample_is_exact_for_data_of_unit_variance():
    scheduler = make_scheduler("unipc", "v_prediction")
    options = GuidanceConfig.plain(strength=1.5, point="x0")
    guidance = LinearReward(scheduler, slopes(1.0), options)
    check(sample(scheduler, 50, guidance, mean=2.0, std=1.0), [3.5, 0.5], 1.0)
    assert set(guidance.steps) == {-1}


@pytest.mark.parametrize("name", ["ddim", "unipc"])
def test_an_interval_keeps_the_strength(name):
    scheduler = make_scheduler(name)
    guidance = LinearReward(scheduler, slopes(2.0), GuidanceConfig.plain(strength=1.5, interval=3))
    x = sample(scheduler, 100, guidance)
    assert len(guidance.steps) == 34
    assert x[..., ::2].mean().item() == pytest.approx(MEAN + 0.75, rel=0.03)


FLOWS = [(name, shift) for name in ("euler", "heun") for shift in (1.0, 3.0)]
VARIANCE = {"euler": 0.14, "heun": 0.03}  # Euler's straight steps cut the corners of a curve: its order, not a fault


@pytest.mark.parametrize(("name", "shift"), FLOWS)
def test_flows_sample_the_data_and_the_tilted_gaussian(name, shift):
    flow = FlowMatching(shift)
    check(sample(flow, 50, name=name), [MEAN, MEAN], STD, VARIANCE[name])
    guidance = LinearReward(flow, slopes(2.0), GuidanceConfig.plain(strength=1.5))
    check(sample(flow, 50, guidance, name), [MEAN + 0.75, MEAN - 0.75], STD, VARIANCE[name])


@pytest.mark.parametrize(("name", "shift"), FLOWS)
def test_gradients_at_the_clean_sample_steer_flows_exactly_for_data_of_unit_variance(name, shift):
    flow = FlowMatching(shift)
    guidance = LinearReward(flow, slopes(1.0), GuidanceConfig.plain(strength=1.5, point="x0"))
    check(sample(flow, 50, guidance, name, mean=2.0, std=1.0), [3.5, 0.5], 1.0, VARIANCE[name])
    assert set(guidance.steps) == {-1}


@pytest.mark.parametrize("name", ["euler", "heun"])
def test_an_interval_keeps_the_strength_of_a_flow(name):
    flow = FlowMatching()
    guidance = LinearReward(flow, slopes(2.0), GuidanceConfig.plain(strength=1.5, interval=3))
    x = sample(flow, 100, guidance, name)
    assert len(guidance.steps) == {"euler": 34, "heun": 67}[name]  # the last step of Heun's is Euler's
    assert x[..., ::2].mean().item() == pytest.approx(MEAN + 0.75, rel=0.03)
