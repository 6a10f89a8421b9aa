import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from realign.diffusion.prediction import score_shift, target, to_epsilon, to_sample

KINDS = ["epsilon", "sample", "v_prediction"]
LEVELS = st.floats(1e-3, 1 - 1e-3)
SEEDS = st.integers(0, 2**32)


def noisy(level, seed):
    generator = torch.Generator().manual_seed(seed)
    x0, epsilon = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64).unbind()
    abar = torch.tensor(level, dtype=torch.float64)
    return x0, epsilon, abar, abar.sqrt() * x0 + (1 - abar).sqrt() * epsilon


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(level=LEVELS, seed=SEEDS)
def test_a_perfect_output_gives_back_sample_and_noise(kind, level, seed):
    x0, epsilon, abar, x_t = noisy(level, seed)
    output = target(x0, epsilon, abar, kind)
    torch.testing.assert_close(to_sample(output, x_t, abar, kind), x0)
    torch.testing.assert_close(to_epsilon(output, x_t, abar, kind), epsilon)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(level=LEVELS, seed=SEEDS)
def test_any_output_names_a_pair_that_mixes_to_the_noisy_sample(kind, level, seed):
    output, _, abar, x_t = noisy(level, seed)
    x0, epsilon = to_sample(output, x_t, abar, kind), to_epsilon(output, x_t, abar, kind)
    torch.testing.assert_close(abar.sqrt() * x0 + (1 - abar).sqrt() * epsilon, x_t)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(level=LEVELS, seed=SEEDS)
def test_the_score_shift_adds_the_push_to_the_score_in_every_form(kind, level, seed):
    x0, epsilon, abar, x_t = noisy(level, seed)
    push = epsilon.roll(1)
    shifted = score_shift(target(x0, epsilon, abar, kind), push, abar, kind)
    score, new_score = (
        -to_epsilon(output, x_t, abar, kind) / (1 - abar).sqrt()
        for output in (target(x0, epsilon, abar, kind), shifted)
    )
    torch.testing.assert_close(new_score, score + push)
    # Tweedie: E[x_0 | x_t] = (x_t + (1 - abar) score) / sqrt(abar)
    torch.testing.assert_close(to_sample(shifted, x_t, abar, kind), (x_t + (1 - abar) * new_score) / abar.sqrt())


@pytest.mark.parametrize("kind", ["sample", "v_prediction"])
def test_pure_noise_is_left_alone(kind):
    output = torch.randn(2, 3, 4)
    assert torch.equal(score_shift(output, torch.ones(2, 3, 4), torch.tensor(0.0), kind), output)


def test_levels_may_differ_between_samples():
    x0, epsilon = torch.randn(2, 2, 3, 4).unbind()
    abar = torch.tensor([0.2, 0.9]).reshape(2, 1, 1)
    together = target(x0, epsilon, abar, "v_prediction")
    assert torch.equal(together[1], target(x0[1], epsilon[1], abar[1], "v_prediction"))
