"""ASF and AMC files against plain loops with scipy's rotations."""

import numpy as np
import pytest
from asf_parts import bones, made_angles, write_amc, write_asf
from scipy.spatial.transform import Rotation

from realign.errors import InputError
from realign.motion.asf import ASF_RIG, read_amc, read_asf


def test_bones_begin_where_plain_loops_say(tmp_path):
    skeleton = read_asf(write_asf(tmp_path / "7.asf"))
    angles = made_angles(9)
    shuffled = {name: angles[name] for name in ["root", *sorted(set(angles) - {"root"})]}
    positions = read_amc(write_amc(tmp_path / "7_1.amc", shuffled), skeleton)
    names, table = [bone.name for bone in skeleton], bones()
    assert positions.shape == (9, len(table) + 1, 3) and sorted(names) == sorted(["root", *table])
    for frame in range(9):
        end = {"root": angles["root"][frame, :3]}
        turned = {"root": Rotation.from_euler("xyz", angles["root"][frame, 3:], degrees=True)}
        for name in names[1:]:
            parent, direction, length, axis, dof = table[name]
            values = dict(zip(dof.split(), angles.get(name, np.zeros((9, 0)))[frame], strict=True))
            own = Rotation.from_euler("xyz", [values.get(f"r{a}", 0) for a in "xyz"], degrees=True)
            frame_of = Rotation.from_euler("xyz", axis, degrees=True)
            turned[name] = turned[parent] * frame_of * own * frame_of.inv()
            assert np.abs(positions[frame, names.index(name)] - end[parent]).max() < 1e-3  # six digits in the file
            end[name] = end[parent] + turned[name].apply(np.array(direction) * length)
    body = ASF_RIG.resolve(names).body(positions)
    assert np.allclose(np.linalg.norm(body["left_knee"] - body["left_hip"], axis=-1), 7.2, atol=0.01)


def test_damaged_files_are_told_in_one_sentence(tmp_path):
    whole = write_asf(tmp_path / "7.asf")
    skeleton, text = read_asf(whole), whole.read_text()
    for name, damaged in {
        "cut": text[: len(text) // 2],
        "word": text.replace("length 7.5", "length x"),
        "": "a",
    }.items():
        (tmp_path / f"{name}.asf").write_text(damaged)
        with pytest.raises(InputError, match="not an ASF skeleton"):
            read_asf(tmp_path / f"{name}.asf")
    motion = write_amc(tmp_path / "7_1.amc", made_angles(9)).read_text()
    for damaged, told in {
        motion[:-200]: "is cut off or damaged",
        motion.replace("\n3\nroot 0", "\n3\nroot nan"): "not finite numbers",
        motion.replace("head", "hat"): "holds 'hat', which its .asf file does not have",
        "": "no frame with the bones",
    }.items():
        (tmp_path / "bad.amc").write_text(damaged)
        with pytest.raises(InputError, match=told):
            read_amc(tmp_path / "bad.amc", skeleton)
    with pytest.raises(InputError, match="does not exist"):
        read_amc(tmp_path / "none.amc", skeleton)
