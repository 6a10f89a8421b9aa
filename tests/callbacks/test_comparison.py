import numpy as np
import pytest
import scipy.linalg
import torch

from realign.batch import MotionTextBatch
from realign.callbacks.comparison import SampleMetrics
from realign.metrics.generation_metric import GenerationMetrics

FRAMES, UNITS = 30, 480 / 0.75  # units of KIT-ML per metre


def kit_motion(height: float, travel: float) -> torch.Tensor:
    """KIT features of a body whose joints are all `height` units above the floor and move `travel` units per frame."""
    motion = torch.zeros(1, FRAMES, 251)
    motion[..., 1] = travel
    motion[..., 3] = 480.0
    motion[..., 5:64:3] = height
    return motion


@pytest.mark.parametrize(("speed", "skates"), [(0.3, 0.0), (0.6, 1.0)])
def test_physical_measures_of_a_skeleton_in_other_units_are_in_metres(speed: float, skates: float) -> None:
    metrics = SampleMetrics({}, "kit")
    batch = MotionTextBatch(torch.zeros(1, FRAMES, 251), torch.tensor([FRAMES]), ["walk"], ["a"], torch.tensor([0]))
    metrics.update(kit_motion(0.04 * UNITS, speed / 12.5 * UNITS), batch, {})
    found = metrics.compute()
    assert found["floating_m"].item() == pytest.approx(0.04)
    assert found["foot_skating"].item() == skates
    metrics.update(kit_motion(-0.1 * UNITS, 0.0), batch, {})
    assert metrics.compute()["penetration_m"].item() == pytest.approx(0.1)


def test_measured_motions_that_are_not_finite_are_left_out_and_identical_captions_count_as_right() -> None:
    text = torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 0.0], [9.0, 9.0]])
    motion = torch.tensor([[0.0, 1.0], [4.0, 3.0], [4.0, 2.0], [float("nan"), 0.0]])
    batch = MotionTextBatch(
        torch.zeros(4, FRAMES, 251), torch.full((4,), FRAMES), ["walk", "run", "run", "bow"], list("abcd"),
        torch.arange(4),
    )  # fmt: skip
    metrics = GenerationMetrics(identical=True, few=True)
    for rows in (slice(0, 2), slice(2, 4), slice(1, 2)):  # a distributed sampler repeats some
        part = batch[rows]
        metrics.update(text[rows], motion[rows], part.ids, part.captions, motion[[0, 1, 2, 0]][rows])
    found = metrics.compute()
    assert found["R@1"] == 1  # the second caption is nearer to the third motion, which has the same caption
    assert found["MM-Dist"] == pytest.approx((1 + 3 + 2) / 3)
    recorded, made = motion[[0, 1, 2, 0]].double(), motion[:3].double()
    own, other = (np.cov(each.numpy(), rowvar=False) for each in (made, recorded))
    fid = (made.mean(0) - recorded.mean(0)).square().sum().item() + np.trace(
        own + other - 2 * scipy.linalg.sqrtm(own @ other).real
    )
    assert found["FID"] == pytest.approx(fid, rel=1e-4)
    metrics.reset()
    metrics.update(text[2:], motion[2:], batch[2:].ids, batch[2:].captions, motion[:2])
    found = metrics.compute()
    assert found.pop("excluded") == 1 and all(value.isnan() for value in found.values()) and "FID" in found
