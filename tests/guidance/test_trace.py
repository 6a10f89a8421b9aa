"""Rewards along the timesteps agree with a loop by hand, and recording changes no sample."""

from typing import Any

import pytest
import torch
from steer_parts import LENGTHS, captions, generator, motion_index, reward, seeds
from torch import Tensor

from realign.diffusion import CLEAN_STEP
from realign.diffusion.steered import SteeredSteps, Steers
from realign.guidance import GuidanceConfig, RewardTrace
from realign.guidance.objective import RewardObjective
from realign.guidance.steering import RewardSteering

ROWS = [0, 1, 2]
SEEDS = seeds(5, 6, 7)


class Kept(Steers, SteeredSteps):
    """Keeps the model's calls and changes nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, float, float, Tensor, Tensor, Tensor]] = []

    def over(self, solver: Any, kind: Any) -> "Kept":
        return self

    def output(self, call: Any, output: Tensor, x_t: Tensor, t: Tensor, mask: Tensor) -> Tensor:
        self.calls.append((call.t, float(call.level.alpha), float(call.level.sigma), output, x_t, mask))
        return output

    def sample(self, call: Any, x_next: Tensor) -> Tensor:
        return x_next


def parts(latent: bool, **options: Any) -> tuple[RewardSteering, Any, Any]:
    judge, model = reward(latent), generator(latent)
    config = GuidanceConfig.plain(mu=2.0, eta=0.5, strength=30.0, profile="signal", **options)
    steering = RewardSteering(RewardObjective(judge, motion_index(judge), config))
    return steering, model, steering.guidance(model, captions(ROWS), LENGTHS[ROWS])


@pytest.mark.parametrize("latent", [False, True])
@pytest.mark.parametrize("point", ["x0", "x_t"])
def test_recorded_rewards_are_those_of_a_loop_by_hand(latent: bool, point: str) -> None:
    steering, model, bound = parts(latent)
    trace, kept = RewardTrace(bound, steer=False, point=point), Kept()
    for each in (trace, kept):
        model.sample(captions(ROWS), LENGTHS[ROWS], SEEDS, guidance=each)
    assert trace.timesteps == [call[0] for call in kept.calls] and len(trace.timesteps) == 5
    target = steering.objective.target(captions(ROWS))
    expected = torch.zeros(5, 3)
    with torch.no_grad():
        for step, (t, alpha, sigma, output, x_t, mask) in enumerate(kept.calls):
            clean = output if model.path.prediction == "sample" else (x_t - sigma * output) / alpha
            for row in ROWS:
                tokens = int(mask[row].sum())
                x = (clean if point == "x0" else x_t)[row, None, :tokens]
                level = torch.tensor([CLEAN_STEP if point == "x0" else t])
                made = steering.objective.reward.model.embed_motion(x, level, torch.ones(1, tokens, dtype=torch.bool))
                expected[step, row] = (made[0] * target[row]).sum()
    torch.testing.assert_close(trace.rewards, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"point": "x0"}, {"update": "additive"}])
def test_recording_changes_no_sample(options: dict[str, Any]) -> None:
    _, model, bound = parts(False, **options)
    take = (captions(ROWS), LENGTHS[ROWS], SEEDS)
    plain, guided = (model.sample(*take, guidance=guidance) for guidance in (None, bound))
    free, steered = RewardTrace(bound, steer=False), RewardTrace(bound)
    assert torch.equal(model.sample(*take, guidance=free), plain)
    assert torch.equal(model.sample(*take, guidance=steered), guided) and not torch.equal(guided, plain)
    assert torch.equal(free.rewards[0], steered.rewards[0])  # nothing is guided before the first call
    assert not torch.equal(steered.rewards[-1], free.rewards[-1])


def test_a_trace_forgets_the_sampling_before_and_works_in_inference_mode() -> None:
    _, model, bound = parts(True)
    trace = RewardTrace(bound)
    assert trace.rewards.shape == (0, 0)
    found = []
    for mode in (False, True):
        with torch.inference_mode(mode):
            model.sample(captions(ROWS), LENGTHS[ROWS], SEEDS, guidance=trace, steps=4)
        found.append(trace.rewards)
    assert found[0].shape == (4, 3) and len(trace.timesteps) == 4 and torch.equal(*found)
