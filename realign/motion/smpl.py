"""Joints of SMPL bodies from poses and shapes, by forward kinematics without a mesh.

The joints of a body in the rest pose are a linear function of its shape, J_regressor (v_template + shapedirs betas).
Vertices, pose blend shapes and skinning weights do not affect them, so reading a model keeps only that function and the
kinematic tree.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from realign.errors import InputError
from realign.motion.npz import Npz

KINDS = {24: "smpl", 52: "smplh", 55: "smplx"}
"""Kinds of bodies by their number of joints; the first 22 joints of each are those of HumanML3D."""

NAMES = {"smpl": "SMPL", "smplh": "SMPL+H", "smplx": "SMPL-X"}
_EXPRESSIONS = {400: 100, 20: 10}  # of SMPL-X's shape directions, this many at the end are expressions
_FRAMES = 512  # computed at once, few enough for the cache
_FIELDS = ("J_regressor", "v_template", "shapedirs", "kintree_table")


@dataclass(frozen=True, eq=False)
class BodyModel:
    """The parts of a body model that its joints depend on.

    Attributes:
        kind: "smpl", "smplh" or "smplx".
        rest: (J, 3) joints of the mean shape, metres, Y up.
        directions: (J, 3, S) change of the joints with each shape coefficient.
        parents: Parent of each joint, -1 for the root; parents come first.
    """

    kind: str
    rest: Float[ndarray, "J 3"]
    directions: Float[ndarray, "J 3 S"]
    parents: tuple[int, ...]

    @classmethod
    def read(cls, path: str | Path) -> "BodyModel":
        """Read a model in the official .npz form; nothing in it is executed.

        Args:
            path: The file.

        Raises:
            InputError: It is damaged or not such a model.
        """
        with Npz(path) as file:
            regressor, template, shapes, tree = (file.numbers(name) for name in _FIELDS)
        joints, vertices = regressor.shape if regressor.ndim == 2 else (0, 0)
        fits = template.shape == (vertices, 3) and shapes.shape[:2] == template.shape and shapes.ndim == 3
        if joints not in KINDS or not fits or tree.shape != (2, joints):
            raise InputError(
                f"{path} is not a body model of SMPL, SMPL+H or SMPL-X: J_regressor has shape {regressor.shape}, "
                f"v_template {template.shape}, shapedirs {shapes.shape}, kintree_table {tree.shape}."
            )
        parents = (-1, *(int(parent) for parent in tree[0, 1:]))  # the root's is 2 ** 32 - 1
        if any(not 0 <= parent < joint for joint, parent in enumerate(parents) if joint):
            raise InputError(f"{path} has a kintree_table whose parents do not come before their children.")
        if not all(np.isfinite(array).all() for array in (regressor, template, shapes)):
            raise InputError(f"{path} holds NaN or infinite values; download it again.")
        kind = KINDS[joints]
        width = shapes.shape[2] - (_EXPRESSIONS.get(shapes.shape[2], 0) if kind == "smplx" else 0)
        directions = np.tensordot(regressor, shapes[..., :width], axes=1)
        return cls(kind, regressor @ template, directions, parents)

    @property
    def num_joints(self) -> int:
        """Number of joints J."""
        return len(self.parents)

    @property
    def num_betas(self) -> int:
        """Number of shape coefficients S."""
        return self.directions.shape[2]

    def rest_joints(self, betas: Float[ndarray, "N"]) -> Float[ndarray, "J 3"]:
        """Joints of a shape in the rest pose.

        Args:
            betas: The first shape coefficients; the others are zero.

        Raises:
            InputError: There are more coefficients than the model has.
        """
        if betas.ndim != 1 or len(betas) > self.num_betas:
            raise InputError(
                f"{betas.size} betas do not fit a body model of {self.num_betas} shapes; download the model with more."
            )
        return self.rest + self.directions[..., : len(betas)] @ betas

    def joints(
        self,
        poses: Float[ndarray, "T K 3"],
        betas: Float[ndarray, "N"],
        trans: Float[ndarray, "T 3"],
        count: int | None = None,
    ) -> Float[ndarray, "T count 3"]:
        """Positions of the joints, in the file's world and in float64.

        Args:
            poses: Axis-angle rotations (radians) of the first K joints relative to their parents; the others are zero.
            betas: The first shape coefficients.
            trans: Translation of every frame (metres).
            count: Number of first joints to return; all of them when None.

        Raises:
            InputError: The shapes do not fit.
        """
        total = self.num_joints if count is None else count
        if poses.ndim != 3 or poses.shape[1] > self.num_joints or trans.shape != (len(poses), 3):
            raise InputError(
                f"poses of shape {poses.shape} with trans {trans.shape} do not fit {NAMES[self.kind]}: give (frames, "
                f"up to {self.num_joints}, 3) and (frames, 3)"
            )
        rest = self.rest_joints(betas)
        result = np.empty((len(poses), total, 3))
        for begin in range(0, len(poses), _FRAMES):
            part = slice(begin, begin + _FRAMES)
            result[part] = self._place(poses[part], rest, total).transpose(2, 0, 1) + trans[part, None]
        return result

    def _place(self, poses: ndarray, rest: ndarray, count: int) -> ndarray:
        """Positions (count, 3, T) of the first joints in some frames, without translation."""
        turning = sorted(set(self.parents[1:count]))  # other rotations do not move these joints
        vectors = np.zeros((len(turning), 3, len(poses)))
        given = [joint for joint in turning if joint < poses.shape[1]]
        vectors[: len(given)] = poses[:, given].transpose(1, 2, 0)
        local = dict(zip(turning, rotation_matrices(vectors), strict=True))
        places = np.empty((count, 3, len(poses)))
        places[0] = rest[0][:, None]
        world = {0: local[0]} if local else {}
        for joint, parent in enumerate(self.parents[1:count], 1):
            before = world[parent]
            x, y, z = rest[joint] - rest[parent]
            places[joint] = places[parent] + before[:, 0] * x + before[:, 1] * y + before[:, 2] * z
            if joint in local:
                own = local[joint]
                world[joint] = before[:, 0, None] * own[0]
                world[joint] += before[:, 1, None] * own[1]
                world[joint] += before[:, 2, None] * own[2]
        return places


def rotation_matrices(vectors: Float[ndarray, "N 3 T"]) -> Float[ndarray, "N 3 3 T"]:
    """Rotation matrices of axis-angle vectors (Rodrigues); frames come last, since arithmetic over long rows is fast.

    The angle is |r + 1e-8| as in HumanML3D's program, so that no rotation divides by zero.

    Args:
        vectors: Rotation axis times angle (radians).
    """
    angle = np.sqrt(((vectors + 1e-8) ** 2).sum(axis=1))
    x, y, z = (vectors[:, axis] / angle for axis in range(3))
    sin, rest = np.sin(angle), 1 - np.cos(angle)
    turn = np.empty((len(vectors), 3, 3, vectors.shape[2]))
    for row, column, across, along in ((0, 1, x * y, z), (0, 2, x * z, -y), (1, 2, y * z, x)):
        across, along = rest * across, sin * along
        turn[:, row, column], turn[:, column, row] = across - along, across + along
    xx, yy, zz = x * x, y * y, z * z
    for axis, other in enumerate((yy + zz, xx + zz, xx + yy)):
        turn[:, axis, axis] = 1 - rest * other
    return turn
