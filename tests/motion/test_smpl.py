"""Joints of SMPL bodies against plain loops, and every fault of a model's file."""

import numpy as np
import pytest
from body_parts import made_body, parents_of
from scipy.spatial.transform import Rotation

from realign.errors import InputError
from realign.motion.smpl import BodyModel


def written(folder, **changes):
    arrays = made_body(changes.pop("kind", "smplh")) | changes
    np.savez(folder / "model.npz", **{name: value for name, value in arrays.items() if value is not None})
    return folder / "model.npz"


def plain_joints(arrays, parents, poses, betas, trans):
    """One frame by 4 x 4 matrices, joint by joint."""
    rest = arrays["J_regressor"] @ (arrays["v_template"] + arrays["shapedirs"][..., : len(betas)] @ betas)
    world = []
    for joint, parent in enumerate(parents):
        step = np.eye(4)
        step[:3, :3] = Rotation.from_rotvec(poses[joint]).as_matrix()
        step[:3, 3] = rest[joint] - (rest[parent] if parent >= 0 else 0)
        world.append(world[parent] @ step if parent >= 0 else step)
    return np.array([matrix[:3, 3] for matrix in world]) + trans


@pytest.mark.parametrize("kind", ["smpl", "smplh", "smplx"])
def test_joints_equal_plain_matrices(kind, tmp_path):
    rng = np.random.default_rng(3)
    model = BodyModel.read(written(tmp_path, kind=kind))
    parents, frames = parents_of(kind), 515  # more than are computed at once
    poses, betas, trans = (
        rng.normal(0, 1, (frames, len(parents), 3)),
        rng.normal(0, 1, 10),
        rng.normal(0, 1, (frames, 3)),
    )
    poses[1] = 0
    joints = model.joints(poses, betas, trans)
    assert model.kind == kind and joints.shape == (frames, len(parents), 3)
    arrays = made_body(kind)
    for frame in (0, 1, 511, 512, 514):
        expected = plain_joints(arrays, parents, poses[frame], betas, trans[frame])
        assert np.abs(joints[frame] - expected).max() < 1e-7
    assert np.array_equal(model.joints(poses, betas, trans, 22), joints[:, :22])
    assert np.array_equal(model.joints(poses[:, :22], betas, trans, 22), joints[:, :22])
    still = poses.copy()
    still[:, 22:] = 0
    assert np.array_equal(model.joints(poses[:, :22], betas, trans), model.joints(still, betas, trans))
    assert model.joints(poses[:0], betas, trans[:0]).shape == (0, len(parents), 3)


def test_expression_directions_are_left_out(tmp_path):
    for width, shapes in ((400, 300), (20, 10), (16, 16)):
        directions = np.zeros((220, 3, width))
        assert BodyModel.read(written(tmp_path, kind="smplx", shapedirs=directions)).num_betas == shapes
    assert BodyModel.read(written(tmp_path, shapedirs=np.zeros((208, 3, 20)))).num_betas == 20


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"J_regressor": None}, "has no field 'J_regressor'"),
        (
            {"J_regressor": np.array([{}], dtype=object)},
            "its field 'J_regressor' is pickled code, which is not executed",
        ),
        ({"J_regressor": np.zeros((30, 208))}, "is not a body model of SMPL, SMPL.H or SMPL-X: J_regressor has shape"),
        ({"v_template": np.zeros((7, 3))}, "is not a body model"),
        ({"v_template": np.full((208, 3), np.nan)}, "holds NaN"),
        ({"shapedirs": np.array("none")}, "its field 'shapedirs' holds <U4, not numbers"),
        ({"kintree_table": np.array([[0] + [51] * 51, range(52)])}, "parents do not come before"),
    ],
)
def test_files_that_are_not_models_are_refused(changes, told, tmp_path):
    with pytest.raises(InputError, match=told):
        BodyModel.read(written(tmp_path, **changes))


def test_damaged_models_are_refused(tmp_path):
    path = written(tmp_path)
    whole = path.read_bytes()
    for content, told in (
        (whole[: len(whole) // 2], "is cut off or not an .npz archive"),
        (b"", "is cut off"),
        (whole[:5000] + b"x" * 400 + whole[5400:], "its field .* is damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=told):
            BodyModel.read(path)


def test_shapes_that_do_not_fit_are_refused(tmp_path):
    model = BodyModel.read(written(tmp_path))
    with pytest.raises(InputError, match=r"17 betas do not fit a body model of 16 shapes; download"):
        model.joints(np.zeros((2, 52, 3)), np.zeros(17), np.zeros((2, 3)))
    with pytest.raises(InputError, match="do not fit SMPL.H"):
        model.joints(np.zeros((2, 55, 3)), np.zeros(10), np.zeros((2, 3)))
