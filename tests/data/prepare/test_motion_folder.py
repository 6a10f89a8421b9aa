"""Folders of files of motions of several kinds, with captions beside or in them."""

import json

import numpy as np
import pytest
from body_parts import made_motion, write_bodies, write_motion
from data_parts import make_joints
from made import KIT_SCALED, person

from realign.cli import main
from realign.data.prepare.run import prepare
from realign.data.store import PackedMotions
from realign.errors import InputError
from realign.motion import HUMANML3D, KIT, MotionClip
from realign.motion.bvh import write_bvh


def save_results(path, motions: list[np.ndarray], texts: list[str]) -> None:
    """As MDM writes its results.npy."""
    longest = max(map(len, motions))
    batch = np.stack([np.pad(m, ((0, longest - len(m)), (0, 0), (0, 0)), "edge") for m in motions])
    content = {"motion": batch.transpose(0, 2, 3, 1), "text": texts, "lengths": np.array([len(m) for m in motions])}
    np.save(path, content, allow_pickle=True)


def captions_of(folder) -> dict[str, list[str]]:
    packed = PackedMotions.open(folder)
    return {packed.ids([i])[0]: packed.captions(i) for i in range(len(packed.clips))}


def test_what_renders_prepares(tmp_path):
    source = tmp_path / "s"
    (source / "deep").mkdir(parents=True)
    bodies = write_bodies(tmp_path / "bodies")
    write_bvh(source / "rig.bvh", make_joints(60, 1), HUMANML3D, 20.0)
    joints = make_joints(60, 2)
    MotionClip(make_joints(50, 5), 20.0, "in the file").save(source / "figure.glb")
    (source / "noskin.glb").write_bytes((source / "figure.glb").read_bytes().replace(b'"skins"', b'"sk1ns"'))
    np.save(source / "plain.npy", joints)
    np.save(source / "flat.npy", joints.reshape(60, -1))
    np.save(source / "smpl.npy", np.concatenate([joints, joints[:, :2]], axis=1))
    np.save(source / "smplh.npy", np.concatenate([joints, joints[:, :22], joints[:, :8]], axis=1))
    save_results(source / "results.npy", [joints, make_joints(40, 4)], ["a person walks", "a person turns"])
    write_motion(source / "deep" / "amass.npz", made_motion(181, 60.0))
    np.save(source / "odd.npy", joints[:, :20])
    np.save(source / "kit.npy", person(3, 40, KIT_SCALED).numpy())
    (source / "cut.npz").write_bytes((source / "deep" / "amass.npz").read_bytes()[:900])
    write_motion(source / "pickled.npz", made_motion(30) | {"poses": np.array([{}], dtype=object)})
    names = ["plain.npy", "flat", "smpl", "smplh", "results_0", "results_1", "odd", "kit", "cut.npz", "pickled"]
    names += ["rig.bvh", "deep/amass.npz", "figure.glb", "noskin.glb"]
    (tmp_path / "c.csv").write_text("file,caption\n" + "".join(f"{name},does it\n" for name in names))
    out = tmp_path / "out"
    command = ["prepare", str(source), "-o", str(out), "--captions", f"{tmp_path}/c.csv", "--splits", "100/0/0"]
    assert main([*command, "--body-models", str(bodies)]) == 0
    stored = {"rig", "plain", "flat", "smpl", "smplh", "results_0", "results_1", "amass", "figure"}
    assert set(captions_of(out)) == stored
    packed = PackedMotions.open(out)
    frames = dict(zip(packed.ids(range(9)), packed.clips["frames"].tolist(), strict=True))
    assert (frames["plain"], frames["results_1"], frames["amass"], frames["figure"]) == (59, 39, 60, 49)
    records = [json.loads(line) for line in (out / "report.jsonl").read_text().splitlines()]
    left = {each["id"]: (each["reason"], each["detail"]) for each in records if not each["stored"]}
    assert {name: reason for name, (reason, _) in left.items()} == {
        "odd": "unreadable", "kit": "another skeleton", "cut": "unreadable", "pickled": "unreadable",
        "noskin": "unreadable",
    }  # fmt: skip
    assert "has no skin" in left["noskin"][1] and "24, 45, 52" in left["odd"][1]
    assert "cut off" in left["cut"][1] and "not executed" in left["pickled"][1]


def test_captions_in_the_files_and_beside_them(tmp_path):
    source = tmp_path / "s"
    source.mkdir()
    save_results(source / "results.npy", [make_joints(50, 1), make_joints(40, 2)], ["a person walks", "one turns"])
    np.save(source / "other.npy", make_joints(50, 3))
    report = prepare(source, tmp_path / "own", splits="100/0/0")
    assert captions_of(tmp_path / "own") == {"results_0": ["a person walks"], "results_1": ["one turns"]}
    assert {each["id"]: each["reason"] for each in report.left_out} == {"other": "no caption"}
    (source / "texts").mkdir()
    (source / "texts" / "other.txt").write_text("jumps#jumps/VERB#0.0#0.0\nthe start#start/NOUN#0.0#1.5\n")
    (source / "texts" / "results_1.txt").write_text("turns#turns/VERB#one#0.0\n")
    report = prepare(source, tmp_path / "texts", splits="100/0/0", workers=2)
    assert captions_of(tmp_path / "texts")["other"] == ["jumps"]
    assert {each["id"]: each["reason"] for each in report.left_out} == {
        "results_0": "no caption", "results_1": "unreadable captions",
    }  # fmt: skip


def test_units_rates_and_axes_of_arrays(tmp_path):
    for name in ("plain", "odd"):
        (tmp_path / name).mkdir()
    joints = make_joints(61, 1)
    np.save(tmp_path / "plain" / "x.npy", joints[::3])
    turned = np.stack([joints[..., 0], -joints[..., 2], joints[..., 1]], axis=-1)  # Z up
    np.save(tmp_path / "odd" / "x.npy", turned * 100)
    (tmp_path / "c.csv").write_text("file,caption\nx,walks\n")
    options = {"captions": tmp_path / "c.csv", "splits": "100/0/0"}
    prepare(tmp_path / "plain", tmp_path / "a", **options)
    prepare(tmp_path / "odd", tmp_path / "b", up="z", units="cm", fps=60, **options)
    a, b = (PackedMotions.open(tmp_path / name).features for name in "ab")
    assert a.shape == b.shape and np.abs(np.asarray(a) - np.asarray(b)).max() < 1e-3
    with pytest.raises(InputError, match="is not a unit of joints"):
        prepare(tmp_path / "odd", tmp_path / "c", units="ells", **options)
    with pytest.raises(InputError, match="made from another source or other options"):
        prepare(tmp_path / "odd", tmp_path / "b", up="z", units="mm", fps=60, **options)


def test_a_folder_of_kit_joints_is_of_its_skeleton(tmp_path):
    (tmp_path / "s").mkdir()
    for name in "ab":
        np.save(tmp_path / "s" / f"{name}.npy", person(3, 40, KIT_SCALED).numpy() * 2 / KIT.metres / 400)
    (tmp_path / "c.csv").write_text("file,caption\na,walks\nb,runs\n")
    report = prepare(tmp_path / "s", tmp_path / "out", captions=tmp_path / "c.csv", splits="100/0/0")
    assert report.meta["skeleton"] == "kit"


def test_bodies_that_are_missing(tmp_path):
    write_motion(tmp_path / "s" / "a.npz", made_motion(60))
    (tmp_path / "c.csv").write_text("file,caption\na,walks\n")
    with pytest.raises(InputError, match="--body-models"):
        prepare(tmp_path / "s", tmp_path / "out", captions=tmp_path / "c.csv")
    (tmp_path / "rig.yaml").write_text("joints: [\n")
    with pytest.raises(InputError, match="rig.yaml"):
        prepare(tmp_path / "s", tmp_path / "out", captions=tmp_path / "c.csv", rig=tmp_path / "rig.yaml")
