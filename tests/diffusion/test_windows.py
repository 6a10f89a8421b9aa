"""Sequences of overlapping windows: partition of unity, independence of batches, and sampling in every space."""

import pytest
import torch
from steer_parts import generator, reward, seeds, space
from task_parts import CAPTIONS

from realign.diffusion.windows import WindowPlan
from realign.errors import InputError
from realign.guidance import BestOfN, GuidanceConfig, RewardObjective, RewardSteering
from realign.masking import lengths_to_mask
from realign.nn import FeatureSpace, LatentSpace, SkipTransformerVAE
from realign.tasks import GeneratorTask

PARTS = [[40, 24, 60], [20], [20, 28]]
PLAN = WindowPlan(PARTS)


def captions(plan: WindowPlan) -> list[str]:
    return [CAPTIONS[i % len(CAPTIONS)] for i in range(len(plan.rows))]


def take(
    task: GeneratorTask, plan: WindowPlan, rows: list[int], texts: list[str], guide: object = None
) -> torch.Tensor:
    given = texts, torch.tensor(plan.lengths), seeds(*rows)
    if guide is None:
        return task.sample(*given, windows=plan)
    return guide.sample(task, *given, windows=plan)  # type: ignore[attr-defined]


def test_a_window_is_a_part_with_half_an_overlap_at_each_seam() -> None:
    assert PLAN.lengths == [124, 20, 48]
    assert PLAN.rows == [0, 0, 0, 1, 2, 2]
    assert PLAN.starts == [0, 28, 52, 0, 0, 12]  # 24 frames overlap, 16 where a part has 20
    assert PLAN.window_lengths == [52, 48, 72, 20, 28, 36]
    for wrong in ([[40, 0]], [[40, 30]], [[]]):
        with pytest.raises(InputError, match="cannot be made"):
            WindowPlan(wrong)


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("own", [0, 3])
def test_blending_the_windows_of_a_sequence_gives_the_sequence(stride: int, own: int) -> None:
    tokens = [frames // stride for frames in PLAN.window_lengths]
    mask = lengths_to_mask(torch.tensor(tokens) + own)
    windows = PLAN.over(mask, stride)
    per_row = [PLAN.rows.count(row) for row in range(3)]
    assert windows.mask.sum(1).tolist() == [
        frames // stride + own * n for frames, n in zip(PLAN.lengths, per_row, strict=True)
    ]
    x = torch.randn(3, windows.mask.shape[1], 5) * windows.mask[..., None]
    cut = windows.cut(x)
    for number, (row, start, count) in enumerate(zip(PLAN.rows, PLAN.starts, tokens, strict=True)):
        assert torch.equal(cut[number, :count], x[row, start // stride : start // stride + count])
        assert not cut[number, count + own :].any()
    torch.testing.assert_close(windows.blend(cut), x)
    # of two constant windows, the first falls and the second rises linearly over what they share
    faded = windows.blend(torch.arange(6.0)[:, None, None].expand(6, mask.shape[1], 5))[0, : 60 // stride, 0]
    ramp = (torch.arange(24 // stride) + 0.5) / (24 // stride)
    torch.testing.assert_close(faded[28 // stride : 52 // stride], ramp)
    assert not faded[: 28 // stride].any()


def test_windows_begin_at_tokens() -> None:
    with pytest.raises(InputError, match="whole tokens of 8"):
        PLAN.over(lengths_to_mask(torch.tensor(PLAN.window_lengths)), 8)


def test_values_of_windows_and_sequences() -> None:
    windows = PLAN.over(lengths_to_mask(torch.tensor(PLAN.window_lengths)))
    assert windows.of_each(torch.tensor([7, 8, 9])).tolist() == [7, 7, 7, 8, 9, 9]
    assert windows.mean(torch.tensor([1.0, 2.0, 6.0, 8.0, -torch.inf, 1.0])).tolist() == [3, 8, -torch.inf]


@pytest.mark.parametrize("latent", [False, True])
@pytest.mark.parametrize("guided", [None, "reward", "best-of"])
def test_a_sequence_does_not_depend_on_its_batch(latent: bool, guided: str | None) -> None:
    task, texts, guide = generator(latent), captions(PLAN), None
    if guided is not None:
        config = GuidanceConfig.of({"method": guided, "candidates": 2, "start": 0.0, "interval": 1})
        guide = (BestOfN if guided == "best-of" else RewardSteering)(RewardObjective(reward(latent), None, config))
    together = take(task, PLAN, [0, 1, 2], texts, guide)
    assert together.shape[:2] == (3, 124)
    for row, part in enumerate(PARTS):
        own = [text for text, place in zip(texts, PLAN.rows, strict=True) if place == row]
        alone = take(task, WindowPlan([part]), [row], own, guide)
        torch.testing.assert_close(together[row, : sum(part)], alone[0], atol=1e-4, rtol=0)
    if guided == "reward":
        assert (together - take(task, PLAN, [0, 1, 2], texts)).abs().max() > 1e-3


@pytest.mark.parametrize("latent", [False, True])
def test_one_window_is_ordinary_sampling(latent: bool) -> None:
    task, plan = generator(latent), WindowPlan([[24]])
    plain = task.sample([CAPTIONS[0]], torch.tensor([24]), seeds(3))
    assert torch.equal(take(task, plan, [3], [CAPTIONS[0]]), plain)


def test_tokens_behind_a_window_belong_to_it_alone() -> None:
    task = generator()
    task.space = FeatureSpace(frames=80)  # 80 tokens for every window, as the published MDM has them
    made = take(task, PLAN, [0, 1, 2], captions(PLAN))
    assert made.shape[:2] == (3, 124) and made.isfinite().all() and not made[1, 20:].any()
    plain = task.sample([captions(PLAN)[3]], torch.tensor([20]), seeds(1))
    torch.testing.assert_close(made[1, :20], plain[0], atol=1e-4, rtol=0)


def test_latents_of_whole_motions_are_refused() -> None:
    task = generator()
    task.space = LatentSpace(SkipTransformerVAE(263, 4, 1, 1, 2, 8))
    with pytest.raises(InputError, match="stand for a whole motion"):
        take(task, PLAN, [0, 1, 2], captions(PLAN))
    assert space(True).stride == 4 and space(False).stride == 1
