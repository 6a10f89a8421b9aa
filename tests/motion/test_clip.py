import numpy as np
import pytest
from made import person

from realign.errors import InputError
from realign.motion import HUMANML3D, KIT, MotionClip, features_to_joints, joints_to_features
from realign.motion.bvh import import_bvh, write_bvh


@pytest.mark.parametrize("skeleton", [HUMANML3D, KIT], ids=lambda s: s.name)
def test_file_kinds_are_recognised(tmp_path, skeleton):
    joints = person(0, 30, skeleton)
    features = joints_to_features(joints, skeleton)
    np.save(tmp_path / "joints.npy", joints.float().numpy())
    np.save(tmp_path / "flat.npy", joints.flatten(1).numpy())
    np.save(tmp_path / "features.npy", features.numpy())
    for name in ("joints", "flat"):
        clip = MotionClip.load(tmp_path / f"{name}.npy")
        assert np.array_equal(clip.joints, joints.float().numpy())
        assert (clip.fps, clip.skeleton, clip.seconds, len(clip)) == (
            skeleton.fps,
            skeleton.name,
            30 / skeleton.fps,
            30,
        )
        assert clip.joints.dtype == np.float32
    clip = MotionClip.load(tmp_path / "features.npy", fps=10.0, caption="a person walks")
    assert np.array_equal(clip.joints, features_to_joints(features, skeleton).float().numpy())
    assert (clip.fps, clip.caption) == (10, "a person walks")


def test_bad_files_are_one_sentence(tmp_path):
    joints = person(0, 30).numpy()

    def saved(array):
        np.save(tmp_path / "x.npy", array, allow_pickle=True)
        return tmp_path / "x.npy"

    nan = joints.copy()
    nan[3, 2, 1] = np.nan
    whole = saved(joints).read_bytes()
    cut, alien, empty = tmp_path / "cut.npy", tmp_path / "alien.npy", tmp_path / "empty.npy"
    cut.write_bytes(whole[: len(whole) // 2])
    alien.write_bytes(b"not an array")
    empty.write_bytes(b"")
    torn, archive, huge = tmp_path / "torn.npy", tmp_path / "archive.npy", tmp_path / "huge.npy"
    torn.write_bytes(whole.replace(b"}", b" ", 1))  # the header is parsed as Python
    archive.write_bytes(b"PK\x03\x04" + whole)
    huge.write_bytes(whole.replace(b"(30, 22, 3), }          ", b"(30, 22, 3000000000), } ", 1))
    for path in (cut, alien, empty, torn, archive, huge):
        with pytest.raises(InputError, match=f"cannot read .*{path.name}.*damaged"):
            MotionClip.load(path)
    for array, reason in (
        (nan, "NaN"),
        (joints[:, :20], r"shape \(30, 20, 3\)"),
        (np.zeros((30, 100)), r"shape \(30, 100\)"),
        (joints[:0], "no frames"),
        (np.array(["a"]), "not hold an array of numbers"),
        (np.array([{}], dtype=object), "damaged"),
    ):
        with pytest.raises(InputError, match=reason):
            MotionClip.load(saved(array))
    with pytest.raises(InputError, match="no such motion file"):
        MotionClip.load(tmp_path / "none.npy")
    with pytest.raises(InputError, match=r"give a \.npy, \.bvh, \.glb"):
        MotionClip.load(tmp_path / "x.txt")


@pytest.mark.parametrize("rate", [0, 0.0, -1, np.nan, 1e9])
def test_bad_frame_rates_are_refused(tmp_path, rate):
    write_bvh(tmp_path / "x.bvh", person(0, 5).numpy())
    np.save(tmp_path / "x.npy", person(0, 5).numpy())
    for path in (tmp_path / "x.npy", tmp_path / "x.bvh"):
        with pytest.raises(InputError, match="fps must be a positive number from"):
            MotionClip.load(path, fps=rate)
    for use in (import_bvh, lambda path, fps: write_bvh(path, person(0, 5).numpy(), fps=fps)):
        with pytest.raises(InputError, match="fps .*must be a positive number from"):
            use(tmp_path / "x.bvh", fps=rate)


def test_a_clip_is_checked():
    joints = person(0, 5).numpy()
    with pytest.raises(InputError, match="21, 3"):
        MotionClip(joints, 20.0, skeleton="kit")
    for rate in (0.0, -20.0, np.nan, np.inf, 1e6, 1e-6):
        with pytest.raises(InputError, match="fps must be a positive number from"):
            MotionClip(joints, rate)
    with pytest.raises(InputError, match="NaN"):
        MotionClip(joints * np.inf, 20.0)
    with pytest.raises(InputError, match="not positions"):
        MotionClip(joints.astype(complex), 20.0)


def test_features_of_a_real_clip(reference_dir):
    clip = MotionClip.load(reference_dir / "new_joint_vecs_000000.npy")
    assert np.abs(clip.joints - np.load(reference_dir / "new_joints_000000.npy")).max() < 1e-6
