"""Rotations of rigid bones from joints, against scipy's rotations and least squares."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from realign.errors import InputError
from realign.motion.rotation_solver import solve_rotations
from realign.motion.skeleton import HUMANML3D, KIT


def posed(turns, root, rest, parents):
    """Plain forward kinematics of one frame: joints of rotation vectors (J, 3) against the parents."""
    world, places = [], []
    for joint, parent in enumerate(parents):
        own = Rotation.from_rotvec(turns[joint])
        world.append(own if parent < 0 else world[parent] * own)
        places.append(root if parent < 0 else places[parent] + world[parent].apply(rest[joint]))
    return np.array(places)


def rest_of(skeleton, seed=0):
    """Offsets near a T-pose, with a length of each bone of its own."""
    rng = np.random.default_rng(seed)
    rest = np.array(skeleton.raw_offsets) + rng.normal(0, 0.2, (skeleton.num_joints, 3))
    rest *= rng.uniform(0.1, 0.4, (skeleton.num_joints, 1)) / np.linalg.norm(rest, axis=-1, keepdims=True)
    rest[0] = 0
    return rest


def motion(skeleton, frames=9, seed=1, spread=0.9):
    rng = np.random.default_rng(seed)
    turns = rng.normal(0, spread, (frames, skeleton.num_joints, 3))
    roots = rng.normal(0, 2, (frames, 3))
    rest = rest_of(skeleton)
    return np.array([posed(t, r, rest, skeleton.parents) for t, r in zip(turns, roots, strict=True)])


def stretched(joints, amount=0.15):
    """Bones whose lengths change from frame to frame, as generated ones do."""
    rng, result = np.random.default_rng(5), joints.copy()
    for joint, parent in enumerate(HUMANML3D.parents):
        if parent >= 0:
            factor = 1 + amount * rng.uniform(-1, 1, (len(joints), 1))
            result[:, joint] = result[:, parent] + factor * (joints[:, joint] - joints[:, parent])
    return result


@pytest.mark.parametrize("skeleton", [HUMANML3D, KIT], ids=lambda s: s.name)
def test_rigid_motions_come_back_with_any_rest_pose_and_lengths(skeleton):
    joints = motion(skeleton)
    found = solve_rotations(torch.from_numpy(joints), skeleton)
    assert found.fps == skeleton.fps and (found.rotations.norm(dim=-1) - 1).abs().max() < 1e-12
    assert np.abs(found.joints().numpy() - joints).max() < 1e-6
    rest = found.rest.numpy()
    turns = Rotation.from_quat(np.roll(found.rotations.numpy(), -1, axis=-1).reshape(-1, 4)).as_rotvec()
    for frame, vectors in enumerate(turns.reshape(len(joints), -1, 3)):  # forward kinematics by other code
        assert np.abs(posed(vectors, found.root[frame].numpy(), rest, skeleton.parents) - joints[frame]).max() < 1e-6


def test_the_given_rest_pose_is_kept_and_gives_its_rotations():
    joints, rest = motion(HUMANML3D), rest_of(HUMANML3D)
    found = solve_rotations(torch.from_numpy(joints), HUMANML3D, rest=torch.from_numpy(rest))
    assert np.abs(found.rest.numpy() - rest).max() < 1e-9  # lengths of the motion are those of the body
    assert np.abs(found.joints().numpy() - joints).max() < 1e-6


def test_bones_swing_without_twist_and_ends_stay_still():
    found = solve_rotations(torch.from_numpy(motion(HUMANML3D)), HUMANML3D)
    children = [[k for k, p in enumerate(HUMANML3D.parents) if p == joint] for joint in range(22)]
    for joint, below in enumerate(children):
        if len(below) == 1:  # the axis of the least rotation stands at right angles to the bone
            assert (found.rotations[:, joint, 1:] @ found.rest[below[0]]).abs().max() < 1e-5
        if not below:
            assert (found.rotations[:, joint] - torch.tensor([1.0, 0, 0, 0])).abs().max() < 1e-9


def test_bones_that_change_length_get_the_least_squares():
    joints = stretched(motion(HUMANML3D, frames=2, spread=0.5))
    found = solve_rotations(torch.from_numpy(joints), HUMANML3D)
    errors = np.square(found.joints().numpy() - joints).sum(axis=(1, 2))
    rest = found.rest.numpy()
    for frame, place in enumerate(joints):
        start = np.roll(found.rotations[frame].numpy(), -1, axis=-1)
        start = np.concatenate([found.root[frame].numpy()[None], Rotation.from_quat(start).as_rotvec()]).reshape(-1)

        def difference(x, place=place):
            x = x.reshape(-1, 3)
            return (posed(x[1:], x[0], rest, HUMANML3D.parents) - place).reshape(-1)

        least = 2 * least_squares(difference, start, max_nfev=6).cost
        assert errors[frame] < 1.02 * least + 1e-9
    directions_kept = motion(HUMANML3D, frames=2, spread=0.5)  # bones of the mean lengths in the same directions
    assert errors.sum() < 0.6 * np.square(directions_kept - joints).sum()


def test_other_rates_keep_the_frames_and_turn_halfway_between_them():
    found = solve_rotations(torch.from_numpy(motion(HUMANML3D)), HUMANML3D)
    twice = found.at(40)
    assert twice.fps == 40 and len(twice.root) == 17 and found.at(None) is found
    assert (twice.rotations[::2] - found.rotations).abs().max() < 1e-9
    three = (twice.rotations[0], twice.rotations[1], found.rotations[1])
    first, middle, second = (Rotation.from_quat(np.roll(q.numpy(), -1, axis=-1)) for q in three)
    assert np.abs((first.inv() * middle).magnitude() * 2 - (first.inv() * second).magnitude()).max() < 1e-7
    assert len(found.at(30).root) == 13 and (found.at(30).root[3] - found.root[2]).abs().max() < 1e-9
    single = solve_rotations(torch.from_numpy(motion(HUMANML3D, frames=1)), HUMANML3D).at(60)
    assert len(single.root) == 1


def test_smoothing_is_a_gaussian_over_time():
    found = solve_rotations(torch.from_numpy(motion(HUMANML3D, frames=30, spread=0.2)), HUMANML3D)
    smooth = found.smoothed(0.1)  # two frames
    root = gaussian_filter1d(found.root.numpy(), 2, axis=0, mode="nearest", truncate=4.5)
    assert np.abs(smooth.root.numpy() - root).max() < 1e-9
    turned = gaussian_filter1d(found.rotations.numpy(), 2, axis=0, mode="nearest", truncate=4.5)
    turned /= np.linalg.norm(turned, axis=-1, keepdims=True)
    assert np.abs(smooth.rotations.numpy() - turned).max() < 1e-9
    assert found.smoothed(None) is found and found.smoothed(0) is found
    with pytest.raises(InputError, match="cannot be smoothed over -1 s"):
        found.smoothed(-1)


def test_a_point_and_a_straight_line_have_rotations():
    line = np.zeros((3, 22, 3))
    line[..., 1] = np.arange(22)
    for joints in (np.zeros((3, 22, 3)), line):
        assert torch.isfinite(solve_rotations(torch.from_numpy(joints), HUMANML3D).rotations).all()


@pytest.mark.parametrize(
    ("joints", "fps", "says"),
    [(torch.zeros(4, 21, 3), 20, "do not fit"), (torch.full((4, 22, 3), torch.nan), 20, "NaN"), (None, 0, "fps 0")],
)
def test_what_has_no_rotations_is_refused(joints, fps, says):
    with pytest.raises(InputError, match=says):
        solve_rotations(torch.zeros(4, 22, 3) if joints is None else joints, HUMANML3D, fps)


def test_recordings_of_the_reference_lengths_are_met_to_a_millimetre(shared_data):
    errors = []
    for path in sorted((shared_data / "mocap" / "new_joints").glob("*.npy"))[::600]:
        joints = torch.from_numpy(np.load(path)).double()
        errors.append((solve_rotations(joints, HUMANML3D).joints() - joints).norm(dim=-1).mean())
    assert max(errors) < 2e-3 and sum(errors) / len(errors) < 1e-3
