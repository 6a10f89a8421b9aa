"""Bandai-Namco's data set: what is read and left out, and motions composed of two recordings."""

import csv
import json

import numpy as np
import pytest
from data_parts import make_joints

from realign.cli import main
from realign.data.prepare.bandai_compose import BLENDED, arms_on_walk, in_turn
from realign.data.prepare.bandai_folder import BandaiFolder, prepare_bandai
from realign.data.prepare.source import Item, LeftOut
from realign.data.store import PackedMotions
from realign.motion.bvh import write_bvh
from realign.motion.bvh.retarget import scale_to_skeleton
from realign.motion.skeleton import HUMANML3D

ARMS = [13, 14, *range(16, 22)]


def rigid(frames, seed=0):
    return scale_to_skeleton(make_joints(frames, seed), HUMANML3D)


def turned(joints, angle=1.0, shift=(3.0, 0.0, -2.0)):
    c, s = np.cos(angle), np.sin(angle)
    return joints @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + np.array(shift)


def test_arms_are_carried_in_the_chests_frame():
    walk, arms = rigid(60), rigid(75, seed=1)
    made = arms_on_walk(walk, arms, 10)
    rest = [joint for joint in range(22) if joint not in ARMS]
    assert np.array_equal(made[:, rest], walk[:, rest]) and len(made) == 60
    assert np.abs(made[:, ARMS] - walk[:, ARMS]).max() > 0.02
    for joint in ARMS:
        above = HUMANML3D.parents[joint]
        lengths = [np.linalg.norm(each[:, joint] - each[:, above], axis=-1) for each in (made, arms[10:70])]
        assert np.allclose(*lengths)
    assert np.allclose(arms_on_walk(walk, turned(arms), 10), made)  # where the other one stands does not matter
    assert np.allclose(arms_on_walk(walk, turned(walk), 0), walk)
    assert np.allclose(arms_on_walk(arms, turned(arms[20:50]), 20), arms[20:50])


def test_a_motion_cut_in_two_is_joined_as_it_was():
    whole = rigid(90)
    joined, apart = in_turn(whole[: 40 + BLENDED], turned(whole[40:]))
    assert apart < 1e-6 and np.abs(joined - whole).max() < 1e-5
    lifted = turned(whole[40:]) + [0, 0.05, 0]
    joined, apart = in_turn(whole[: 40 + BLENDED], lifted)
    assert apart == pytest.approx(0.05) and np.abs(np.diff(joined[:, 0, 1])).max() < 0.03  # no jump of 5 cm
    bones = np.linalg.norm(joined[:, 1:] - joined[:, list(HUMANML3D.parents[1:])], axis=-1)
    assert np.allclose(bones, np.linalg.norm(HUMANML3D.rest_offsets[1:], axis=-1), atol=1e-6)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    root = tmp_path_factory.mktemp("bandai")
    folder = root / "dataset" / "Bandai-Namco-Research-Motiondataset-2" / "data"
    folder.mkdir(parents=True)
    joints = rigid(40)
    for name, style in {"walk": "active", "wave-left-hand": "normal", "raise-up-both-hands": "normal"}.items():
        write_bvh(folder / f"dataset-2_{name}_{style}_001.bvh", np.repeat(joints, 3, axis=0)[:100], fps=30)
    write_bvh(folder / "dataset-2_bow_normal_001.bvh", turned(rigid(90, seed=3), shift=(0, 0.4, 0)), fps=30)
    write_bvh(folder / "mine.bvh", joints, fps=30)
    write_bvh(folder / "dataset-2_juggle_normal_001.bvh", joints, fps=30)
    (folder / "dataset-2_run_normal_001.bvh").write_text("HIERARCHY\nROOT Hips\n{\n")
    return root


def test_labels_composed_clips_and_all_that_is_left_out(clone, tmp_path, capsys):
    words = ["prepare", "bandai", clone, "--compose", "--splits", "1/0/0", "-o", tmp_path / "out"]
    assert main([*map(str, words)]) == 0
    packed = PackedMotions.open(tmp_path / "out")
    names = set(packed.ids(range(len(packed))))
    assert {"dataset-2_walk_active_001", "dataset-2_wave-left-hand_normal_001"} <= names
    assert any(name.startswith("dataset-2_walk_active_001+") for name in names)
    records = [json.loads(line) for line in (tmp_path / "out" / "report.jsonl").read_text().splitlines()]
    left_out = {record["id"]: record["reason"] for record in records if not record["stored"]}
    assert left_out.pop("mine") == "not named as in the data set"
    assert left_out.pop("dataset-2_juggle_normal_001") == "no words for its label"
    assert left_out.pop("dataset-2_run_normal_001") == "unreadable"
    assert set(left_out.values()) <= {"not composed, as the poses do not meet"}
    shown = capsys.readouterr().out
    digest = json.loads((tmp_path / "out" / "meta.json").read_text())["content"]
    assert f"hash: {digest}" in shown and "composed from other clips, not recorded: " in shown
    again = prepare_bandai(clone, tmp_path / "again", compose=True, splits="1/0/0", workers=2)
    assert again.meta["content"] == digest
    assert main(["prepare", str(clone), "--compose", "-o", str(tmp_path / "x")]) == 2
    assert "--compose is for `realign prepare bandai FOLDER`" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["prepare", "bandai", str(tmp_path / "empty"), "-o", str(tmp_path / "x")]) == 2
    assert "holds no recording named as those of the data set" in capsys.readouterr().err


def test_pairs_stay_in_their_split_and_meet(clone):
    source = BandaiFolder.open(clone, "50/0/50", compose=True)
    items = {item.id: item for item in source.items()}
    for name, (first, second) in source.pairs.items():
        assert items[name].splits == items[first.stem].splits == items[second.stem].splits
        assert items[name].kind == "composed" and items[name].label[0].count("+" if "+" in name else ">") == 1
    bow, wave = (next(clone.rglob(f"*_{name}_normal_001.bvh")) for name in ("bow", "wave-left-hand"))
    source.pairs["a>b"] = wave, bow
    with pytest.raises(LeftOut, match="the poses do not meet: .* cm apart"):
        source.load(Item("a>b", bow))


def test_real_recordings_are_those_of_the_mocap_set(shared_data):
    folder = shared_data / "bvh" / "bandai"
    source = BandaiFolder.open(folder)
    with open(shared_data / "mocap" / "index.csv") as file:
        rows = {row["clip"]: row for row in csv.DictReader(file) if row["source"] == "Bandai-Namco"}
    for item in source.items()[::5]:
        row = rows[item.id]
        assert item.label == (row["content"], row["style"])
        joints = source.load(item)
        reference = np.load(shared_data / "mocap" / "new_joints" / f"{row['id']}.npy")
        assert 0 <= len(joints) - len(reference) <= 1
        heights = joints[: len(reference), :, 1] - reference[..., 1]
        assert np.abs(heights).mean() < 0.6e-3
