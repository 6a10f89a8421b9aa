"""Rotations as unit quaternions (w, x, y, z) and in the continuous 6-d form of Zhou et al. (CVPR 2019).

Everything is batched over leading dimensions, differentiable, and keeps the device and type of its input.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def planar_stack(parts: Sequence[Float[Tensor, "*B"]]) -> Float[Tensor, "*B K"]:
    """Stack components in the last dimension, with each component contiguous in memory.

    Later arithmetic splits the components again and runs over contiguous memory, about three times faster than over
    every third or fourth number.
    """
    return torch.stack(list(parts)).movedim(0, -1)


def squared_length(v: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B"]:
    """Squared Euclidean length of vectors, without a reduction over an axis of three, which is slow."""
    x, y, z = v.unbind(-1)
    return x * x + y * y + z * z


def quaternion_multiply(a: Float[Tensor, "*#B 4"], b: Float[Tensor, "*#B 4"]) -> Float[Tensor, "*#B 4"]:
    """Hamilton product: the rotation b followed by the rotation a.

    Args:
        a: Left factor.
        b: Right factor; leading dimensions broadcast.
    """
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return planar_stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
    )


def quaternion_conjugate(q: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B 4"]:
    """The inverse of a unit quaternion."""
    w, x, y, z = q.unbind(-1)
    return planar_stack([w, -x, -y, -z])


def quaternion_rotate(q: Float[Tensor, "*#B 4"], v: Float[Tensor, "*#B 3"]) -> Float[Tensor, "*#B 3"]:
    """Vectors rotated by unit quaternions: v + 2 w (r x v) + 2 r x (r x v) with r = (x, y, z).

    Args:
        q: Unit quaternions.
        v: Vectors; leading dimensions broadcast.
    """
    axis, v = torch.broadcast_tensors(q[..., 1:], v)  # in one call: shapes alone are compared in Python, which is slow
    twice = 2 * torch.linalg.cross(axis, v)
    return v + q[..., :1] * twice + torch.linalg.cross(axis, twice)


def shortest_arc(a: Float[Tensor, "*#B 3"], b: Float[Tensor, "*#B 3"]) -> Float[Tensor, "*#B 4"]:
    """The rotation by the smallest angle that takes the direction of a to the direction of b.

    It is the normalised quaternion (|a||b| + a.b, a x b). Beyond a right angle the scalar part is computed as
    |a x b|^2 / (|a||b| - a.b), which is equal but free of cancellation. This keeps full precision up to the half turn
    if a lies along a coordinate axis, as the neutral directions of skeletons do. For opposite vectors the axis is
    undefined: they turn half a turn about the part of Y perpendicular to a, or of X if a is nearest to Y. Mirroring in
    x preserves this choice. A zero vector gives the identity.

    Args:
        a: Vectors of any positive length.
        b: Vectors of any positive length; leading dimensions broadcast.
    """
    a, b = torch.broadcast_tensors(a, b)
    (ax, ay, az), (bx, by, bz) = a.unbind(-1), b.unbind(-1)  # reductions over an axis of 3 are slow
    size = torch.sqrt((ax * ax + ay * ay + az * az) * (bx * bx + by * by + bz * bz))
    dot = ax * bx + ay * by + az * bz
    x, y, z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    squared = x * x + y * y + z * z
    obtuse = dot < 0
    w = torch.where(obtuse, squared / torch.where(obtuse, size - dot, 1), size + dot)
    norm = torch.sqrt(w * w + squared)
    regular = norm > 0
    if regular.device.type == "cpu" and bool(regular.all()):  # a look at another device would wait for it
        return planar_stack([w, x, y, z]) / norm[..., None]
    quaternion = planar_stack([w, x, y, z]) / torch.where(regular, norm, 1)[..., None]
    return torch.where(regular[..., None], quaternion, _half_turn(a, obtuse))


def _half_turn(a: Tensor, opposite: Tensor) -> Tensor:
    """Half a turn about an axis perpendicular to a if `opposite`, otherwise the identity."""
    x, y, z = a.unbind(-1)
    none = torch.zeros_like(x)
    steep = (y.abs() > x.abs()) & (y.abs() > z.abs())
    # Perpendicular to a: Y minus its part along a, or X minus its part along a.
    about_y = torch.stack([-x * y, x * x + z * z, -z * y], dim=-1)
    about_x = torch.stack([y * y + z * z, -x * y, -x * z], dim=-1)
    axis = torch.where(steep[..., None], about_x, about_y)
    axis = axis / axis.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(a.dtype).tiny)
    turn = torch.cat([none[..., None], axis], dim=-1)
    identity = torch.zeros_like(turn)
    identity[..., 0] = 1
    return torch.where(opposite[..., None], turn, identity)


def quaternion_to_matrix(q: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B 3 3"]:
    """Rotation matrices of unit quaternions."""
    first, second = quaternion_to_sixd(q).split(3, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def quaternion_to_sixd(q: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B 6"]:
    """Continuous 6-d form of unit quaternions: first column of the matrix, then second column."""
    w, x, y, z = q.unbind(-1)
    first = [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)]
    second = [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)]
    return planar_stack(first + second)


def sixd_to_matrix(sixd: Float[Tensor, "*B 6"]) -> Float[Tensor, "*B 3 3"]:
    """Rotation matrices from the continuous 6-d form by Gram-Schmidt (Zhou et al. 2019, eq. 15).

    Args:
        sixd: Two columns, not parallel, of any positive length.
    """
    first, second = sixd.split(3, dim=-1)
    first = torch.nn.functional.normalize(first, dim=-1)
    second = second - (first * second).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def matrix_to_sixd(matrix: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 6"]:
    """Continuous 6-d form of rotation matrices: first column, then second column."""
    return torch.cat([matrix[..., 0], matrix[..., 1]], dim=-1)


def matrix_to_quaternion(matrix: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 4"]:
    """Unit quaternions of rotation matrices, by the largest of their four components (Shepperd 1978).

    Args:
        matrix: Rotation matrices.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in matrix.unbind(-2))
    rows = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, zy - yz, xz - zx, yx - xy], dim=-1),
            torch.stack([zy - yz, 1 + xx - yy - zz, yx + xy, xz + zx], dim=-1),
            torch.stack([xz - zx, yx + xy, 1 - xx + yy - zz, zy + yz], dim=-1),
            torch.stack([yx - xy, xz + zx, zy + yz, 1 - xx - yy + zz], dim=-1),
        ],
        dim=-2,
    )
    largest = rows.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)[..., None, None]
    return torch.nn.functional.normalize(torch.take_along_dim(rows, largest, dim=-2)[..., 0, :], dim=-1)


def axis_angle_to_quaternion(vectors: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 4"]:
    """Unit quaternions of rotation axes times angles (radians)."""
    half = torch.sqrt(squared_length(vectors)) / 2
    return torch.cat([torch.cos(half)[..., None], vectors * (torch.sinc(half / torch.pi) / 2)[..., None]], dim=-1)


def quaternion_to_axis_angle(q: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B 3"]:
    """Rotation axes times angles (radians, at most a half turn) of unit quaternions."""
    q = torch.where(q[..., :1] < 0, -q, q)
    sine = torch.sqrt(squared_length(q[..., 1:]))
    angle = 2 * torch.atan2(sine, q[..., 0])
    tiny = sine < 1e-7
    return q[..., 1:] * torch.where(tiny, 2, angle / torch.where(tiny, 1, sine))[..., None]


def quaternion_slerp(
    a: Float[Tensor, "*#B 4"], b: Float[Tensor, "*#B 4"], weight: Float[Tensor, "*#B"]
) -> Float[Tensor, "*#B 4"]:
    """Rotations between a and b along the shortest way, at constant speed.

    Args:
        a: Unit quaternions at weight 0.
        b: Unit quaternions at weight 1.
        weight: Fractions from 0 to 1.
    """
    way = quaternion_to_axis_angle(quaternion_multiply(b, quaternion_conjugate(a)))
    return quaternion_multiply(axis_angle_to_quaternion(way * weight[..., None]), a)


def rotate_yaw(direction: Float[Tensor, "*#B 2"], v: Float[Tensor, "*#B 3"]) -> Float[Tensor, "*#B 3"]:
    """Vectors turned about Y by the rotation that takes a horizontal direction to Z+.

    Args:
        direction: Unit (x, z) of the direction.
        v: Vectors; leading dimensions broadcast.
    """
    fx, fz = direction.unbind(-1)
    x, y, z = v.unbind(-1)
    turned_x = fz * x - fx * z
    return planar_stack([turned_x, y.expand_as(turned_x), fx * x + fz * z])
