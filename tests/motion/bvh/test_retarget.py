import csv
from dataclasses import replace

import numpy as np
import pytest
from bvh_made import AUTODESK, Tree, body, bvh_text, sided

from realign.errors import InputError
from realign.motion.bvh import import_bvh, write_bvh
from realign.motion.bvh.retarget import resample, scale_to_skeleton
from realign.motion.skeleton import HUMANML3D, KIT

CMU_MOTION_BUILDER = {**AUTODESK, "neck": "Neck1", "spine": "Spine", "chest": "Spine1"}
MIXAMO = {part: f"mixamorig:{name}" for part, name in AUTODESK.items()}
BANDAI = {
    **{"hips": "Hips", "spine": "Spine", "chest": "Chest", "neck": "Neck", "head": "Head"},
    **sided(
        {
            **{"hip": "UpperLeg_L", "knee": "LowerLeg_L", "ankle": "Foot_L", "foot": "Toes_L", "collar": "Shoulder_L"},
            **{"shoulder": "UpperArm_L", "elbow": "LowerArm_L", "wrist": "Hand_L"},
        },
        ("_L", "_R"),
    ),
}
DAZ = {
    **{"hips": "hip", "spine": "abdomen", "chest": "chest", "neck": "neck", "head": "head"},
    **sided(
        {
            **{"hip": "lThigh", "knee": "lShin", "ankle": "lFoot", "foot": "lToe", "collar": "lCollar"},
            **{"shoulder": "lShldr", "elbow": "lForeArm", "wrist": "lHand"},
        },
        ("l", "r"),
    ),
}
POOR = {
    part: name
    for part, name in AUTODESK.items()
    if part.split("_")[-1] not in ("collar", "foot", "spine", "chest", "head")
}


def walker(tree: Tree, frames: int = 31, unit: float = 100.0) -> np.ndarray:
    """Channels of a body that glides 1 m/s along Z at 30 fps and lifts its left arm from below to above."""
    motion = np.zeros((frames, 3 + 3 * len(tree)))
    motion[:, 1], motion[:, 2] = 0.95 * unit, np.arange(frames) / 30 * unit
    arm = next(i for i, (name, *_) in enumerate(tree) if name.split(":")[-1] in ("LeftArm", "UpperArm_L", "lShldr"))
    motion[:, 3 + 3 * arm] = np.linspace(-80, 80, frames)  # the first rotation channel: about Z
    return motion


def place(joints: np.ndarray, name: str) -> np.ndarray:
    return joints[:, HUMANML3D.joints.index(name)]


def check_body(joints: np.ndarray) -> None:
    """Upright, left at +X, gliding ahead, left arm lifted, reference lengths, floor."""
    assert joints.dtype == np.float32 and np.isfinite(joints).all()
    lengths = np.linalg.norm(joints[:, 1:] - joints[:, list(HUMANML3D.parents[1:])], axis=-1)
    expected = np.linalg.norm(np.array(HUMANML3D.rest_offsets)[1:], axis=-1)
    np.testing.assert_allclose(lengths, np.broadcast_to(expected, lengths.shape), atol=1e-5)
    assert joints[..., 1].min() == 0
    for upper, lower in (
        ("head", "neck"),
        ("neck", "spine3"),
        ("spine3", "spine2"),
        ("spine2", "spine1"),
        ("spine1", "pelvis"),
    ):
        assert (place(joints, upper)[:, 1] > place(joints, lower)[:, 1]).all()
    for part in ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist"):
        assert (place(joints, f"left_{part}")[:, 0] > 0).all() and (place(joints, f"right_{part}")[:, 0] < 0).all()
    assert 0.8 < place(joints, "pelvis")[0, 1] < 1.05
    assert (place(joints, "left_foot")[:, 2] > place(joints, "left_ankle")[:, 2] + 0.08).all()
    wrist = place(joints, "left_wrist")[:, 1] - place(joints, "left_shoulder")[:, 1]
    assert wrist[0] < -0.4 and wrist[-1] > 0.4
    assert np.ptp(place(joints, "right_wrist")[:, 1]) < 1e-4
    travelled = joints[-1, 0] - joints[0, 0]
    np.testing.assert_allclose(travelled, [0, 0, 0.8258 / 0.84 * 1.0], atol=0.02)


@pytest.mark.parametrize("unit", [1.0, 100.0, 39.37])
@pytest.mark.parametrize(
    "names",
    [AUTODESK, MIXAMO, BANDAI, DAZ, CMU_MOTION_BUILDER, POOR],
    ids=["autodesk", "mixamo", "bandai", "daz", "cmu", "poor"],
)
def test_bodies_of_every_rig_and_unit_become_the_reference_body(tmp_path, names, unit):
    tree = body(names, unit)
    path = tmp_path / "walk.bvh"
    path.write_text(bvh_text(tree, walker(tree, unit=unit)))
    joints = import_bvh(path)
    assert len(joints) == 21
    check_body(joints)


def test_an_own_map_and_a_wrong_header_rate(tmp_path):
    strange = {part: f"bone {i} of {name.split(':')[-1]}" for i, (part, name) in enumerate(AUTODESK.items())}
    tree = body(strange)
    motion = walker(body(AUTODESK))
    path, rig = tmp_path / "walk.bvh", tmp_path / "rig.yaml"
    path.write_text(bvh_text(tree, motion, frame_time=1 / 120))
    with pytest.raises(InputError, match=r"walk\.bvh: unknown rig.*left_hip.*YAML rig map"):
        import_bvh(path)
    rows = [f"  {part}: {name}" for part, name in strange.items() if part not in ("hips", "spine", "chest")]
    rig.write_text("\n".join(["joints:", *rows, f"spine: [{strange['spine']}, {strange['chest']}]", "fps: 30"]))
    joints = import_bvh(path, rig)
    assert len(joints) == 21
    collars = [HUMANML3D.joints.index(f"{side}_collar") for side in ("left", "right")]
    assert np.isfinite(joints[:, collars]).all()
    check_body(joints)


def test_z_up_files_are_turned_upright(tmp_path):
    tree = [(name, parent, (x, -z, y)) for name, parent, (x, y, z) in body(AUTODESK)]
    motion = walker(body(AUTODESK))
    motion[:, 1], motion[:, 2] = -motion[:, 2], motion[:, 1].copy()
    motion[:, 3:] = 0
    (tmp_path / "z.bvh").write_text(bvh_text(tree, motion))
    joints = import_bvh(tmp_path / "z.bvh")
    assert joints[0, 15, 1] > 1.4 and np.ptp(joints[0, :, 2]) < 0.3
    np.testing.assert_allclose(joints[-1, 0] - joints[0, 0], [0, 0, 0.98], atol=0.02)
    assert (place(joints, "left_hip")[:, 0] > 0).all()


@pytest.mark.parametrize("settles", [False, True])
def test_an_added_t_pose_is_removed_and_a_recorded_one_is_kept(tmp_path, settles):
    names = DAZ if settles else AUTODESK
    tree = body(names)
    motion = walker(tree, 61)
    arm = next(i for i, (name, *_) in enumerate(tree) if name in ("LeftArm", "lShldr"))
    motion[:, 3 + 3 * arm] = -80
    motion[:, 4] = 30
    added = np.concatenate([motion[:1] * 0, motion])
    added[0, 1] = 95
    if settles:
        added[1:6, 3 + 3 * arm] = np.linspace(-10, -70, 5)
    for name, values in (("plain", motion), ("added", added)):
        (tmp_path / f"{name}.bvh").write_text(bvh_text(tree, values, frame_time=1 / 120))
    plain, cleaned = import_bvh(tmp_path / "plain.bvh"), import_bvh(tmp_path / "added.bvh")
    assert len(plain) == len(cleaned) == 11
    np.testing.assert_allclose(cleaned, plain, atol=1e-5)
    still = walker(tree, 10)
    still[:, 3:] = 0
    (tmp_path / "still.bvh").write_text(bvh_text(tree, still, frame_time=1 / 20))
    assert len(import_bvh(tmp_path / "still.bvh")) == 10


def test_short_files(tmp_path):
    tree = body(AUTODESK)
    for frames in (1, 2):
        (tmp_path / "short.bvh").write_text(bvh_text(tree, walker(tree, frames)))
        assert import_bvh(tmp_path / "short.bvh").shape == (1, 22, 3)


def test_skipping_all_frames_and_bodies_without_size_are_refused(tmp_path):
    tree = body(AUTODESK)
    path, rig = tmp_path / "walk.bvh", tmp_path / "rig.yaml"
    path.write_text(bvh_text(tree, walker(tree, 3)))
    rows = [f"  {part}: {name}" for part, name in AUTODESK.items() if part not in ("hips", "spine", "chest")]
    rig.write_text("\n".join(["joints:", *rows, "skip_frames: 3"]))
    with pytest.raises(InputError, match="3 frames and the rig skips them all"):
        import_bvh(path, rig)
    path.write_text(bvh_text([(name, parent, (0, 0, 0)) for name, parent, _ in tree], np.zeros((3, 3 + 3 * len(tree)))))
    with pytest.raises(InputError, match="are at one point"):
        import_bvh(path)


def test_resampling_is_exact_on_lines_and_keeps_the_duration():
    line = np.arange(121.0)[:, None] / 120 * [1.0, 2.0]
    for fps, target, count in ((120, 20, 21), (120, 12.5, 13), (30, 20, 81), (25, 20, 97), (10, 20, 241)):
        found = resample(line, fps, target)
        assert len(found) == count
        np.testing.assert_allclose(found, (np.arange(count) / target * fps / 120)[:, None] * [1.0, 2.0], atol=1e-12)
    np.testing.assert_array_equal(resample(line, 20, 20), line)


def test_scaling_keeps_directions_and_a_reference_body(tmp_path):
    random = np.random.default_rng(0)
    joints = random.normal(size=(5, 22, 3))
    scaled = scale_to_skeleton(joints, HUMANML3D)
    parents = list(HUMANML3D.parents[1:])
    for first, second in zip(joints, scaled, strict=True):
        a, b = first[1:] - first[parents], second[1:] - second[parents]
        cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
        np.testing.assert_allclose(cosine, 1, atol=1e-9)
    np.testing.assert_allclose(scale_to_skeleton(scaled, HUMANML3D), scaled, atol=1e-9)


def test_kit_needs_bone_lengths(tmp_path):
    tree = body(AUTODESK)
    path = tmp_path / "walk.bvh"
    path.write_text(bvh_text(tree, walker(tree)))
    with pytest.raises(InputError, match="with_target"):
        import_bvh(path, skeleton=KIT)
    unit = tuple((0.0, 0.0, 0.0) if i == 0 else (0.0, 2.0, 0.0) for i in range(KIT.num_joints))
    joints = import_bvh(path, skeleton=replace(KIT, rest_offsets=unit))
    assert joints.shape == (13, 21, 3)
    left, right = KIT.joints.index("left_wrist"), KIT.joints.index("right_wrist")
    assert (joints[:, left, 0] > joints[:, right, 0]).all()


def test_reading_a_written_file_is_exact(tmp_path):
    tree = body(AUTODESK)
    (tmp_path / "walk.bvh").write_text(bvh_text(tree, walker(tree)))
    joints = import_bvh(tmp_path / "walk.bvh")
    write_bvh(tmp_path / "own.bvh", joints)
    assert np.abs(import_bvh(tmp_path / "own.bvh") - joints).max() < 1e-3


def facing_ahead(joints: np.ndarray) -> np.ndarray:
    """Root over the origin, first frame facing Z, root height relative to its mean instead of the lowest point."""
    joints = joints.astype(np.float64)
    across = joints[0, 1] - joints[0, 2] + joints[0, 16] - joints[0, 17]
    left = across * [1, 0, 1] / np.linalg.norm(across * [1, 0, 1])
    turned = (joints - joints[0, 0] * [1, 0, 1]) @ np.stack([left, [0, 1, 0], np.cross(left, [0, 1, 0])]).T
    turned[..., 1] -= turned[:, 0, 1].mean()
    return turned


def test_shared_recordings_agree_with_the_mocap_set(shared_data):
    """Mean joint error to the same recordings retargeted by another program, without the first frame."""
    errors: dict[str, list[float]] = {"bandai": [], "cmu_daz": []}
    with open(shared_data / "mocap" / "index.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"].startswith(("Bandai", "CMU"))]
    for path in sorted((shared_data / "bvh").rglob("*.bvh")):
        joints = import_bvh(path)
        assert np.isfinite(joints).all() and joints[..., 1].min() == 0
        for row in (row for row in rows if row["clip"] == path.stem and not row["id"].startswith("C")):
            other = np.load(shared_data / "mocap" / "new_joints" / f"{row['id']}.npy")[1:]
            ours = joints[int(row["start"]) + 1 :][: len(other)]
            difference = facing_ahead(ours) - facing_ahead(other[: len(ours)])
            errors[path.parent.name].append(float(np.linalg.norm(difference, axis=-1).mean()))
    for folder, limit in (("bandai", 0.006), ("cmu_daz", 0.008)):
        assert len(errors[folder]) >= 7 and max(errors[folder]) < limit, (folder, errors[folder])
