import torch
from scipy.optimize import minimize
from still_parts import bone_lengths, standing

from realign.motion.bone_lengths import hold_lengths, mean_lengths, reference_lengths
from realign.motion.skeleton import HUMANML3D, KIT


def test_an_error_is_shared_by_the_joints_on_a_straight_chain():
    joints = torch.tensor([[[0.0, 0, 0], [1.2, 0, 0], [2.2, 0, 0]]], dtype=torch.float64)
    found = hold_lengths(joints, torch.ones(2, dtype=torch.float64), (-1, 0, 1))
    expected = torch.tensor([0.4, 3.4, 6.4], dtype=torch.float64) / 3  # the mean of the joints stays
    torch.testing.assert_close(found[0, :, 0], expected)
    assert not found[0, :, 1:].any()


def test_joints_move_as_little_as_the_lengths_allow():
    generator = torch.Generator().manual_seed(0)
    parents = (-1, 0, 1, 1)
    joints = torch.rand(1, 4, 3, dtype=torch.float64, generator=generator) + torch.arange(4)[:, None]
    lengths = 0.9 * (joints[0, 1:] - joints[0, list(parents[1:])]).norm(dim=-1)
    found = hold_lengths(joints, lengths, parents)

    def miss(flat):
        places = torch.from_numpy(flat).reshape(4, 3)
        return ((places[1:] - places[list(parents[1:])]).norm(dim=-1) - lengths).numpy()

    best = minimize(
        lambda flat: ((flat - joints.flatten().numpy()) ** 2).sum(),
        joints.flatten().numpy(),
        constraints={"type": "eq", "fun": miss},
        tol=1e-12,
    )
    assert abs(miss(found.flatten().numpy())).max() < 1e-12
    assert float((found - joints).square().sum()) < 1.02 * best.fun


def test_frames_do_not_depend_on_each_other_and_bones_without_length_do_no_harm():
    joints = standing(HUMANML3D, 3) + 0.02 * torch.rand(3, 22, 3, generator=torch.Generator().manual_seed(1))
    joints[1] = 0.0
    lengths = reference_lengths(joints, HUMANML3D)
    found = hold_lengths(joints, lengths, HUMANML3D.parents)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[2:], hold_lengths(joints[2:], lengths, HUMANML3D.parents))
    assert (bone_lengths(found[[0, 2]], HUMANML3D) - lengths).abs().max() < 1e-9


def test_a_skeleton_without_lengths_has_those_of_the_motion():
    joints = standing(KIT, 2)
    joints[1] = joints[1] * 1.5
    expected = 1.25 * bone_lengths(joints[:1], KIT)[0]
    torch.testing.assert_close(reference_lengths(joints, KIT), expected)
    torch.testing.assert_close(mean_lengths(joints, KIT), expected)
