import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from realign.diffusion.prediction import Level, score_shift, target, to_sample

KINDS = ["epsilon", "sample", "v_prediction", "flow_prediction"]
FRACTIONS = st.floats(1e-3, 1 - 1e-3)
SEEDS = st.integers(0, 2**32)


def noisy(kind, fraction, seed):
    """Clean sample, noise, their weights on a path, and the mixture, by the papers' formulas."""
    generator = torch.Generator().manual_seed(seed)
    x0, epsilon = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64).unbind()
    fraction = torch.tensor(fraction, dtype=torch.float64)
    if kind == "flow_prediction":
        return x0, epsilon, Level(1 - fraction, fraction), (1 - fraction) * x0 + fraction * epsilon
    return x0, epsilon, Level.of(fraction), fraction.sqrt() * x0 + (1 - fraction).sqrt() * epsilon


def noise_in(output, x_t, level, kind):
    return (x_t - level.alpha * to_sample(output, x_t, level, kind)) / level.sigma


def test_outputs_are_those_of_the_papers():
    x0, epsilon = torch.randn(2, 3, 4).unbind()
    abar = torch.tensor(0.36)
    outputs = {kind: target(x0, epsilon, Level.of(abar), kind) for kind in KINDS}
    assert torch.equal(outputs["epsilon"], epsilon) and torch.equal(outputs["sample"], x0)
    torch.testing.assert_close(outputs["v_prediction"], 0.6 * epsilon - 0.8 * x0)
    torch.testing.assert_close(outputs["flow_prediction"], epsilon - x0)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(fraction=FRACTIONS, seed=SEEDS)
def test_a_perfect_output_gives_back_sample_and_noise(kind, fraction, seed):
    x0, epsilon, level, x_t = noisy(kind, fraction, seed)
    output = target(x0, epsilon, level, kind)
    torch.testing.assert_close(to_sample(output, x_t, level, kind), x0)
    torch.testing.assert_close(noise_in(output, x_t, level, kind), epsilon)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(fraction=FRACTIONS, seed=SEEDS)
def test_any_output_is_the_target_of_the_pair_that_it_names(kind, fraction, seed):
    output, _, level, x_t = noisy(kind, fraction, seed)
    x0, epsilon = to_sample(output, x_t, level, kind), noise_in(output, x_t, level, kind)
    torch.testing.assert_close(target(x0, epsilon, level, kind), output)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(fraction=FRACTIONS, seed=SEEDS)
def test_the_score_shift_is_added_for_every_prediction_type(kind, fraction, seed):
    x0, epsilon, level, x_t = noisy(kind, fraction, seed)
    push = epsilon.roll(1)
    output = target(x0, epsilon, level, kind)
    shifted = score_shift(output, push, level, kind)
    score, new_score = (-noise_in(each, x_t, level, kind) / level.sigma for each in (output, shifted))
    torch.testing.assert_close(new_score, score + push)
    # Tweedie: E[x_0 | x_t] = (x_t + sigma^2 score) / alpha
    expected = (x_t + level.sigma**2 * new_score) / level.alpha
    torch.testing.assert_close(to_sample(shifted, x_t, level, kind), expected)
    plain = score_shift(output, push, Level(float(level.alpha), float(level.sigma)), kind)
    torch.testing.assert_close(plain, shifted)


@pytest.mark.parametrize("level", [Level(0.0, 1.0), Level(torch.tensor(0.0), torch.tensor(1.0))])
@pytest.mark.parametrize("kind", KINDS)
def test_pure_noise_is_unchanged(kind, level):
    output = torch.randn(2, 3, 4)
    assert torch.equal(score_shift(output, torch.ones(2, 3, 4), level, kind), output)


def test_timesteps_may_differ_between_samples():
    x0, epsilon = torch.randn(2, 2, 3, 4).unbind()
    abar = torch.tensor([0.2, 0.9]).reshape(2, 1, 1)
    together = target(x0, epsilon, Level.of(abar), "v_prediction")
    assert torch.equal(together[1], target(x0[1], epsilon[1], Level.of(abar[1]), "v_prediction"))
