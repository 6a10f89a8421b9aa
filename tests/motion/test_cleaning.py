"""Clean motions, of figures in closed form."""

import time

import numpy as np
import pytest
import torch
from still_parts import bone_lengths, standing

from realign.errors import InputError
from realign.motion.cleaning import clean_clip, clean_features, clean_joints, clean_motion
from realign.motion.clip import MotionClip
from realign.motion.features import features_to_joints, joints_to_features
from realign.motion.layout import feature_groups
from realign.motion.skeleton import HUMANML3D, KIT

BOTH = [HUMANML3D, KIT]


def sliding(skeleton, frames=12, speed=0.2):
    """A figure that glides ahead as a whole (m/s)."""
    joints = standing(skeleton, frames)
    joints[..., 2] += torch.arange(frames)[:, None] * speed / skeleton.fps / skeleton.metres
    return joints


def noisy(skeleton, frames=30, size=0.02, seed=0):
    noise = torch.randn(frames, skeleton.num_joints, 3, generator=torch.Generator().manual_seed(seed))
    return standing(skeleton, frames) + size / skeleton.metres * noise


def toe_speed(joints, skeleton):
    toes = joints[:, [skeleton.feet_left[1], skeleton.feet_right[1]]]
    return toes.diff(dim=0)[..., [0, 2]].norm(dim=-1) * skeleton.fps * skeleton.metres


@pytest.mark.parametrize("skeleton", BOTH, ids=lambda s: s.name)
def test_a_recording_of_rigid_bones_and_still_feet_does_not_move(skeleton):
    joints = standing(skeleton)
    wrist = skeleton.joints.index("left_wrist")
    elbow = skeleton.parents[wrist]
    angle = torch.linspace(0, 2, len(joints), dtype=torch.float64)
    arm = torch.stack([torch.sin(angle), -torch.cos(angle), torch.zeros_like(angle)], dim=-1)
    joints[:, wrist] = joints[:, elbow] + arm * bone_lengths(joints, skeleton)[0, wrist - 1]
    assert float((clean_joints(joints, skeleton) - joints).abs().max()) * skeleton.metres < 1e-6


@pytest.mark.parametrize("skeleton", BOTH, ids=lambda s: s.name)
def test_bones_are_rigid_and_feet_still(skeleton):
    raw = noisy(skeleton)
    found = clean_joints(raw, skeleton)
    lengths = bone_lengths(found, skeleton) * skeleton.metres
    assert float((lengths.amax(0) - lengths.amin(0)).max()) < 1e-6
    if skeleton.rest_offsets is not None:
        expected = torch.tensor(skeleton.rest_offsets[1:]).norm(dim=-1).double()
        torch.testing.assert_close(lengths[0], expected, rtol=0, atol=1e-6)
    assert float((found - raw).norm(dim=-1).mean()) * skeleton.metres < 0.05


@pytest.mark.parametrize("skeleton", BOTH, ids=lambda s: s.name)
def test_feet_that_slide_are_held_where_they_were_on_average(skeleton):
    raw = sliding(skeleton)
    found = clean_joints(raw, skeleton)
    assert float(toe_speed(raw, skeleton).min()) == pytest.approx(0.2)
    assert float(toe_speed(found, skeleton).max()) < 0.002
    middle = raw[:, skeleton.feet_left[1]].mean(0)
    torch.testing.assert_close(found[6, skeleton.feet_left[1]], middle, rtol=0, atol=0.002 / skeleton.metres)
    assert float((found - raw).norm(dim=-1).max()) * skeleton.metres < 0.1


def test_feet_in_the_air_or_said_to_be_free_are_not_held():
    high = sliding(HUMANML3D)
    high[..., 1] += 0.3
    torch.testing.assert_close(clean_joints(high), high, rtol=0, atol=1e-6)
    free = sliding(HUMANML3D)
    torch.testing.assert_close(clean_joints(free, contacts=torch.zeros(12, 4)), free, rtol=0, atol=1e-6)
    assert float(toe_speed(clean_joints(free, contacts=torch.ones(12, 4)), HUMANML3D).max()) < 0.002


@pytest.mark.parametrize("height", [-0.03, 0.04])
def test_standing_feet_come_to_the_floor(height):
    joints = standing(HUMANML3D)
    joints[..., 1] += height
    toes = clean_joints(joints)[:, list(HUMANML3D.feet), 1]
    assert float(toes.min()) > -1e-6 and float(toes[:, [1, 3]].max()) < 0.0155


def test_one_foot_below_the_floor_rises_and_the_rest_hardly_moves():
    joints = standing(HUMANML3D)
    joints[10:16, [7, 10], 1] -= 0.02
    found = clean_joints(joints, own_lengths=True)
    assert float(found[..., 1].min()) > -1e-6
    assert float((found - joints).norm(dim=-1)[:, 12:].max()) < 0.01


def test_cleaning_again_changes_nothing_that_can_be_seen():
    first = clean_joints(noisy(HUMANML3D, 60, size=0.01))
    again = clean_joints(first)
    assert float((again - first).norm(dim=-1).mean()) < 0.001


def test_a_body_of_other_lengths_keeps_them_where_asked():
    joints = 1.2 * standing(HUMANML3D)
    own = clean_joints(joints, own_lengths=True)
    torch.testing.assert_close(own, joints, rtol=0, atol=1e-6)
    assert float((clean_joints(joints) - joints).norm(dim=-1).max()) > 0.1
    clip = MotionClip(joints.numpy(), 20.0, "a tall person", reward=0.5)
    clean = clean_clip(clip)
    assert (clean.caption, clean.fps, clean.reward) == ("a tall person", 20.0, 0.5)
    np.testing.assert_allclose(clean.joints, clip.joints, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 2, 3, 25])
@pytest.mark.parametrize("skeleton", BOTH, ids=lambda s: s.name)
def test_short_motions_and_odd_ones_are_finite(skeleton, frames):
    assert torch.isfinite(clean_joints(noisy(skeleton, frames), skeleton)).all()
    assert torch.isfinite(clean_joints(torch.zeros(frames, skeleton.num_joints, 3), skeleton)).all()
    wild = torch.randn(frames, skeleton.num_joints, 3, generator=torch.Generator().manual_seed(0)) * 1e3
    assert torch.isfinite(clean_joints(wild, skeleton)).all()


def test_what_is_not_finite_stays_and_other_shapes_are_refused():
    joints = standing(HUMANML3D, 4)
    joints[2, 3, 1] = torch.nan
    assert clean_joints(joints) is joints
    with pytest.raises(InputError, match="do not fit skeleton"):
        clean_joints(standing(KIT), HUMANML3D)
    features = torch.full((5, 263), torch.nan)
    assert clean_features(features) is features


@pytest.mark.parametrize("skeleton", BOTH, ids=lambda s: s.name)
def test_features_of_the_clean_motion_are_as_many_and_show_it(skeleton):
    features = joints_to_features(sliding(skeleton).float(), skeleton)
    features[:, feature_groups(skeleton)["contacts"]] = 1
    clean, joints = clean_features(features, skeleton), clean_motion(features, skeleton)
    assert clean.shape == features.shape and clean.dtype == features.dtype
    shown = features_to_joints(clean, skeleton)
    joints -= joints[:1, :1] * torch.tensor([1.0, 0.0, 1.0])  # features begin at the origin, the lowest joint at 0
    joints[..., 1] -= joints[..., 1].min()
    torch.testing.assert_close(shown, joints, rtol=0, atol=2e-3 / skeleton.metres)
    assert float(toe_speed(shown, skeleton).max()) < 0.01


def test_a_motion_of_the_greatest_length_takes_less_than_a_tenth_of_a_second():
    joints = noisy(HUMANML3D, 196)
    clean_joints(joints)
    taken = []
    for _ in range(3):
        start = time.process_time()
        clean_joints(joints)
        taken.append(time.process_time() - start)
    assert min(taken) < 0.1
