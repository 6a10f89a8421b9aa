import math

import numpy as np
import plain_features
import pytest
import torch
from made import KIT_SCALED, person, upright

from realign.errors import InputError
from realign.motion import (
    HUMANML3D,
    KIT,
    canonicalize_joints,
    clip_fault,
    clips_to_features,
    face_forward,
    feature_groups,
    features_to_joints,
    joints_to_features,
    mirror_features,
    mirror_joints,
    put_at_origin,
    put_on_floor,
    uniform_skeleton,
)
from realign.motion.features import published_yaw

SKELETONS = pytest.mark.parametrize("skeleton", [HUMANML3D, KIT, KIT_SCALED], ids=["humanml3d", "kit", "kit_scaled"])


def turned(joints, angle):
    """Joints turned about Y, from Z+ towards X+, by an angle in radians for each frame."""
    cos, sin = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
    x, y, z = joints.unbind(-1)
    return torch.stack([cos * x + sin * z, y, cos * z - sin * x], -1)


def group(features, name, skeleton=HUMANML3D):
    return features[..., feature_groups(skeleton)[name]]


@SKELETONS
@pytest.mark.parametrize("frames", [2, 3, 50, 200])  # below, at and above the radius of the filter
def test_equals_the_plain_program(skeleton, frames):
    for seed in range(3):
        joints = person(seed, frames, skeleton)
        expected = plain_features.features(joints.numpy(), skeleton)
        scale = np.abs(expected).max()
        assert np.abs(joints_to_features(joints, skeleton).numpy() - expected).max() < 1e-8 * scale
        published = plain_features.canonicalize(joints.numpy(), skeleton)
        assert np.abs(canonicalize_joints(joints, skeleton).numpy() - published).max() < 1e-12 * scale


@SKELETONS
def test_round_trip(skeleton):
    joints = person(1, 120, skeleton, turn=3.0)
    canonical = canonicalize_joints(joints, skeleton)
    features = joints_to_features(joints, skeleton)
    assert features.shape == (119, skeleton.num_features)
    scale = 1.0 if skeleton is HUMANML3D else 1000.0
    assert (features_to_joints(features, skeleton) - canonical[:-1]).abs().max() < 1e-10 * scale
    assert (joints_to_features(canonical, skeleton, canonical=True) - features).abs().max() < 1e-10 * scale


@SKELETONS
def test_mirrored_features_are_features_of_mirrored_joints(skeleton):
    joints = canonicalize_joints(person(2, 60, skeleton, turn=2.0), skeleton)
    features = joints_to_features(joints, skeleton, canonical=True)
    mirrored = mirror_features(features, skeleton)
    expected = joints_to_features(mirror_joints(joints, skeleton), skeleton, canonical=True)
    assert torch.allclose(mirrored, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(mirror_features(mirrored, skeleton), features)
    assert torch.equal(mirror_joints(mirror_joints(joints, skeleton), skeleton), joints)
    assert torch.equal(
        features_to_joints(mirrored, skeleton), mirror_joints(features_to_joints(features, skeleton), skeleton)
    )


def test_a_straight_walk_has_a_known_trajectory():
    joints = upright(40)
    joints[..., 0] += 0.03 * torch.arange(40)[:, None]  # sideways, then ahead
    joints[..., 2] += 0.05 * torch.arange(40)[:, None]
    features = joints_to_features(joints, canonical=True)
    assert torch.equal(group(features, "yaw"), torch.zeros(39, 1, dtype=torch.float64))
    assert torch.allclose(group(features, "root_velocity"), features.new_tensor([0.03, 0.05]))
    velocities = group(features, "velocities").unflatten(-1, (22, 3))
    assert torch.allclose(velocities, features.new_tensor([0.03, 0, 0.05]))
    assert torch.allclose(group(features, "positions"), joints[0, 1:].flatten())
    assert torch.equal(group(features, "contacts"), torch.zeros(39, 4, dtype=torch.float64))  # 58 mm a frame
    assert torch.equal(group(joints_to_features(upright(3), canonical=True), "contacts"), torch.ones(2, 4).double())


def test_walking_to_the_left_of_a_turned_start():
    """The trajectory is relative to the first facing."""
    angle = torch.full((30,), 2.0, dtype=torch.float64)
    joints = upright(30)
    joints[..., 2] += 0.04 * torch.arange(30)[:, None]
    features = joints_to_features(turned(joints, angle) + torch.tensor([5.0, 3.0, -7.0]))
    scale = sum(HUMANML3D.rest_offsets[j][1] for j in (5, 8)) / sum(
        (joints[0, j, 1] - joints[0, HUMANML3D.parents[j], 1]) for j in (5, 8)
    )
    assert torch.allclose(group(features, "root_velocity"), features.new_tensor([0, 0.04 * scale]))


def test_a_steady_turn_has_half_its_angle_as_yaw():
    """Far from the edges, smoothing does not change a steady turn; the sign is that of the inverse turn."""
    rate = 0.01
    joints = turned(upright(400), rate * torch.arange(400, dtype=torch.float64))
    yaw = group(joints_to_features(joints, canonical=True), "yaw")[:, 0]
    assert torch.allclose(yaw[100:300], yaw.new_tensor(-rate / 2), rtol=0, atol=1e-12)


def test_a_turn_through_z_minus_keeps_its_direction():
    joints = turned(upright(400), 0.03 * torch.arange(400, dtype=torch.float64))  # nearly two turns
    features = joints_to_features(joints, canonical=True)
    assert group(features, "yaw")[1:].max() < 0
    published = plain_features.features(canonicalize_joints(joints).numpy(), HUMANML3D, published_yaw=True)
    ours = plain_features.features(canonicalize_joints(joints).numpy(), HUMANML3D)
    differs = np.abs(published - ours) > 1e-9
    assert differs.sum() == 2 and differs[:, 0].sum() == 2  # one value at each passage
    assert (features_to_joints(features) - joints[:-1]).abs().max() < 1e-10
    assert np.abs(published_yaw(joints_to_features(joints)).numpy() - published).max() < 1e-9


def test_degenerate_frames_give_no_nan():
    same_widths = upright(50)
    same_widths[:, [17, 16]] = same_widths[:, [2, 1]] + torch.tensor([0.0, 0.5, 0.0])  # shoulders minus hips is zero
    lying = same_widths[..., [1, 0, 2]]  # across is vertical
    backwards = turned(upright(50), torch.full((50,), math.pi, dtype=torch.float64))
    flipped = upright(50)
    flipped[1:] = turned(flipped[1:], torch.full((49,), math.pi, dtype=torch.float64))
    opposite = upright(50)
    for joint, offset in enumerate(HUMANML3D.raw_offsets[1:], 1):
        opposite[:, joint] = opposite[:, HUMANML3D.parents[joint]] - 0.2 * torch.tensor(offset)
    no_arm = upright(50)
    no_arm[:, 20] = no_arm[:, 18]
    somewhere = person(3, 50)
    somewhere[10:20, [17, 16]] = somewhere[10:20, [2, 1]]
    somewhere[30] = somewhere[30, :1]  # a frame collapsed to one point
    for joints in (same_widths, lying, backwards, flipped, opposite, no_arm, somewhere):
        features = joints_to_features(joints)
        assert torch.isfinite(features).all()
        assert (features_to_joints(features) - canonicalize_joints(joints)[:-1]).abs().max() < 1e-9
        with np.errstate(all="ignore"):
            plain = torch.from_numpy(plain_features.features(joints.numpy(), HUMANML3D))
        fine = torch.isfinite(plain).all(-1)
        if fine.all():
            assert (features - plain).abs().max() < 1e-6


def test_missing_facing_is_that_of_a_neighbour():
    joints = person(4, 30)
    joints[0] = 0.0
    facing_of_next = face_forward(joints[1:])
    assert torch.allclose(face_forward(joints)[1:], facing_of_next)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_and_types(dtype):
    joints = torch.stack([person(seed, 40) for seed in range(6)]).to(dtype)
    features = joints_to_features(joints.unflatten(0, (2, 3)))
    assert features.shape == (2, 3, 39, 263) and features.dtype == dtype
    for alone, batched in zip(joints, features.flatten(0, 1), strict=True):
        assert torch.allclose(
            joints_to_features(alone), batched, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-12
        )
    back = features_to_joints(features)
    assert back.shape == (2, 3, 39, 22, 3) and back.dtype == dtype
    assert torch.allclose(features_to_joints(features[1, 2]), back[1, 2], rtol=0, atol=1e-6)


@SKELETONS
def test_clips_of_all_lengths_together(skeleton):
    clips = [person(seed, frames, skeleton) for seed, frames in enumerate([40, 2, 199, 90, 3000, 41])]
    results = clips_to_features(clips, skeleton)
    for clip, features in zip(clips, results, strict=True):
        alone = joints_to_features(clip, skeleton)
        assert features.shape == alone.shape
        assert torch.allclose(features, alone, rtol=1e-10, atol=1e-10)
        assert features.untyped_storage().nbytes() == features.nbytes
    assert clips_to_features([]) == []


def test_recovery_has_the_right_gradient():
    features = joints_to_features(person(5, 5)).requires_grad_()
    assert torch.autograd.gradcheck(features_to_joints, features, fast_mode=True)
    features_to_joints(features).sum().backward()
    assert torch.isfinite(features.grad).all() and features.grad.abs().sum() > 0


def test_each_canonical_step():
    joints = person(6, 30) + torch.tensor([2.0, -1.0, 3.0])
    assert put_on_floor(joints)[..., 1].min() == 0
    assert torch.equal(put_at_origin(joints)[0, 0, ::2], torch.zeros(2).double())
    assert torch.equal(put_at_origin(joints)[..., 1], joints[..., 1])
    uniform = uniform_skeleton(joints)
    bones = (uniform[:, 1:] - uniform[:, list(HUMANML3D.parents[1:])]).norm(dim=-1)
    target = torch.tensor(HUMANML3D.rest_offsets[1:], dtype=torch.float64).norm(dim=-1)
    assert torch.allclose(bones, target.expand_as(bones))
    assert uniform_skeleton(person(0, 3, KIT), KIT).equal(person(0, 3, KIT))  # no target is known
    canonical = canonicalize_joints(joints)
    assert torch.allclose(canonicalize_joints(canonical), canonical, rtol=0, atol=1e-12)
    assert joints.equal(person(6, 30) + torch.tensor([2.0, -1.0, 3.0]))  # the input is unchanged


def test_refuses_what_does_not_fit():
    joints = person(0, 5)
    for bad, reason in (
        (joints[:1], "1 frames is too short"),
        (joints[:, :21], r"\(5, 21, 3\).*22, 3"),
        (joints * 0, "legs"),
    ):
        with pytest.raises(InputError, match=reason):
            joints_to_features(bad)
        with pytest.raises(InputError, match=reason):
            clips_to_features([joints, bad])
        assert clip_fault(bad)
    assert clip_fault(joints) is None
    assert "NaN" in clip_fault(joints * float("nan"))
    for function in (features_to_joints, mirror_features):
        with pytest.raises(InputError, match="263"):
            function(torch.zeros(5, 251))


# Bounds that the published program keeps when rerun on recovered joints: largest and mean difference per group.
BOUNDS = {"yaw": 2e-3, "root_velocity": 2e-3, "height": 2e-3, "positions": 1e-2, "rotations": 3e-2, "velocities": 6e-3}


@pytest.mark.parametrize("name", ["000000", "012314"])
def test_published_features(reference_dir, name):
    joints = torch.from_numpy(np.load(reference_dir / f"new_joints_{name}.npy"))
    stored = torch.from_numpy(np.load(reference_dir / f"new_joint_vecs_{name}.npy"))
    assert (features_to_joints(stored) - joints).abs().max() < 1e-6
    assert (features_to_joints(stored.float()) - joints).abs().max() < 1e-5
    features = joints_to_features(joints)
    stored = stored[: len(features)]
    assert torch.equal(group(features, "contacts").double(), group(stored, "contacts").double())
    for part, bound in BOUNDS.items():
        difference = (group(features, part) - group(stored, part)).abs()
        assert difference.max() < bound and difference.mean() < 3e-4, part


def mocap_clips(shared_data, every):
    paths = sorted((shared_data / "mocap" / "new_joints").glob("*.npy"))[::every]
    return [torch.from_numpy(np.load(path)) for path in paths]


def test_mocap_clips_survive_the_round_trip(shared_data):
    clips = mocap_clips(shared_data, every=8)
    worst = 0.0
    for clip, features in zip(clips, clips_to_features(clips), strict=True):
        assert torch.isfinite(features).all()
        recovered = features_to_joints(features)
        worst = max(worst, float((recovered - canonicalize_joints(clip)[:-1]).abs().max()))
    assert worst < 1e-3  # metres


def test_mocap_equals_the_plain_program(shared_data):
    """With shortest arcs in single precision, as published, up to the one corrected value."""
    clips = mocap_clips(shared_data, every=150)
    for clip, features in zip(clips, clips_to_features([clip.double() for clip in clips]), strict=True):
        plain = plain_features.features(clip.numpy(), HUMANML3D, np.float32)
        assert np.abs(features.numpy() - plain).max() < 1e-4
