"""HumanML3D's clips of the CMU library: rates, partners, what is left out, and real recordings."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from asf_parts import made_angles, write_amc, write_asf
from body_parts import write_repository
from data_parts import make_joints

from realign.cli import main
from realign.data.prepare.cmu import CmuFolder, with_thorax
from realign.data.prepare.cmu_files import frames_of, trial_in_index
from realign.data.prepare.source import Item
from realign.data.store import PackedMotions
from realign.motion.bvh import read_bvh, write_bvh
from realign.motion.bvh.retarget import resample, scale_to_skeleton
from realign.motion.skeleton import HUMANML3D


def cmu_bvh(path: Path, joints: np.ndarray) -> Path:
    """A recording as the releases have them: a T-pose first, 120 frames per second whatever the truth."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pose = np.zeros_like(joints[:1])
    for joint, parent in enumerate(HUMANML3D.parents):
        if parent >= 0:
            arm = HUMANML3D.joints[joint].endswith(("elbow", "wrist"))
            aim = (1.0 if HUMANML3D.joints[joint][0] == "l" else -1.0, 0, 0) if arm else HUMANML3D.raw_offsets[joint]
            pose[:, joint] = pose[:, parent] + np.linalg.norm(HUMANML3D.rest_offsets[joint]) * np.array(aim)
    write_bvh(path, np.concatenate([pose + joints[:1, :1] * [0, 1, 0], joints]), fps=120)
    return path


def aligned(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances (F, J) of joints after the best turn about the vertical and shift."""
    a, b = a - a.mean((0, 1)), b - b.mean((0, 1))
    turn = np.arctan2((a[..., 0] * b[..., 2] - a[..., 2] * b[..., 0]).sum(), (a * b)[..., [0, 2]].sum())
    c, s = np.cos(turn), np.sin(turn)
    return np.linalg.norm(a @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) - b, axis=-1)


def test_index_tells_the_rate_and_partners_have_their_own_files(tmp_path):
    turned = make_joints(61)[..., [2, 1, 0]] * [1, 1, -1]  # away from the added pose
    joints = scale_to_skeleton(resample(turned, 20, 120)[:360], HUMANML3D)
    for name in ("13_01", "13_02", "60_01", "60_02", "61_03", "75_01", "75_02", "75_03", "19_08", "18_08"):
        cmu_bvh(tmp_path / "cmu" / name[:2] / f"{name}.bvh", joints)
    rows = [
        ("CMU/13/13_01_poses.npy", 5, 60, "fast"),  # 360 / 6 = 60 frames
        ("CMU/60/60_01_poses.npy", 20, 120, "slow"),  # 360 / 3 = 120
        ("CMU/60/60_02_poses.npy", 0, 20, "part"),  # as the other of its subject
        ("CMU/13/13_02_poses.npy", 0, 20, "short"),
        ("CMU/61/61_03_poses.npy", 10, 50, "known"),  # nothing tells, but the subject is known
        ("CMU/75/75_01_poses.npy", 2, 52, "middle"),  # 50 of 60 frames could be of either
        ("CMU/75/75_02_poses.npy", 0, 119, "long"),
        ("CMU/75/75_03_poses.npy", 0, 118, "longer"),
        ("CMU/18_19_rory/18_08_poses.npy", 0, 60, "second"),
        ("KIT/3/13_01_poses.npy", 0, 60, "other"),
    ]
    source = CmuFolder.open(tmp_path / "cmu", write_repository(tmp_path / "clone", rows))
    written = read_bvh(tmp_path / "cmu" / "13" / "13_01.bvh")
    joints = written.global_positions()[1:, [written.names.index(name) for name in HUMANML3D.joints]]
    assert source.trials.strides == {
        **{(13, 1): 6, (13, 2): 6, (19, 8): 6},
        **{(60, 1): 3, (60, 2): 3, (61, 3): 3, (75, 1): 3, (75, 2): 3, (75, 3): 3},
    }
    assert source.paths["second"].name == "19_08.bvh" and "other" not in source.paths and source.rows == 9
    for name, frames in {"fast": joints[30::6][:55], "slow": joints[60::3][:100], "part": joints[::3][:20]}.items():
        clip = source.load(Item(name, source.paths[name]))
        assert len(clip) == len(frames) and aligned(clip, frames).max() < 2e-3
        mirrored = source.load(Item(f"M{name}", source.paths[f"M{name}"]))
        assert np.allclose(mirrored, clip[:, HUMANML3D.mirror_order] * [-1, 1, 1])
    assert "9 of the 9 CMU clips" in source.about()["method"] and "third of 6 recordings" in source.about()["method"]
    assert trial_in_index("CMU/22_23_justin/22_03_poses.npy") == (22, 3) and trial_in_index("BMLmovi/1_2.npy") is None


def test_asf_recordings_and_all_that_is_left_out(tmp_path, capsys):
    folder = tmp_path / "cmu"
    folder.mkdir()
    write_asf(folder / "07.asf")
    angles = made_angles(240)
    write_amc(folder / "07_01.amc", angles)
    whole = write_amc(folder / "07_02.amc", angles).read_text()
    (folder / "07_02.amc").write_text(whole[:-300])
    write_amc(folder / "08_01.amc", angles)
    (folder / "09_01.bvh").write_text("HIERARCHY\nROOT Hips\n{\n")
    assert frames_of(folder / "07_01.amc") == 240 and frames_of(folder / "09_01.bvh") == 0
    rows = [(f"CMU/{name[:2]}/{name}_poses.npy", 0, 40, name) for name in ("07_01", "07_02", "08_01", "09_01", "10_01")]
    write_repository(tmp_path / "clone", rows)
    words = ["prepare", "cmu", folder, "--humanml3d", tmp_path / "clone", "-o", tmp_path / "out"]
    assert main([*map(str, words)]) == 0
    records = [json.loads(line) for line in (tmp_path / "out" / "report.jsonl").read_text().splitlines()]
    left_out = {record["id"]: record for record in records if not record["stored"]}
    for name, (reason, detail) in {
        "07_02": ("unreadable", "is cut off or damaged"),
        "08_01": ("no skeleton", "08_01.amc needs 08.asf"),
        "09_01": ("unreadable", "has no MOTION section"),
        "10_01": ("no motion file", "neither 10_01.bvh nor .amc"),
    }.items():
        for each in (name, f"M{name}"):
            assert left_out[each]["reason"] == reason and detail in left_out[each]["detail"], left_out[each]
    packed = PackedMotions.open(tmp_path / "out")
    assert sorted(packed.ids(range(len(packed)))) == ["07_01", "M07_01"] and len(packed.motion(0)) == 39
    assert "3 of the 5 CMU clips in index.csv found" in capsys.readouterr().out
    assert main(["prepare", "cmu", str(folder), "-o", str(tmp_path / "x")]) == 2
    assert "prepare cmu needs the repository of HumanML3D" in capsys.readouterr().err


def test_the_motionbuilder_release_gets_its_thorax_back(tmp_path):
    text = "HIERARCHY\nROOT Hips\n{\nOFFSET 0 0 0\nCHANNELS 3 Xrotation Yrotation Zrotation\nJOINT Spine1\n{\n"
    text += "OFFSET 0 2 0.1\nCHANNELS 3 Xrotation Yrotation Zrotation\n"
    for name in ("Neck", "LeftShoulder", "RightShoulder"):
        text += f"JOINT {name}\n{{\nOFFSET 0 0 0\nCHANNELS 3 Xrotation Yrotation Zrotation\n"
        text += "End Site\n{\nOFFSET 0 1 0\n}\n}\n"
    (tmp_path / "a.bvh").write_text(text + "}\n}\nMOTION\nFrames: 1\nFrame Time: 0.01\n" + "0 " * 15 + "\n")
    bvh = read_bvh(tmp_path / "a.bvh")
    restored = with_thorax(bvh)
    assert restored.rest_positions()[bvh.names.index("Neck")].tolist() == [0, 4, 0.2]
    assert with_thorax(restored) is restored
    other = replace(bvh, names=tuple(name.replace("Spine1", "Chest") for name in bvh.names))
    assert with_thorax(other) is other


MOTIONBUILDER = {  # of the release: parent, offset
    "Hips": ("", (0, 0, 0)),
    **{"LeftUpLeg": ("Hips", (1.8, -1.9, 0)), "LeftLeg": ("LeftUpLeg", (0, -7.4, 0))},
    **{"LeftFoot": ("LeftLeg", (0, -7.9, 0)), "LeftToeBase": ("LeftFoot", (0, -0.5, 2.2))},
    **{"LowerBack": ("Hips", (0, 0, 0)), "Spine": ("LowerBack", (0, 2, 0)), "Spine1": ("Spine", (0, 2, 0))},
    **{"Neck": ("Spine1", (0, 0, 0)), "Neck1": ("Neck", (0, 1.7, 0.2)), "Head": ("Neck1", (0, 1.7, 0))},
    **{"LeftShoulder": ("Spine1", (0, 0, 0)), "LeftArm": ("LeftShoulder", (3.4, 1, 0))},
    **{"LeftForeArm": ("LeftArm", (5, 0, 0)), "LeftHand": ("LeftForeArm", (3.6, 0, 0))},
}


def motionbuilder_bvh(path: Path, neck: float) -> None:
    right = {
        name.replace("Left", "Right"): (parent.replace("Left", "Right"), (-x, y, z))
        for name, (parent, (x, y, z)) in MOTIONBUILDER.items()
        if name.startswith("Left")
    }
    joints = MOTIONBUILDER | right | {"Neck1": ("Neck", (0, neck, 0.2))}

    def node(name: str) -> str:
        text = f"{'JOINT' if name != 'Hips' else 'ROOT'} {name}\n{{\nOFFSET {' '.join(map(str, joints[name][1]))}\n"
        text += f"CHANNELS {'3' if name != 'Hips' else '6 Xposition Yposition Zposition'} "
        text += "Zrotation Yrotation Xrotation\n"
        below = [node(child) for child, (parent, _) in joints.items() if parent == name]
        return text + ("".join(below) or "End Site\n{\nOFFSET 0 0.1 0\n}\n") + "}\n"

    header, rows = node("Hips"), np.zeros((61, 3 + 3 * len(joints)))
    rows[1:, 3:] = 15 * np.sin(np.arange(60)[:, None] / 9 + np.arange(rows.shape[1] - 3))
    rows[:, 1] = 17
    motion = "\n".join(" ".join(f"{value:.4f}" for value in row) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"HIERARCHY\n{header}MOTION\nFrames: 61\nFrame Time: .0083333\n{motion}\n")


def test_the_neck_of_the_motionbuilder_release_is_at_the_end_of_its_thorax(tmp_path):
    clone, clips = write_repository(tmp_path / "clone", [("CMU/7/07_01_poses.npy", 0, 10, "a")]), []
    for neck in (1.7, 2.5):  # how long the bone above is does not move the body
        motionbuilder_bvh(tmp_path / f"{neck}" / "07_01.bvh", neck)
        source = CmuFolder.open(tmp_path / f"{neck}", clone)
        clips.append(source.load(Item("a", source.paths["a"])))
    body = [joint for joint, name in enumerate(HUMANML3D.joints) if name != "head"]
    assert len(clips[0]) == 10 and np.allclose(clips[0][:, body], clips[1][:, body], atol=1e-6)


def test_real_recordings_give_the_clips_of_the_index(shared_data, tmp_path):
    folder, rows = shared_data / "bvh" / "cmu_daz", []
    for line in (shared_data / "mocap" / "index.csv").read_text().splitlines()[1:]:
        name, _, source, _, clip, start, end = line.split(",")[:7]
        if source == "CMU x HumanML3D" and (folder / f"{clip}.bvh").is_file():
            rows.append((f"CMU/{clip[:2]}/{clip}_poses.npy", int(start), int(end), name))
    source = CmuFolder.open(folder, write_repository(tmp_path / "clone", rows))
    assert len(rows) >= 8
    for *_, name in rows:
        reference = np.load(shared_data / "mocap" / "new_joints" / f"{name}.npy")
        clip = source.load(Item(name, source.paths[name]))
        assert len(clip) == len(reference) and aligned(clip, reference)[1:].mean() < 2.6e-3, name
