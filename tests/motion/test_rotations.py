import math

import hypothesis.extra.numpy as arrays
import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from realign.motion.rotations import (
    axis_angle_to_quaternion,
    matrix_to_quaternion,
    matrix_to_sixd,
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_rotate,
    quaternion_slerp,
    quaternion_to_axis_angle,
    quaternion_to_matrix,
    quaternion_to_sixd,
    rotate_yaw,
    shortest_arc,
    sixd_to_matrix,
)

coordinates = st.floats(-10, 10).map(lambda x: round(x, 6))
vectors = arrays.arrays(np.float64, 3, elements=coordinates).filter(lambda v: np.linalg.norm(v) > 1e-3)
quaternions = arrays.arrays(np.float64, 4, elements=coordinates).filter(lambda v: np.linalg.norm(v) > 1e-3)
quick = settings(max_examples=60, deadline=None)


def unit(x):
    return torch.from_numpy(x / np.linalg.norm(x))


def close(a, b, atol=1e-9):
    return torch.allclose(a, b, rtol=0, atol=atol)


@quick
@given(quaternions, quaternions, vectors)
def test_product_is_composition(p, q, v):
    p, q, v = unit(p), unit(q), torch.from_numpy(v)
    assert close(quaternion_rotate(quaternion_multiply(p, q), v), quaternion_rotate(p, quaternion_rotate(q, v)))
    assert close(quaternion_to_matrix(p) @ v, quaternion_rotate(p, v))
    assert close(quaternion_multiply(p, quaternion_conjugate(p)), torch.tensor([1.0, 0, 0, 0], dtype=torch.float64))


@quick
@given(quaternions)
def test_sixd_is_the_first_two_columns(q):
    matrix = quaternion_to_matrix(unit(q))
    assert close(matrix.T @ matrix, torch.eye(3, dtype=torch.float64)) and close(matrix.det(), matrix.new_tensor(1.0))
    assert torch.equal(quaternion_to_sixd(unit(q)), torch.cat([matrix[:, 0], matrix[:, 1]]))
    assert torch.equal(matrix_to_sixd(matrix), quaternion_to_sixd(unit(q)))
    assert close(sixd_to_matrix(3 * matrix_to_sixd(matrix)), matrix)


@quick
@given(vectors, vectors)
def test_shortest_arc_reaches_its_target_by_the_smallest_angle(a, b):
    a, b = torch.from_numpy(a), torch.from_numpy(b)
    q = shortest_arc(a, b)
    assert close(quaternion_rotate(q, a / a.norm()), b / b.norm())
    angle = math.atan2(float(torch.linalg.cross(a, b).norm()), float(a @ b))
    assert abs(2 * math.acos(min(1.0, abs(float(q[0])))) - angle) < 1e-6


@quick
@given(vectors)
def test_opposite_vectors_turn_half_a_turn(a):
    a = torch.from_numpy(a)
    q = shortest_arc(a, -2 * a)
    assert abs(float(q[0])) < 1e-6 and close(q.norm(), a.new_tensor(1.0))
    assert close(quaternion_rotate(q, a), -a, atol=1e-8)


def test_half_turns_have_fixed_axes():
    axes = torch.eye(3)
    expected = torch.tensor([[0.0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    assert torch.equal(shortest_arc(axes, -axes), expected)


@quick
@given(st.integers(0, 2), st.sampled_from([1.0, -1.0]), vectors, st.floats(-14, 0))
def test_nearly_opposite_of_an_axis_keeps_its_precision(axis, sign, side, exponent):
    a = sign * torch.eye(3, dtype=torch.float64)[axis]
    side = torch.from_numpy(side) * (1 - a.abs())
    assume(side.norm() > 1e-3)
    b = -a + 10.0**exponent * side / side.norm()
    assert close(quaternion_rotate(shortest_arc(a, b), a), b / b.norm(), atol=1e-14)


def test_zero_vectors_give_the_identity():
    zero, x = torch.zeros(3), torch.tensor([1.0, 0, 0])
    for a, b in ((zero, x), (x, zero), (zero, zero)):
        assert torch.equal(shortest_arc(a, b), torch.tensor([1.0, 0, 0, 0]))


def test_yaw_takes_the_direction_to_z():
    angle = torch.linspace(-3, 3, 7, dtype=torch.float64)
    direction = torch.stack([torch.sin(angle), torch.cos(angle)], -1)
    forward = torch.stack([direction[:, 0], angle, direction[:, 1]], -1)
    expected = torch.stack([0 * angle, angle, 1 + 0 * angle], -1)
    assert close(rotate_yaw(direction, forward), expected)
    about_y = torch.stack([torch.cos(angle / 2), 0 * angle, -torch.sin(angle / 2), 0 * angle], -1)
    anything = torch.randn(7, 3, dtype=torch.float64)
    assert close(rotate_yaw(direction, anything), quaternion_rotate(about_y, anything))


def test_type_and_leading_dimensions_are_kept():
    q = shortest_arc(torch.randn(3, dtype=torch.float32), torch.randn(2, 5, 3))
    assert q.shape == (2, 5, 4) and q.dtype == torch.float32
    assert quaternion_rotate(q[:, :1], torch.randn(2, 5, 3)).shape == (2, 5, 3)
    assert quaternion_multiply(q, q[0]).shape == (2, 5, 4)


def turns_of_all_kinds():
    """Random rotations, none, tiny ones, half turns about axes and nearly half turns."""
    rng = np.random.default_rng(0)
    some = rng.normal(0, 1, (50, 3)) * rng.choice([1e-9, 1e-3, 1.5], (50, 1))
    halves = np.concatenate([np.eye(3), [[0, 0.6, 0.8]], [[0.36, 0.48, -0.8]]]) * np.pi
    return Rotation.from_rotvec(np.concatenate([some, halves, halves * (1 - 1e-7), np.zeros((1, 3))]))


def test_forms_of_rotations_are_those_of_scipy():
    turns = turns_of_all_kinds()
    made = axis_angle_to_quaternion(torch.from_numpy(turns.as_rotvec()))
    for quaternion in (made, matrix_to_quaternion(torch.from_numpy(turns.as_matrix()))):
        assert (quaternion.norm(dim=-1) - 1).abs().max() < 1e-12
        found = Rotation.from_quat(np.roll(quaternion.numpy(), -1, axis=-1))
        assert (found.inv() * turns).magnitude().max() < 1e-7
    for sign in (1, -1):
        vectors = Rotation.from_rotvec(quaternion_to_axis_angle(sign * made).numpy())
        assert (vectors.inv() * turns).magnitude().max() < 1e-7
        assert quaternion_to_axis_angle(sign * made).norm(dim=-1).max() < np.pi + 1e-9


def test_interpolation_of_rotations_is_that_of_scipy():
    ends = Rotation.from_rotvec(np.random.default_rng(1).normal(0, 1, (20, 2, 3)).reshape(-1, 3))
    quaternions = torch.from_numpy(np.roll(ends.as_quat(), 1, axis=-1)).reshape(20, 2, 4)
    for weight in (0.0, 0.3, 1.0):
        found = quaternion_slerp(quaternions[:, 0], -quaternions[:, 1], torch.full((20,), weight).double())
        for row in range(20):
            expected = Slerp([0, 1], ends[2 * row : 2 * row + 2])(weight)
            turned = Rotation.from_quat(np.roll(found[row].numpy(), -1))
            assert (expected.inv() * turned).magnitude() < 1e-7
