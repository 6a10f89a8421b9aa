import pytest
import torch

from realign.masking import lengths_to_mask
from realign.metrics import physics
from realign.metrics.physics import (
    bone_length_variation,
    bone_ranges,
    floating,
    foot_skating_ratio,
    jerk,
    lower_foot,
    penetration,
    physical_measures,
)

FPS, FRAMES = 20.0, 12
ALL = torch.ones(1, FRAMES, dtype=torch.bool)


def still(joints: int = 3) -> torch.Tensor:
    """One motion of three joints, one above the other, that does not move; joint 2 is the foot, on the floor."""
    pose = torch.zeros(joints, 3)
    pose[:, 1] = torch.tensor([1.0, 0.5, 0.0])
    return pose.expand(1, FRAMES, -1, -1).clone()


def test_a_foot_skates_if_it_is_low_and_moves_more_than_the_limit() -> None:
    x = still()
    assert foot_skating_ratio(x, ALL, [2], FPS) == 0
    x[0, 4:, 2, 0] += 0.03  # one jump of 3 cm in 11 steps
    x[0, 8:, 2, 2] += 0.02  # one of 2 cm, which is allowed
    assert foot_skating_ratio(x, ALL, [2], FPS).item() == pytest.approx(1 / 11)
    assert foot_skating_ratio(x, ALL, [2], 12.5) == 0  # fewer frames a second: 0.375 m/s
    assert foot_skating_ratio(x, ALL, [1], FPS) == 0  # a knee
    assert foot_skating_ratio(x, ALL, [2], FPS, slide=0.3).item() == pytest.approx(2 / 11)
    x[0, 4, 2, 1] = 0.06  # lifted when it arrives
    assert foot_skating_ratio(x, ALL, [2], FPS) == 0
    x[0, 4, 2, 1] = 0.04
    assert (
        foot_skating_ratio(x, lengths_to_mask(torch.tensor([4]), FRAMES), [2], FPS) == 0
    )  # not in this motion any more


def test_two_feet_count_once_a_step() -> None:
    x = still()
    x[0, :, 1, 1] = 0.0
    x[0, :, 1:, 0] = 0.05 * torch.arange(FRAMES)[:, None]
    assert foot_skating_ratio(x, ALL, [1, 2], FPS) == 1


def test_the_lower_foot_slides_by_its_mean_speed_and_by_the_steps_that_are_seen() -> None:
    x = still()
    x[0, :, 1, 1] = 0.02  # joint 1 is a foot, too, the upper one, and moves as fast as it likes
    x[0, :, 1, 0] = torch.arange(FRAMES)
    x[0, 4:, 2, 0] += 0.022  # 0.44 m/s in one of 11 steps
    x[0, 8:, 2, 2] += 0.004  # 0.08 m/s, which is not seen
    speed, slides = lower_foot(x, ALL, [1, 2], FPS)
    assert speed.item() == pytest.approx(0.52 / 11) and slides.item() == pytest.approx(1 / 11)
    x[0, 4:, 1:, 1] += 0.1  # flight: four steps before it count
    speed, slides = lower_foot(x, ALL, [1, 2], FPS)
    assert speed.item() == 0 and slides.item() == 0
    x[0, :, 2, 1] += 0.03  # now joint 1 is lower
    assert lower_foot(x, ALL, [1, 2], FPS)[0].item() == pytest.approx(FPS)
    x[..., 1] += 1
    assert lower_foot(x, ALL, [1, 2], FPS)[0].item() == 0  # nothing is near the floor


def test_a_bone_stretches_from_its_least_to_its_greatest_length() -> None:
    x = still().double()
    x[0, 3, 2, 1] = -0.2  # bone 1-2 is 0.7 once, bone 0-1 stays at 0.5
    x[0, 5, 2, 1] = 0.1
    torch.testing.assert_close(bone_ranges(x, ALL, (-1, 0, 1)), torch.tensor([[0.0, 0.3]]).double())
    mask = lengths_to_mask(torch.tensor([4]), FRAMES)
    torch.testing.assert_close(bone_ranges(x, mask, (-1, 0, 1)), torch.tensor([[0.0, 0.2]]).double())
    assert not bone_ranges(x, torch.zeros_like(ALL), (-1, 0, 1)).any()


def test_depth_and_height_are_means_over_the_frames_that_exist() -> None:
    x = still()
    x[0, :, 2, 1] = torch.tensor([-0.1, 0.2, -0.3, 0.0] + [9.0] * 8)
    mask = lengths_to_mask(torch.tensor([4]), FRAMES)
    x[0, 4:, :, 1] = 9.0
    assert penetration(x, mask).item() == pytest.approx(0.1)
    assert floating(x, mask).item() == pytest.approx(0.05)


def test_jerk_is_the_third_derivative() -> None:
    time = torch.arange(FRAMES, dtype=torch.float64) / FPS
    x = still().double()
    x[0, :, :, 0] += (time**2)[:, None]
    assert jerk(x, ALL, FPS).item() == pytest.approx(0, abs=1e-8)
    x[0, :, :, 2] += 0.5 * (time**3)[:, None]  # 0.5 * 3! = 3 m/s^3 for all joints
    x[0, 10:] += 7  # what lies beyond the motion
    mask = lengths_to_mask(torch.tensor([10]), FRAMES)
    assert jerk(x, mask, FPS).item() == pytest.approx(3)


def test_bone_length_variation_is_std_over_mean() -> None:
    x = still().double()
    x[0, ::2, 0, 1] += 0.1  # bone 0-1 is 0.6 and 0.5 in turn; bone 1-2 stays
    assert bone_length_variation(x, ALL, (-1, 0, 1)).item() == pytest.approx(0.5 * 0.05 / 0.55)
    assert bone_length_variation(x + torch.rand(1, FRAMES, 1, 3), ALL, (-1, 0, 1)).item() == pytest.approx(
        0.5 * 0.05 / 0.55
    )


def test_a_motion_has_the_same_measures_alone_and_padded_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(3, FRAMES, 3, 3, generator=torch.Generator().manual_seed(0)) * 0.1
    lengths, options = torch.tensor([12, 7, 2]), {"feet": [1, 2], "parents": (-1, 0, 1), "fps": FPS}
    measured, measure = [], physics._bone_lengths
    monkeypatch.setattr(physics, "_bone_lengths", lambda *given: measured.append(1) or measure(*given))
    together = physical_measures(x, lengths_to_mask(lengths), **options)
    assert len(measured) == 1, "bones are measured once"
    names = {"foot_skating", "foot_speed_m_s", "foot_slide", "penetration_m", "floating_m", "jerk_m_s3"}
    assert set(together) == names | {"bone_variation", "bone_range_m", "bone_range_mean_m"}
    for row, length in enumerate(lengths.tolist()):
        own = x[row : row + 1, :length]
        for name, value in physical_measures(own, lengths_to_mask(lengths[row : row + 1]), **options).items():
            torch.testing.assert_close(together[name][row], value[0])
    assert together["jerk_m_s3"][2] == 0  # two frames have none
