import pytest
import torch

from realign.batch import MotionTextBatch
from realign.callbacks.comparison import SampleMetrics

FRAMES, UNITS = 30, 480 / 0.75  # units of KIT-ML in a metre


def kit_motion(height: float, way: float) -> torch.Tensor:
    """KIT features of a body whose joints are all `height` units above the floor and move `way` units a frame."""
    motion = torch.zeros(1, FRAMES, 251)
    motion[..., 1] = way
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
