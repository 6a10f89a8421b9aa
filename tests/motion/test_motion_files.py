"""Reading motions of AMASS, and joints in a stated unit."""

import os
import pickle

import numpy as np
import pytest
from body_parts import made_motion, write_bodies, write_motion
from made import person

from realign.cli import main
from realign.errors import InputError
from realign.motion import HUMANML3D, MotionClip
from realign.motion.amass import BodyMotion
from realign.motion.body_files import BodyModels
from realign.motion.body_joints import motion_joints


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    return write_bodies(tmp_path_factory.mktemp("bodies"))


def standing() -> np.ndarray:
    joints = person(3, 30, HUMANML3D, turn=0.1).numpy() * 2
    joints[..., 1] -= joints[..., 1].min()
    return joints.astype(np.float32)


def test_a_file_of_amass_is_read_with_its_body(tmp_path, bodies):
    write_motion(tmp_path / "walk.npz", made_motion(121, 60.0))
    clip = MotionClip.load(tmp_path / "walk.npz", body_models=bodies)
    expected = motion_joints(BodyMotion.read(tmp_path / "walk.npz"), BodyModels.open(bodies), 3)
    assert (clip.fps, len(clip)) == (20, 41)  # every third frame, as rates divide
    turned = np.stack([-expected[..., 0], expected[..., 2], expected[..., 1]], axis=-1)
    np.testing.assert_allclose(clip.joints, turned, atol=1e-5)
    assert clip.joints[:, 15, 1].mean() > clip.joints[:, 0, 1].mean() + 0.3  # the head is above the pelvis
    assert len(MotionClip.load(tmp_path / "walk.npz", body_models=bodies, fps=30)) == 81


def test_a_rate_that_is_given_replaces_that_of_the_file(tmp_path, bodies):
    motion = made_motion(121, 60.0)
    write_motion(tmp_path / "good.npz", motion)
    wanted = MotionClip.load(tmp_path / "good.npz", body_models=bodies)
    for name, rate in (
        ("zero", {"mocap_framerate": np.array(0.0)}),
        ("odd", {"mocap_framerate": np.zeros(2)}),
        ("no", {}),
    ):
        write_motion(tmp_path / f"{name}.npz", {key: motion[key] for key in motion if key != "mocap_framerate"} | rate)
        with pytest.raises(InputError, match="frame rate"):
            MotionClip.load(tmp_path / f"{name}.npz", body_models=bodies)
        clip = MotionClip.load(tmp_path / f"{name}.npz", body_models=bodies, fps=60)
        np.testing.assert_array_equal(clip.joints, wanted.joints)


def test_what_was_written_as_amass_is_read_back(tmp_path, bodies):
    clip = MotionClip(standing(), 20.0)
    clip.save(tmp_path / "x.npz", body_models=bodies)
    found = MotionClip.load(tmp_path / "x.npz", body_models=bodies)
    assert len(found) == len(clip)
    assert np.abs(found.joints[:, 0] - clip.joints[:, 0]).max() < 0.1  # another body, in the same place


def test_bad_files_of_amass_are_one_sentence(tmp_path, bodies):
    path = tmp_path / "x.npz"
    write_motion(path, made_motion(30))
    with pytest.raises(InputError, match=r"SMPL\+H, which give joints only on a body.*--body-models"):
        MotionClip.load(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cut off"):
        MotionClip.load(path, body_models=bodies)

    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "attacked"),)

    write_motion(path, made_motion(30) | {"poses": np.array([Attack()], dtype=object)})
    with pytest.raises(InputError, match="pickled code, which is not executed"):
        MotionClip.load(path, body_models=bodies)
    assert not (tmp_path / "attacked").exists()
    assert pickle.dumps(Attack())  # it would have made the folder
    for poses, reason in ((np.full((30, 156), np.nan), "NaN"), (np.zeros((30, 99)), r"shape \(30, 99\)")):
        write_motion(path, made_motion(30) | {"poses": poses})
        with pytest.raises(InputError, match=reason):
            MotionClip.load(path, body_models=bodies)
    with pytest.raises(InputError, match="no such motion file"):
        MotionClip.load(tmp_path / "none.npz", body_models=bodies)


def test_units_are_used_as_stated(tmp_path):
    joints = standing()
    np.save(tmp_path / "x.npy", joints * 100)
    for unit in ("cm", "Centimetres"):
        np.testing.assert_allclose(MotionClip.load(tmp_path / "x.npy", units=unit).joints, joints, atol=1e-5)
    with pytest.raises(InputError, match="legs of .* metres are not a person's"):
        MotionClip.load(tmp_path / "x.npy", units="m")
    with pytest.raises(InputError, match="'feet' is not a unit of joints: give one of metres, centimetres"):
        MotionClip.load(tmp_path / "x.npy", units="feet")
    np.save(tmp_path / "dwarf.npy", joints * 0.4 * 100)  # a child of 0.7 m, which no detection takes for centimetres
    np.testing.assert_allclose(MotionClip.load(tmp_path / "dwarf.npy", units="cm").joints, joints * 0.4, atol=1e-5)
    np.save(tmp_path / "odd.npy", joints[:, :20])
    with pytest.raises(InputError, match=r"\(frames, 22, 3\) of HumanML3D.*24, 45, 52"):
        MotionClip.load(tmp_path / "odd.npy")


def test_render_reads_amass_and_units(tmp_path, bodies, capsys):
    write_motion(tmp_path / "walk.npz", made_motion(60, 60.0))
    assert main(["render", f"{tmp_path}/walk.npz", "--body-models", str(bodies), "-o", f"{tmp_path}/x.npy"]) == 0
    assert np.load(tmp_path / "x.npy").shape == (20, 22, 3)
    np.save(tmp_path / "cm.npy", standing() * 100)
    assert main(["render", f"{tmp_path}/cm.npy", "--units", "cm", "-o", f"{tmp_path}/y.npy"]) == 0
    assert np.abs(np.load(tmp_path / "y.npy") - standing()).max() < 1e-5
    assert main(["render", f"{tmp_path}/walk.npz", "-o", f"{tmp_path}/z.npy"]) == 2
    assert "--body-models" in capsys.readouterr().err
