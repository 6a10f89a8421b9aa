"""HumanML3D from AMASS: found clips, reports of missing clips, and killed runs."""

import json
import os
import signal
import warnings

import numpy as np
import pytest
from body_parts import made_motion, write_bodies, write_motion, write_repository

from realign.cli import main
from realign.data.prepare import making
from realign.data.prepare.amass import AmassFolder, prepare_amass
from realign.data.prepare.amass_files import Recordings
from realign.data.prepare.humanml3d_repository import Repository
from realign.data.prepare.source import Item
from realign.data.store import PackedMotions
from realign.errors import InputError, InputWarning


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    return write_bodies(tmp_path_factory.mktemp("bodies"))


def run(tmp_path, bodies, *words):
    folders = ["--body-models", bodies, "--humanml3d", tmp_path / "clone"]
    return main([*map(str, ["prepare", "amass", tmp_path / "amass", *folders, "-o", tmp_path / "out", *words])])


def records(folder, stored):
    lines = (folder / "report.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["stored"] == stored]


def loaded(source, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        return source.load(Item(name, source.paths[name]))


BAD = {
    "nan": made_motion() | {"poses": np.full((300, 156), np.nan)},
    "slow": made_motion(fps=15.0),
    "few": made_motion() | {"betas": np.zeros(8)},
    "coded": made_motion() | {"gender": np.array({"a": 1}, dtype=object)},
    "shapeless": {"betas": np.zeros(16), "gender": np.array("male")},
    "wide": made_motion(width=99),
    "short": made_motion() | {"trans": np.zeros((299, 3))},
    "rate": made_motion() | {"mocap_framerate": np.array(np.nan)},
    "man": made_motion() | {"gender": np.array("male")},
    "moving": made_motion() | {"betas": np.zeros((300, 16))},
}
TOLD = {
    "nan": ("NaN", "50 frames"),
    "slow": ("frame rate below 20", "int(15 / 20) is not a step; use --resample"),
    "few": ("unreadable", "its shape has 8 betas, but the body model takes 10"),
    "coded": ("unreadable", "its field 'gender' is pickled code, which is not executed"),
    "shapeless": ("unreadable", "has no trans, mocap_framerate; files such as shape.npz are not motions"),
    "wide": ("unreadable", "poses of shape (300, 99)"),
    "short": ("unreadable", "with trans (299, 3)"),
    "rate": ("unreadable", "must be a positive number from 0.01 to 1000, not nan"),
    "man": ("no body model", "holds no male SMPL+H model, only female SMPL+H; add it from"),
    "moving": ("unreadable", "betas of shape (300, 16); give one shape"),
    "cut": ("unreadable", "is cut off or not an .npz archive"),
    "torn": ("unreadable", "is damaged"),
    "absent": ("no motion file", "KIT/1/absent_poses.npz is not in"),
    "newer": ("file of SMPL-X", "give the 'SMPL+H G' download (_poses.npz), or SMPL-X models"),
    "hdm": ("AMASS subset missing: HDM05 (folder MPI_HDM05); unpack HDM05.tar.bz2", "MPI_HDM05/bk/a_poses.npz"),
    "act": ("HumanAct12 missing: pose_data/humanact12.zip of the repository", "humanact12/humanact12/P1.npy"),
}


def test_clips_left_out_are_reported_and_the_others_are_stored(tmp_path, capsys):
    good = made_motion()
    rows = [(f"KIT/1/{name}_poses.npy", 0, 50, name) for name in (*BAD, "good", "cut", "torn", "absent", "newer")]
    rows += [("MPI_HDM05/bk/a_poses.npy", 0, 9, "hdm"), ("humanact12/humanact12/P1.npy", 0, -1, "act")]
    clone = write_repository(tmp_path / "clone", rows)
    with open(clone / "index.csv", "a") as index:
        index.write("./pose_data/KIT/1/good_poses.npy,0,x,word.npy\n./pose_data/KIT/../../a.npy,0,9,up.npy\n")
        index.write("./pose_data/KIT/1/good_poses.npy,0,9,good.npy\n")
    for name, motion in (BAD | {"good": good}).items():
        write_motion(tmp_path / "amass" / "KIT" / "1" / f"{name}_poses.npz", motion)
    folder = tmp_path / "amass" / "KIT" / "1"
    whole = (folder / "good_poses.npz").read_bytes()
    (folder / "cut_poses.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "torn_poses.npz").write_bytes(whole[:90000] + bytes(100) + whole[90100:])
    write_motion(folder / "newer_stageii.npz", made_motion(width=165))
    (tmp_path / "amass" / "HDM05.tar.bz2").write_bytes(b"")
    bodies = write_bodies(tmp_path / "women", genders=("female",))
    assert run(tmp_path, bodies) == 0
    left_out = {record["id"]: record for record in records(tmp_path / "out", False)}
    for name, (reason, detail) in TOLD.items():
        for each in (name, f"M{name}"):
            assert left_out[each]["reason"] == reason and detail in left_out[each]["detail"], left_out[each]
            assert "\n" not in left_out[each]["detail"]
    assert {name: left_out[name]["reason"] for name in ("word", "up", "good")} == {
        "word": "unreadable index row",
        "up": "unreadable index row",
        "good": "same name twice",
    }
    assert len(left_out) == 2 * len(TOLD) + 3
    packed = PackedMotions.open(tmp_path / "out")
    assert sorted(packed.ids(range(len(packed)))) == ["Mgood", "good"] and len(packed.motion(0)) == 49
    shown = capsys.readouterr().out
    assert "left out, AMASS subset missing: HDM05 (folder MPI_HDM05); unpack HDM05.tar.bz2: 2 (hdm, Mhdm)" in shown
    assert "method: joints of SMPL+H bodies, of SMPL+H with 10 betas" in shown


def test_odd_recordings_are_taken_as_published_and_named(tmp_path, bodies, capsys):
    odd = {
        "fast": made_motion(fps=250.0),
        "film": made_motion(fps=59.9),
        "bytes": made_motion() | {"gender": np.array(b"male")},
        "neutral": made_motion() | {"gender": np.array("neutral")},
        "late": made_motion() | {"mocap_frame_rate": np.array(120.0)},
    }
    del odd["late"]["mocap_framerate"]
    write_repository(tmp_path / "clone", [(f"KIT/1/{name}_poses.npy", 0, 500, name) for name in odd], packed=False)
    for name, motion in odd.items():
        write_motion(tmp_path / "amass" / "KIT" / "1" / f"{name}_poses.npz", motion)
    assert run(tmp_path, bodies) == 0
    packed = PackedMotions.open(tmp_path / "out")
    lengths = {packed.id(i): len(packed.motion(i)) for i in range(len(packed)) if not packed.id(i).startswith("M")}
    assert lengths == {"bytes": 49, "fast": 24, "film": 149, "late": 49, "neutral": 49}
    told = {(record["id"], record["detail"]) for record in records(tmp_path / "out", True)}
    for name, remark in {
        "fast": "250 frames per second: one frame in 12 is taken, 20.83 per second, and treated as 20 per second",
        "film": "59.9 frames per second: one frame in 2 is taken, 29.95 per second, and treated as 20 per second",
        "bytes": "gender the bytes 'male' uses the female body, as published",
        "neutral": "gender 'neutral' uses the female body, as published",
        "late": "the index ends past the recording, which shortens the clip",
    }.items():
        assert any(each == name and detail.startswith(remark) for each, detail in told), name
    assert "the index ends past the recording, which shortens the clip: 10 clips" in capsys.readouterr().out


def test_statistics_are_compared_with_those_of_the_repository(tmp_path, bodies):
    clone = write_repository(tmp_path / "clone", [("KIT/1/a_poses.npy", 0, 50, "a")])
    write_motion(tmp_path / "amass" / "KIT" / "1" / "a_poses.npz", made_motion())
    source = tmp_path / "amass"
    first = PackedMotions.open(prepare_amass(source, tmp_path / "out", body_models=bodies, humanml3d=clone).folder)
    assert first.meta["statistics"] == "computed over all clips, as published"
    np.save(clone / "HumanML3D" / "Mean.npy", first.mean + np.float32(0.25))
    np.save(clone / "HumanML3D" / "Std.npy", first.std / np.float32(1.5))
    again = prepare_amass(source, tmp_path / "out", body_models=bodies, humanml3d=clone, overwrite=True)
    assert again.meta["statistics"].endswith("from those of HumanML3D by at most 0.25 (Mean) and 50.00% (Std)")


def test_resampled_clips_have_true_rates_and_the_published_duration(tmp_path, bodies):
    rows = [(f"KIT/1/{rate}_poses.npy", 3, 40, rate) for rate in ("120", "59.94", "15")]
    clone = write_repository(tmp_path / "clone", rows)
    for rate in ("120", "59.94", "15"):
        motion = made_motion(400, float(rate)) | {"poses": np.zeros((400, 156))}
        write_motion(tmp_path / "amass" / "KIT" / "1" / f"{rate}_poses.npz", motion)
    plain = AmassFolder.open(tmp_path / "amass", bodies, clone)
    true = AmassFolder.open(tmp_path / "amass", bodies, clone, resampled=True)
    assert np.abs(loaded(plain, "120") - loaded(true, "120")).max() < 1e-6
    for rate, step in (("59.94", 2), ("15", 1)):
        joints, fps = loaded(true, rate), float(rate)
        seconds = step * np.arange(3, 40) / fps
        assert len(joints) == int((seconds[-1] - seconds[0]) * 20 + 1e-6) + 1
        x = joints[:, 0, 0] - joints[0, 0, 0]  # walks 0.3 m a second, which the turn of axes negates
        assert np.abs(x + 0.3 * np.arange(len(joints)) / 20).max() < 1e-5
        assert joints[0, 0, 0] == pytest.approx(-0.3 * seconds[0], abs=0.2)
    text = "someone turns#turn/VERB#0.5#1.5\n"
    (clone / "HumanML3D" / "texts.zip").unlink()
    (clone / "HumanML3D" / "texts").mkdir()
    (clone / "HumanML3D" / "texts" / "59.94.txt").write_text(text)
    true = AmassFolder.open(tmp_path / "amass", bodies, clone, resampled=True)
    (caption,) = true.captions(Item("59.94", true.paths["59.94"]))
    assert (caption.start, caption.end) == pytest.approx((10 * 2 / 59.94, 30 * 2 / 59.94))  # of frames 10 and 30


def test_poses_in_parts_equal_poses_in_one_array(tmp_path, bodies):
    whole = made_motion()
    parts = {"root_orient": slice(0, 3), "pose_body": slice(3, 66), "pose_hand": slice(66, 156)}
    apart = {name: whole["poses"][:, columns] for name, columns in parts.items()}
    write_motion(tmp_path / "amass" / "KIT" / "a_poses.npz", whole)
    write_motion(tmp_path / "amass" / "KIT" / "b_poses.npz", {k: v for k, v in whole.items() if k != "poses"} | apart)
    clone = write_repository(tmp_path / "clone", [(f"KIT/{name}_poses.npy", 0, 50, name) for name in "ab"])
    source = AmassFolder.open(tmp_path / "amass", bodies, clone)
    assert np.array_equal(loaded(source, "a"), loaded(source, "b"))


def test_files_of_smplx_are_read_with_their_models(tmp_path):
    motion = made_motion(width=165) | {"gender": np.array("neutral")}
    write_motion(tmp_path / "amass" / "BMLrub" / "rub001" / "a_walk_stageii.npz", motion)
    clone = write_repository(tmp_path / "clone", [("BioMotionLab_NTroje/rub001/a walk_poses.npy", 0, 50, "a")])
    bodies = write_bodies(tmp_path / "bodies", ("smplx",), ("neutral",))
    report = prepare_amass(tmp_path / "amass", tmp_path / "out", body_models=bodies, humanml3d=clone)
    assert report.meta["counts"]["motions"] == 2
    assert {record["detail"].partition(":")[0] for record in report.doubtful} == {"SMPL-X"}


def test_recordings_are_found_under_the_names_of_the_site_and_of_older_releases(tmp_path):
    for path in ("HDM05/bk/a_poses.npz", "amass/dfaust/50002/b_poses.npz", "SSM_synced/SSM_synced/1/c d_poses.npz"):
        write_motion(tmp_path / path, {})
    write_motion(tmp_path / "CMU" / "CMU" / "01" / "01_01_poses.npz", {})
    found = Recordings(tmp_path)
    for source in ("MPI_HDM05/bk/a", "DFaust_67/50002/b", "SSM_synced/1/c d", "CMU/01/01_01"):
        assert found.find(f"{source}_poses.npy") is not None, source
    assert found.find("CMU/01/01_02_poses.npy") is None and found.find("KIT/1/a_poses.npy") is None
    assert Recordings(tmp_path / "CMU").find("CMU/01/01_01_poses.npy") is not None  # one subset given alone


def test_missing_downloads_are_one_sentence(tmp_path, bodies, capsys):
    rows = [("KIT/1/a_poses.npy", 0, 50, "a")]
    clone = write_repository(tmp_path / "clone", rows)
    (tmp_path / "amass").mkdir()
    assert run(tmp_path, bodies) == 2
    assert (
        "holds none of the 1 recordings that the index names (KIT, ...); unpack the downloads"
        in capsys.readouterr().err
    )
    (tmp_path / "amass" / "KIT.tar.bz2").write_bytes(b"")
    assert run(tmp_path, bodies) == 2 and "unpack KIT.tar.bz2 there" in capsys.readouterr().err
    write_motion(tmp_path / "amass" / "KIT" / "1" / "a_stageii.npz", made_motion(width=165))
    assert run(tmp_path, bodies) == 2 and "2 file of SMPL-X; a: a_stageii.npz: give the" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    for name, told in (
        ("HumanML3D/texts.zip", "holds neither HumanML3D/texts nor HumanML3D/texts.zip"),
        ("index.csv", "holds no index.csv; clone https://github.com/EricGuo5513/HumanML3D"),
    ):
        (clone / name).unlink()
        with pytest.raises(InputError, match=told):
            Repository.open(clone)
    (clone / "index.csv").write_text("a,b\n1,2\n")
    (clone / "HumanML3D" / "texts.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match="texts.zip is cut off or not a zip archive"):
        Repository.open(clone)
    (clone / "texts").mkdir()
    (clone / "texts" / "a.txt").write_text("walks")
    (clone / "HumanML3D" / "texts.zip").unlink()
    with pytest.raises(InputError, match="not with names of columns; it needs source_path, start_frame"):
        Repository.open(clone).cuts()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["amass", "A"], "prepare amass needs the models of SMPL+H; give its folder with --body-models"),
        (["amass", "A", "--body-models", "B"], "give its folder with --humanml3d"),
        (["amass", "A", "--rig", "r.yaml"], "--rig is for a folder in a form that is recognised; drop the option"),
        (["A", "--resample"], "--resample is for `realign prepare amass FOLDER`; drop the option"),
        (["A", "B"], "names 2 sources; give one folder, or one of amass, cmu, bandai and a folder"),
        (["A", "--humanml3d", "B"], "--humanml3d is for `realign prepare amass or cmu FOLDER`; drop the option"),
        (["cmu", "A", "--resample"], "--resample is for `realign prepare amass FOLDER`; drop the option"),
        (["amass"], "There is no folder of motions at amass"),
    ],
)
def test_options_belong_to_a_kind_of_source(words, told, capsys):
    assert main(["prepare", *words, "-o", "out"]) == 2 and told in capsys.readouterr().err


def test_a_killed_run_is_continued(tmp_path, bodies, monkeypatch):
    rows = [(f"KIT/1/{i % 3}_poses.npy", i % 20, i % 20 + 20, f"{i:06d}") for i in range(80)]
    clone = write_repository(tmp_path / "clone", [*rows, ("KIT/1/0_poses.npy", 4, 6, "two")])
    for i in range(3):
        write_motion(tmp_path / "amass" / "KIT" / "1" / f"{i}_poses.npz", made_motion(seed=i) | {"betas": np.zeros(16)})
    monkeypatch.setattr(making, "_INTERVAL", 0.0)

    def work(out, **options):
        return prepare_amass(tmp_path / "amass", tmp_path / out, body_models=bodies, humanml3d=clone, **options)

    def die(done, total):
        if done == 128:
            os.kill(os.getpid(), signal.SIGKILL)

    expected = work("whole").folder
    child = os.fork()
    if child == 0:
        work("out", progress=die)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL and not (tmp_path / "out").exists()
    (kept,) = tmp_path.glob(".realign-*/kept-*/work")
    with open(kept / "captions.npy", "ab") as file:
        file.write(b"torn")  # after the last note of how far it was
    seen, load = [], AmassFolder.load
    monkeypatch.setattr(AmassFolder, "load", lambda self, item: seen.append(item) or load(self, item))
    report = work("out")
    assert len(seen) == 162 - 64 and len(report.left_out) == 2
    for path in expected.iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes(), path.name
    assert len(list((tmp_path / "out").iterdir())) == len(list(expected.iterdir()))
    assert not list(tmp_path.glob(".realign-*"))
