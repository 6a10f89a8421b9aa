"""Every stage from AMASS to HumanML3D against values of HumanML3D's program, and the complete command."""

import csv
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from realign.cli import main
from realign.data.prepare.amass import AmassFolder
from realign.data.prepare.humanml3d_cuts import Cut, stride_of
from realign.data.prepare.humanml3d_repository import Repository
from realign.data.prepare.source import Item
from realign.data.store import PackedMotions
from realign.motion.amass import BodyMotion
from realign.motion.body_files import BodyModels
from realign.motion.body_joints import motion_joints
from realign.motion.features import features_to_joints, joints_to_features
from realign.motion.layout import feature_groups
from realign.motion.skeleton import HUMANML3D

pytestmark = pytest.mark.filterwarnings("ignore::realign.errors.InputWarning")  # for clips with peculiarities
JOINTS = 2e-6
FEATURES = {"rotations": 1e-4, "contacts": 0.0}  # 1e-5 for all others


@pytest.fixture(scope="module")
def rows(amass_dir: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((amass_dir / "index_synthetic.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def repository(amass_dir: Path, rows, tmp_path_factory) -> Path:
    """The index and HumanAct12 clips, with texts and lists, in archives as cloned."""
    root = tmp_path_factory.mktemp("clone") / "HumanML3D"
    (root / "HumanML3D").mkdir(parents=True)
    shutil.copyfile(amass_dir / "index_synthetic.csv", root / "index.csv")
    (root / "pose_data").mkdir()
    with zipfile.ZipFile(root / "pose_data" / "humanact12.zip", "w") as archive:
        for path in sorted((amass_dir / "pose_data").rglob("*.npy")):
            archive.write(path, path.relative_to(amass_dir / "pose_data"))
    names = [f"{side}{row['new_name'].removesuffix('.npy')}" for row in rows for side in ("", "M")]
    with zipfile.ZipFile(root / "HumanML3D" / "texts.zip", "w") as archive:
        for name in [names[1], *names[::2]]:  # mirrored captions of the first clip only
            archive.writestr(f"texts/{name}.txt", f"{name} turns left#turn/VERB left/ADV#0.0#0.0\n")
    (root / "HumanML3D" / "train.txt").write_text("".join(f"{name}\n" for name in names))
    return root


@pytest.fixture(scope="module")
def source(amass_dir: Path, repository: Path) -> AmassFolder:
    return AmassFolder.open(amass_dir / "amass_data", amass_dir / "body_models", repository)


@pytest.fixture(scope="module")
def prepared(amass_dir: Path, repository: Path, tmp_path_factory) -> PackedMotions:
    out = tmp_path_factory.mktemp("set") / "out"
    words = ["prepare", "amass", amass_dir / "amass_data", "--body-models", amass_dir / "body_models"]
    assert main([*map(str, words), "--humanml3d", str(repository), "-o", str(out)]) == 0
    return PackedMotions.open(out)


def features_of(source: AmassFolder, name: str) -> np.ndarray:
    joints = torch.from_numpy(source.load(Item(name, source.paths[name])))
    return source.finish(joints_to_features(joints).numpy())[0]


def check_features(found: np.ndarray, expected: np.ndarray, name: str) -> None:
    assert found.shape == expected.shape
    for group, columns in feature_groups().items():
        far = np.abs(found[:, columns] - expected[:, columns]).max()
        assert far <= FEATURES.get(group, 1e-5), f"{name}: {group} {far}"


def test_joints_of_every_recording(amass_dir):
    golden, models = np.load(amass_dir / "golden_joints.npz"), BodyModels.open(amass_dir / "body_models")
    names = [name for name in golden.files if name.startswith("Jtr/")]
    for name in names:
        motion = BodyMotion.read(amass_dir / "amass_data" / name.removeprefix("Jtr/"))
        joints = motion_joints(motion, models, stride_of(motion.fps), 52)
        assert joints.shape == golden[name].shape and np.abs(joints - golden[name]).max() < JOINTS, name
        stage_3 = name.replace("Jtr/", "pose_data/").replace(".npz", ".npy")
        if stage_3 in golden.files:
            assert np.abs(joints[..., [0, 2, 1]] - golden[stage_3]).max() < JOINTS
    assert names


def test_cut_and_mirrored_joints(amass_dir, source, repository):
    golden, checked = np.load(amass_dir / "golden_joints.npz"), 0
    for name, cut in source.cuts.items():
        if f"joints/{name}" not in golden.files:
            continue
        if cut.whole:
            joints = np.load(amass_dir / "pose_data" / cut.source)
        else:
            motion = BodyMotion.read(source.paths[name])
            joints = motion_joints(motion, source.models, stride_of(motion.fps), 52)
        expected, clip = golden[f"joints/{name}"], cut.apply(joints)
        assert clip.shape == expected.shape, name
        assert np.array_equal(np.isnan(clip), np.isnan(expected))
        assert not clip.size or np.nanmax(np.abs(clip - expected)) < JOINTS, name
        assert np.array_equal(source.load(Item(name, source.paths[name])), clip[:, :22].astype(np.float32), True)
        checked += 1
    assert checked == sum(name.startswith("joints/") for name in golden.files)


def test_features_of_every_clip(amass_dir, source):
    golden = np.load(amass_dir / "golden_features.npz")
    names = [name.removeprefix("vecs/") for name in golden.files if name.startswith("vecs/")]
    for name in names:
        if np.isnan(golden[f"vecs/{name}"]).any():
            continue
        found = features_of(source, name)
        check_features(found, golden[f"vecs/{name}"], name)
        recovered = features_to_joints(torch.from_numpy(found)).numpy()
        assert np.abs(recovered - golden[f"new_joints/{name}"].reshape(recovered.shape)).max() < 3e-5, name
    assert names
    lengths = np.linalg.norm(golden["tgt_offsets"], axis=-1)
    assert np.abs(lengths - np.linalg.norm(HUMANML3D.rest_offsets, axis=-1)).max() < 1e-6


def test_the_command_makes_the_published_set(amass_dir, source, prepared):
    golden = np.load(amass_dir / "golden_features.npz")
    published = {name.removeprefix("vecs/"): golden[name] for name in golden.files if name.startswith("vecs/")}
    stored = {prepared.id(i): prepared.motion(i) for i in range(len(prepared))}
    usable = {name for name, features in published.items() if len(features) >= 4 and not np.isnan(features).any()}
    assert set(stored) == usable
    for name, features in stored.items():
        check_features(features, published[name], name)
    for name, found in (("Mean", prepared.mean), ("Std", prepared.std)):
        assert np.abs(found - golden[name]).max() < 1e-5
    records = map(json.loads, (prepared.folder / "report.jsonl").read_text().splitlines())
    left_out = {record["id"]: record["reason"] for record in records if not record["stored"]}
    with_nan = {name for name, features in published.items() if np.isnan(features).any()}
    assert left_out == {name: "NaN" if name in with_nan else "too short" for name in set(source.cuts) - usable}


def test_mirrored_captions_come_from_the_originals(prepared, rows):
    for i in range(len(prepared)):
        name = prepared.id(i)
        own = not name.startswith("M") or name == f"M{rows[0]['new_name'].removesuffix('.npy')}"
        side = "left" if own else "right"
        assert prepared.captions(i) == [f"{name.removeprefix('M') if not own else name} turns {side}"]
        assert prepared.tokens(i) == f"turn/VERB {side}/ADV"


def test_smplx_and_smpl_files(amass_dir):
    golden, models = np.load(amass_dir / "golden_variants.npz"), BodyModels.open(amass_dir / "body_models")
    for kind, count in (("smplx", 55), ("smpl", 24)):
        path = next((amass_dir / f"amass_{kind}").rglob("*.npz"))
        motion = BodyMotion.read(path)
        assert motion.kind == kind
        assert np.abs(motion_joints(motion, models, 1, count) - golden[f"{kind}_Jtr"]).max() < JOINTS
        clip = Cut("", 0, len(motion.poses)).apply(motion_joints(motion, models, stride_of(motion.fps)))
        assert np.abs(clip - golden[f"{kind}_joints22_humanml"]).max() < JOINTS
        if kind == "smplx":
            model = models.get(kind, motion.gender)
            few = model.joints(motion.poses, motion.betas[:10], motion.trans, 22)
            assert np.abs(few - golden["smplx_Jtr_betas10"]).max() < JOINTS


def test_every_row_of_the_official_index_is_read(amass_dir, repository, tmp_path):
    clone = shutil.copytree(repository, tmp_path / "clone")
    (clone / "index.csv").unlink()
    shutil.copyfile(amass_dir / "index.csv.gz", clone / "index.csv.gz")
    cuts, problems = Repository.open(clone).cuts()
    assert len(cuts) == 14616 and not problems and sum(cut.whole for cut in cuts.values()) == 1191
    assert cuts["000000"] == Cut("KIT/3/kick_high_left02_poses.npy", 0, 117)
    assert len({cut.source.partition("/")[0] for cut in cuts.values()}) == 18
