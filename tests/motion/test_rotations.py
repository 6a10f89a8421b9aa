import math

import hypothesis.extra.numpy as arrays
import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from realign.motion.rotations import (
    matrix_to_sixd,
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_rotate,
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
