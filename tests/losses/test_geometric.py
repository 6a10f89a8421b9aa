"""Geometric losses against plain loops over frames and joints."""

import pytest
import torch

from realign.errors import InputError
from realign.losses import GeometricLoss
from realign.motion.skeleton import HUMANML3D, KIT


def _joints(draw, skeleton):
    return torch.randn(2, 9, skeleton.num_joints, 3, generator=draw)


def _of(skeleton):
    return skeleton.parents, skeleton.feet, skeleton.fps


def _loops(one, other, length, skeleton):
    """Mean joint, bone, foot-velocity and acceleration distances of one motion, one number at a time."""
    joints, bones, feet, accelerations = [], [], [], []
    for frame in range(length):
        for joint in range(skeleton.num_joints):
            for axis in range(3):
                a, b = one[frame, joint, axis], other[frame, joint, axis]
                if axis != 1:
                    a, b = a - one[frame, 0, axis], b - other[frame, 0, axis]
                joints.append(abs(float(a - b)))
        for joint, parent in enumerate(skeleton.parents):
            if parent >= 0:
                a, b = ((x[frame, joint] - x[frame, parent]).norm() for x in (one, other))
                bones.append(abs(float(a - b)))
        if frame:
            for joint in skeleton.feet:
                moved = (x[frame, joint] - x[frame - 1, joint] for x in (one, other))
                a, b = moved
                feet += [abs(float(each)) * skeleton.fps for each in a - b]
        if frame > 1:
            for joint in range(skeleton.num_joints):
                bent = (x[frame, joint] - 2 * x[frame - 1, joint] + x[frame - 2, joint] for x in (one, other))
                a, b = bent
                accelerations += [abs(float(each)) * skeleton.fps**2 for each in a - b]
    parts = {"joints": joints, "bones": bones, "feet": feet, "accelerations": accelerations}
    return {name: sum(x) / len(x) for name, x in parts.items()}


@pytest.mark.parametrize("skeleton", [HUMANML3D, KIT], ids=lambda each: each.name)
def test_agrees_with_loops_whatever_the_padding_holds(skeleton):
    draw = torch.Generator().manual_seed(3)
    made, real = _joints(draw, skeleton), _joints(draw, skeleton)
    lengths = (9, 6)
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    expected = [_loops(*each, skeleton) for each in zip(made, real, lengths, strict=True)]
    made = made.masked_fill(~mask[..., None, None], float("nan")).requires_grad_()
    losses = GeometricLoss(joints=2.0, bones=3.0, feet=0.5, accelerations=0.25)(made, real, mask, *_of(skeleton))
    for name in expected[0]:
        mean = sum(each[name] for each in expected) / 2
        assert losses[name].item() == pytest.approx(mean, rel=1e-4), name
    total = 2 * losses["joints"] + 3 * losses["bones"] + 0.5 * losses["feet"] + 0.25 * losses["accelerations"]
    torch.testing.assert_close(losses["geometric"], total)
    losses["geometric"].backward()
    assert made.grad.isfinite().all()
    assert not made.grad[1, 6:].any()


def test_weights_of_motions_and_coinciding_joints():
    real = torch.zeros(2, 5, 22, 3)  # every bone without length: where a norm has no gradient
    made = real.clone().requires_grad_()
    mask = torch.ones(2, 5, dtype=torch.bool)
    GeometricLoss()(made, real, mask, *_of(HUMANML3D))["geometric"].backward()
    assert made.grad.isfinite().all()
    moved = real + torch.arange(22.0)[:, None] * torch.tensor([0.1, 0.3])[:, None, None, None]
    loss = GeometricLoss(bones=0, feet=0)
    alone = [loss(moved[i : i + 1], real[:1], mask[:1], *_of(HUMANML3D))["joints"] for i in range(2)]
    both = loss(moved, real, mask, *_of(HUMANML3D), weight=torch.tensor([3.0, 1.0])[:, None, None])["joints"]
    torch.testing.assert_close(both, (3 * alone[0] + alone[1]) / 2)


def test_refuses_negative_weights():
    with pytest.raises(InputError, match="-1"):
        GeometricLoss(bones=-1)
