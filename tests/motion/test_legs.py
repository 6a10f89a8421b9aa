import pytest
import torch
from still_parts import bone_lengths, standing

from realign.motion.legs import reach
from realign.motion.skeleton import HUMANML3D, KIT, Skeleton

BOTH = [HUMANML3D, KIT]


def metres(skeleton: Skeleton, frames: int = 12) -> torch.Tensor:
    return standing(skeleton, frames) * skeleton.metres


def ask(joints, feet, skeleton):
    return reach(joints, feet, torch.ones(len(joints), 2, dtype=torch.float64), skeleton, 3)


@pytest.mark.parametrize("skeleton", BOTH, ids=lambda s: s.name)
def test_feet_go_where_they_are_wanted_and_all_bones_keep_their_lengths(skeleton):
    joints = metres(skeleton)
    feet = joints[:, list(skeleton.feet)].clone()
    unchanged = ask(joints, feet, skeleton)
    torch.testing.assert_close(unchanged, joints, rtol=0, atol=1e-9)
    feet[:, :2] += feet.new_tensor([0.02, 0.03, -0.04])  # the left foot alone
    found = ask(joints, feet, skeleton)
    torch.testing.assert_close(found[:, list(skeleton.feet)], feet, rtol=0, atol=1e-9)
    torch.testing.assert_close(bone_lengths(found, skeleton), bone_lengths(joints, skeleton))
    hip, knee, ankle = next(chain for chain in skeleton.chains if skeleton.feet_left[1] in chain)[1:4]
    moved = (found - joints).norm(dim=-1)[0] > 1e-9
    assert {joint for joint, move in enumerate(moved) if move} == {knee, ankle, *skeleton.feet_left}
    bend = found[:, knee] - (found[:, hip] + found[:, ankle]) / 2
    assert (bend[:, 2] > 0.01).all()  # the knee still bends forwards


@pytest.mark.parametrize("skeleton", BOTH, ids=lambda s: s.name)
def test_a_foot_out_of_reach_lets_the_body_sink_smoothly_and_then_stays_behind(skeleton):
    joints = metres(skeleton, 40)
    legs = next(chain for chain in skeleton.chains if skeleton.feet_left[1] in chain)
    spare = 0.99 * bone_lengths(joints, skeleton)[0, [legs[2] - 1, legs[3] - 1]].sum()
    spare = float(spare - (joints[0, legs[3]] - joints[0, legs[1]]).norm())
    feet = joints[:, list(skeleton.feet)].clone()
    feet[20, :2, 1] -= spare + 0.03
    found = ask(joints, feet, skeleton)
    sunk = (joints - found)[:, 0, 1]
    assert float(sunk[20]) == pytest.approx(0.03, abs=2e-3) and float(sunk.max()) < 0.03 + 2e-3
    assert float(sunk.diff().abs().max()) < 0.012 and not sunk[:12].any() and not sunk[28:].any()
    torch.testing.assert_close(found[:, list(skeleton.feet)], feet, rtol=0, atol=2e-3)
    feet[20, :2, 1] -= 1.0
    found = ask(joints, feet, skeleton)
    assert float((joints - found)[:, 0, 1].max()) < 0.06 + 1e-9
    torch.testing.assert_close(bone_lengths(found, skeleton), bone_lengths(joints, skeleton))


def test_a_straight_leg_bends_towards_the_toes():
    joints = standing(HUMANML3D, 2, bend=0.0)
    feet = joints[:, list(HUMANML3D.feet)] + joints.new_tensor([0.0, 0.1, 0.0])
    found = ask(joints, feet, HUMANML3D)
    assert ((found - joints)[:, [4, 5], 2] > 0.05).all()
    torch.testing.assert_close(bone_lengths(found, HUMANML3D), bone_lengths(joints, HUMANML3D))
