"""Reference of the published steps in plain NumPy, one clip at a time, with loops over chains.

It is written independently of the package in the style of published programs: quaternions, inverse and forward
kinematics for the uniform skeleton, SciPy's filter.
With `precision=np.float32` shortest arcs have the published precision.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d


def qmul(a, b):
    w1, x1, y1, z1 = np.moveaxis(a, -1, 0)
    w2, x2, y2, z2 = np.moveaxis(b, -1, 0)
    w = w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2
    x = w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2
    y = w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2
    z = w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2
    return np.stack([w, x, y, z], axis=-1)


def qinv(q):
    return q * np.array([1, -1, -1, -1])


def qrot(q, v):
    zero = np.zeros(v.shape[:-1] + (1,))
    q = np.broadcast_to(q, v.shape[:-1] + (4,))
    return qmul(qmul(q, np.concatenate([zero, v], axis=-1)), qinv(q))[..., 1:]


def qbetween(a, b, precision=np.float64):
    a, b = np.broadcast_arrays(np.asarray(a, precision), np.asarray(b, precision))
    w = np.sqrt((a**2).sum(-1) * (b**2).sum(-1)) + (a * b).sum(-1)
    q = np.concatenate([w[..., None], np.cross(a, b)], axis=-1)
    return q / np.linalg.norm(q, axis=-1, keepdims=True)


def unit(v):
    return v / np.sqrt((v**2).sum(-1, keepdims=True))


def inverse_kinematics(joints, skeleton, smooth, precision):
    one, two, right_shoulder, left_shoulder = skeleton.facing
    # The hips enter with the other sign than in `face_forward`.
    across = joints[:, two] - joints[:, one] + joints[:, right_shoulder] - joints[:, left_shoulder]
    forward = np.cross(np.array([[0, 1, 0]]), unit(across))
    if smooth:
        forward = gaussian_filter1d(forward, 20, axis=0, mode="nearest")
    root = qbetween(unit(forward), np.array([[0, 0, 1]]), precision).astype(float)
    root[0] = [1, 0, 0, 0]
    quaternions = np.zeros(joints.shape[:-1] + (4,))
    quaternions[:, 0] = root
    for chain in skeleton.chains:
        rotation = root
        for joint, child in zip(chain, chain[1:], strict=False):
            neutral = np.array(skeleton.raw_offsets[child])[None]
            bone = unit(joints[:, child] - joints[:, joint])
            local = qmul(qinv(rotation), qbetween(neutral, bone, precision))
            quaternions[:, child] = local
            rotation = qmul(rotation, local)
    return quaternions


def uniform_skeleton(joints, skeleton, precision):
    own = {
        child: np.linalg.norm(joints[0, child] - joints[0, joint])
        for child, joint in enumerate(skeleton.parents)
        if joint >= 0
    }
    target = np.array(skeleton.rest_offsets)
    one, two = skeleton.leg_joints
    scale = (np.abs(target[one]).max() + np.abs(target[two]).max()) / (own[one] + own[two])
    quaternions = inverse_kinematics(joints, skeleton, False, precision)
    result = np.zeros(joints.shape)
    result[:, 0] = joints[:, 0] * scale
    for chain in skeleton.chains:
        rotation = quaternions[:, 0]
        for joint, child in zip(chain, chain[1:], strict=False):
            rotation = qmul(rotation, quaternions[:, child])
            result[:, child] = result[:, joint] + qrot(rotation, np.repeat(target[child][None], len(joints), axis=0))
    return result


def canonicalize(joints, skeleton, precision=np.float64):
    joints = np.array(joints, dtype=float)
    if skeleton.rest_offsets is not None:
        joints = uniform_skeleton(joints, skeleton, precision)
    joints[:, :, 1] -= joints[:, :, 1].min()
    first = joints[0].copy()
    joints -= first[0] * np.array([1, 0, 1])
    right_hip, left_hip, right_shoulder, left_shoulder = skeleton.facing
    across = unit(first[right_hip] - first[left_hip] + first[right_shoulder] - first[left_shoulder])
    forward = unit(np.cross(np.array([0, 1, 0]), across))
    return qrot(qbetween(forward, np.array([0, 0, 1]), precision), joints)


def sixd(q):
    w, x, y, z = np.moveaxis(q, -1, 0)
    matrix = np.empty(q.shape[:-1] + (3, 3))
    matrix[..., 0, :] = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], -1)
    matrix[..., 1, :] = np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], -1)
    matrix[..., 2, :] = np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], -1)
    return np.concatenate([matrix[..., 0], matrix[..., 1]], axis=-1)


def features(joints, skeleton, precision=np.float64, published_yaw=False):
    """Features (T - 1, C) of joints (T, J, 3).

    `published_yaw` leaves the yaw velocity as published where the root quaternion changes sign.
    """
    joints = canonicalize(joints, skeleton, precision)
    quaternions = inverse_kinematics(joints, skeleton, True, precision)
    root = quaternions[:, 0]
    step = qmul(root[1:], qinv(root[:-1]))
    if not published_yaw:
        step = np.where(step[:, :1] < 0, -step, step)
    moved = joints[1:] - joints[:-1]
    local = joints.copy()
    local[..., 0] -= joints[:, :1, 0]
    local[..., 2] -= joints[:, :1, 2]
    local = qrot(root[:, None], local)
    squared = (moved**2).sum(-1)
    count = len(joints) - 1
    parts = [
        np.arcsin(step[:, 2:3]),
        qrot(root[1:], moved[:, 0])[:, [0, 2]],
        joints[:-1, 0, 1:2],
        local[:-1, 1:].reshape(count, -1),
        sixd(quaternions)[:-1, 1:].reshape(count, -1),
        qrot(root[:-1, None], moved).reshape(count, -1),
        squared[:, list(skeleton.feet_left)] < skeleton.contact_threshold,
        squared[:, list(skeleton.feet_right)] < skeleton.contact_threshold,
    ]
    return np.concatenate(parts, axis=-1)
