import argparse
import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from data_parts import DyingFolder, RefusingFolder, make_joints, write_layout

from realign.commands import prepare as command
from realign.data.prepare import features
from realign.data.prepare.captions import Caption
from realign.data.prepare.run import prepare
from realign.data.prepare.source import Item, hash_split
from realign.data.store import PackedMotions, set_digest
from realign.errors import InputError
from realign.files import content_digest
from realign.motion.bvh import write_bvh
from realign.motion.features import joints_to_features
from realign.motion.layout import feature_groups, mirror_features
from realign.motion.skeleton import HUMANML3D, KIT


def run(*words):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return command.run(parser.parse_args(["prepare", *map(str, words)]))


def records(folder: Path):
    return [json.loads(line) for line in (folder / "report.jsonl").read_text().splitlines()]


def test_features_and_statistics(layout, prepared):
    packed = PackedMotions.open(prepared)
    joints = np.load(layout / "new_joints" / "000004.npy")
    index = packed.ids(range(len(packed))).index("000004")
    expected = joints_to_features(torch.from_numpy(joints)).numpy()
    assert np.abs(packed.motion(index) - expected).max() < 1e-5
    train = np.concatenate([packed.motion(int(i)) for i in packed.select("train")]).astype(np.float64)
    both = np.concatenate([train, mirror_features(torch.from_numpy(train)).numpy()])  # what training draws from
    assert np.abs(packed.mean - both.mean(0)).max() < 1e-5
    for group in feature_groups().values():
        assert packed.std[group] == pytest.approx(both.std(0)[group].mean(), rel=1e-4) or packed.std[group][0] == 1
    assert packed.meta["statistics"].startswith("computed") and packed.meta["captions"] == "texts"


def test_faulty_clips_are_left_out_one_by_one(tmp_path, capsys):
    names = ["good", "nan", "short", "cut", "wide", "mute", "long", "blank", "M-good", "torn", "legless"]
    names += ["misspelt", "latin"]
    source = write_layout(tmp_path / "s", dict.fromkeys(names, 50))
    joints = source / "new_joints"
    np.save(joints / "long.npy", make_joints(230))
    np.save(joints / "short.npy", make_joints(4))
    np.save(joints / "wide.npy", np.zeros((50, 7, 3), np.float32))
    broken = make_joints(50)
    broken[10, 3] = np.nan
    np.save(joints / "nan.npy", broken)
    (joints / "cut.npy").write_bytes((joints / "good.npy").read_bytes()[:1000])
    (joints / "torn.npy").write_bytes((joints / "good.npy").read_bytes().replace(b"}", b" ", 1))
    legless = make_joints(50)
    legless[0] = legless[0, :1]
    legless[0, 15] += 1
    np.save(joints / "legless.npy", legless)
    (source / "texts" / "misspelt.txt").write_text("walks#w/X#then#0\n")
    (source / "texts" / "latin.txt").write_bytes("walks to the café##0#0\n".encode("latin-1"))
    (source / "texts" / "mute.txt").unlink()
    (source / "texts" / "blank.txt").write_text("\n")
    (source / "train.txt").write_text("\n".join([*names, "ghost"]))
    assert run(source, "-o", tmp_path / "out") == 0
    left_out = [(r["id"], r["reason"]) for r in records(tmp_path / "out") if not r["stored"]]
    assert len(left_out) == 11 and dict(left_out) == {
        "nan": "NaN",
        "short": "too short",
        "cut": "unreadable",
        "wide": "unreadable",
        "torn": "unreadable",
        "legless": "unreadable",
        "misspelt": "unreadable captions",
        "latin": "unreadable captions",
        "mute": "no caption",
        "blank": "no caption",
        "ghost": "no motion file",
    }
    assert [r["id"] for r in records(tmp_path / "out") if r["stored"]] == ["long"]
    packed = PackedMotions.open(tmp_path / "out")
    assert sorted(packed.ids(range(3))) == ["M-good", "good", "long"] and np.isfinite(packed.features).all()
    shown = capsys.readouterr().out
    assert "left out, unreadable: 4 (cut, legless, torn, wide)" in shown and "report.jsonl" in shown


def test_a_set_made_by_several_workers_is_identical(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(features, "GROUP", 3)
    source = write_layout(tmp_path / "s", {f"clip{i:02d}": 50 + i for i in range(14)})
    (source / "new_joints" / "clip03.npy").write_bytes(b"broken")
    (source / "texts" / "clip05.txt").write_text("walks#w/X#then#0\n")
    (source / "texts" / "clip07.txt").unlink()
    for workers in (1, 2):
        assert run(source, "-o", tmp_path / str(workers), "--workers", workers) == 0
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert len(names) == 14 and names == sorted(path.name for path in (tmp_path / "2").iterdir())
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name
    assert run(source, "-o", tmp_path / "1", "--workers", 2) == 0 and "is up to date" in capsys.readouterr().out
    with pytest.raises(InputError, match="--workers 0 is too few"):
        prepare(source, tmp_path / "other", workers=0)


def test_faults_in_a_worker_are_one_sentence(tmp_path):
    layout = write_layout(tmp_path / "s", {"clip0": 50, "clip1": 50})
    groups = [[Item("clip0", tmp_path / "x", (Caption("walks"),))]]
    with pytest.raises(InputError, match="One of 1 worker processes ended before its clips were done.*fewer --workers"):
        list(features._in_workers(DyingFolder(layout, HUMANML3D), groups, 1))
    with pytest.raises(InputError, match="^clip0 is not to be had$"):
        list(features._in_workers(RefusingFolder(layout, HUMANML3D), groups, 1))


def test_features_that_exist_are_used_with_their_mean_and_std(tmp_path):
    source = write_layout(tmp_path / "s", {"a": 50, "Ma": 50, "b": 60})
    (source / "new_joint_vecs").mkdir()
    for seed, name in enumerate(("a", "Ma", "b")):
        features = joints_to_features(torch.from_numpy(make_joints(50, seed + 5))).numpy()
        np.save(source / "new_joint_vecs" / f"{name}.npy", features)
    np.save(source / "Mean.npy", np.full(263, 0.5, np.float32))
    np.save(source / "Std.npy", np.full(263, 2.0, np.float32))
    packed = PackedMotions.open(prepare(source, tmp_path / "out").folder)
    assert (packed.motion(1) == np.load(source / "new_joint_vecs" / "a.npy")).all()
    assert (packed.mean == 0.5).all() and (packed.std == 2).all()
    assert packed.meta["statistics"] == "Mean.npy and Std.npy of the source"
    assert packed.meta["mirrored_included"] is True
    np.save(source / "Std.npy", np.zeros(263, np.float32))
    with pytest.raises(InputError, match="Std above 0"):
        prepare(source, tmp_path / "other")


def test_kit_layout(tmp_path):
    source = write_layout(tmp_path / "s", {"00001": 40, "00002": 30}, KIT)
    packed = PackedMotions.open(prepare(source, tmp_path / "out").folder)
    assert (packed.skeleton, packed.fps, packed.num_features) == ("kit", 12.5, 251)
    with pytest.raises(InputError, match="--skeleton humanml3d, but"):
        prepare(source, tmp_path / "other", skeleton="humanml3d")


def test_rerun_is_up_to_date_until_something_changes(tmp_path, capsys):
    source = write_layout(tmp_path / "s", {"a": 50, "b": 60})
    out = tmp_path / "out"
    prepare(source, out)
    before = (out / "features.npy").stat().st_mtime_ns
    assert prepare(source, out).up_to_date and run(source, "-o", out) == 0
    assert "up to date" in capsys.readouterr().out
    assert (out / "features.npy").stat().st_mtime_ns == before
    (source / "texts" / "a.txt").write_text("someone stands")
    with pytest.raises(InputError, match="--overwrite"):
        prepare(source, out)
    assert not prepare(source, out, overwrite=True).up_to_date
    assert PackedMotions.open(out).captions(0) == ["someone stands"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "s"]


def test_interrupted_run_leaves_nothing(tmp_path):
    source = write_layout(tmp_path / "s", {"a": 50, "b": 60})

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(source, tmp_path / "out", progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_two_runs_at_once_end_with_one_set_and_another_source_is_not_overwritten(tmp_path):
    for name in ("s", "t"):
        write_layout(tmp_path / name, {"a": 50, "b": 60})
    (tmp_path / "t" / "texts" / "a.txt").write_text("another source")

    def meanwhile(source):
        return lambda done, total: prepare(source, tmp_path / "out")

    assert not prepare(tmp_path / "s", tmp_path / "out", progress=meanwhile(tmp_path / "s")).up_to_date
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(InputError, match="made from another source"):
        prepare(tmp_path / "s", tmp_path / "out", progress=meanwhile(tmp_path / "t"))
    assert PackedMotions.open(tmp_path / "out").captions(0) == ["another source"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "s", "t"]


def test_captions_are_written_from_an_index(tmp_path):
    source = write_layout(tmp_path / "s", {"B1": 50, "B2": 60, "C1": 50}, texts=False)
    with pytest.raises(InputError, match="give --captions FILE"):
        prepare(source, tmp_path / "out")
    with open(source / "index.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "source", "content", "style"])
        rows.writerows([["B1", "x", "walk", "happy"], ["C1", "x", "", ""]])
        rows.writerow(["B2", "composed", "walk+wave-left-hand", ""])
    report = prepare(source, tmp_path / "out")
    packed = PackedMotions.open(tmp_path / "out")
    assert packed.caption(0).startswith("a person walks") and len(packed.captions(0)) >= 3
    assert [packed.kind(i) for i in (0, 1)] == ["recorded", "composed"]
    assert report.reasons == {"no caption": 1} and "index.csv" in report.meta["captions"]
    assert [packed.action(i) for i in (0, 1)] == ["walk, happy", "walk+wave-left-hand"]


def test_an_index_names_actions_beside_captions(tmp_path):
    source = write_layout(tmp_path / "s", {"B1": 50, "B2": 101, "C1": 50})
    (source / "texts" / "B2.txt").write_text("whole#w/X#nan#0.0\npart#p/X#1.0#4.0\n")
    plain = PackedMotions.open(prepare(source, tmp_path / "plain").folder)
    assert [plain.action(i) for i in range(len(plain))] == [""] * 4
    (source / "index.csv").write_text("id,source,content,style\nB1,x,walk,happy\nB2,x,run,\nC1,x,,\n")
    with pytest.raises(InputError, match="made from another source"):
        prepare(source, tmp_path / "plain")
    packed = PackedMotions.open(prepare(source, tmp_path / "named").folder)
    named = {packed.id(i): packed.action(i) for i in range(len(packed))}
    assert named == {"B1": "walk, happy", "B2": "run", "B2_1-4": "run", "C1": ""}
    assert packed.captions(0) == plain.captions(0) and packed.identity != plain.identity
    everything = packed.select("all")
    unlabelled = packed.of_kind(everything, "unlabelled")
    assert packed.ids(everything[unlabelled]) == ["C1"] and packed.of_kind(everything, "recorded").all()
    with pytest.raises(InputError, match="does not say which clips are labelled"):
        plain.of_kind(everything, "unlabelled")
    offsets = tmp_path / "named" / "action_offsets.npy"
    np.save(offsets, np.load(offsets)[:-1])
    with pytest.raises(InputError, match="action_offsets.npy does not fit clips.npy"):
        PackedMotions.open(tmp_path / "named")


def test_parts_of_published_text_files(tmp_path):
    source = write_layout(tmp_path / "s", {"a": 101})
    (source / "texts" / "a.txt").write_text("whole#w/X#nan#0.0\npart#p/X#1.0#4.0\n")
    packed = PackedMotions.open(prepare(source, tmp_path / "out").folder)
    assert packed.ids(range(2)) == ["a", "a_1-4"]
    assert (packed.motion(1) == packed.motion(0)[20:80]).all() and packed.captions(1) == ["part"]


@pytest.mark.parametrize("whole", [True, False])
def test_statistics_are_of_the_train_split_alone(tmp_path, whole):
    source = write_layout(tmp_path / "s", {f"{i:03d}": 60 for i in range(12)})
    for path in (source / "texts").iterdir():
        path.write_text("part#p/X#0.5#2.5\n" if path.stem < "004" or not whole else "whole#w/X#0#0\n")
    packed = PackedMotions.open(prepare(source, tmp_path / "out").folder)
    train = np.concatenate([packed.motion(int(i)) for i in packed.select("train")]).astype(np.float64)
    both = np.concatenate([train, mirror_features(torch.from_numpy(train)).numpy()])
    assert packed.meta["counts"]["train"] == 4 and np.abs(packed.mean - both.mean(0)).max() < 1e-5
    report = prepare(source, tmp_path / "test", splits="0/0/100")
    assert "there is no train split" in report.meta["statistics"]


def test_up_to_date_however_the_path_is_written(tmp_path, monkeypatch):
    source = write_layout(tmp_path / "s", {"a": 50, "b": 60})
    monkeypatch.chdir(tmp_path)
    prepare("s", "out")
    assert prepare(source, tmp_path / "out").up_to_date


def test_split_lists_take_names_with_blanks_in_utf8(tmp_path):
    source = write_layout(tmp_path / "s", {"Walking Turn": 50, "b": 60})
    (source / "train.txt").write_text("\ufeffWalking Turn\n\nb \n", encoding="utf-8")
    assert prepare(source, tmp_path / "out").meta["counts"]["train"] == 2
    (source / "train.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(InputError, match="is not UTF-8"):
        prepare(source, tmp_path / "other")


def bvh_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for k, name in enumerate(("one", "two")):
        write_bvh(folder / f"{name}.bvh", make_joints(100, k), HUMANML3D, 20.0)
    return folder


def test_bvh_folder_with_parts(tmp_path):
    source = bvh_folder(tmp_path / "s")
    (source / "torn.bvh").write_text((source / "one.bvh").read_text()[:-300])
    captions = tmp_path / "c.csv"
    captions.write_text(
        "file,caption,start,end,split\none.bvh,whole,,,train\none.bvh,part,1,3.5,test\none.bvh,the part,1,3.5,\n"
        "two.bvh,late,9,10,\ntorn.bvh,torn,,,\nghost.bvh,ghost,,,\n"
    )
    report = prepare(source, tmp_path / "out", captions=captions)
    packed = PackedMotions.open(tmp_path / "out")
    assert packed.ids(range(2)) == ["one", "one_1-3.5"] and packed.captions(1) == ["part", "the part"]
    assert packed.clips["frames"].tolist() == [99, 50] and packed.clips["splits"].tolist() == [1, 4]
    assert {r["id"]: r["reason"] for r in report.left_out} == {
        "torn": "unreadable",
        "two_9-10": "too short",
        "ghost": "no motion file",
    }
    with pytest.raises(InputError, match="give --captions FILE"):
        prepare(source, tmp_path / "out2")


def test_bvh_files_with_one_name_are_distinguished_by_folder(tmp_path):
    for folder in ("a", "b"):
        bvh_folder(tmp_path / "s" / folder)
    (tmp_path / "s" / "a" / "two.bvh").rename(tmp_path / "s" / "a" / "three.bvh")
    captions = tmp_path / "c.csv"
    captions.write_text(
        f"file,caption\n{tmp_path}/s/a/one.bvh,first\n./s/b/one.bvh,second\none.bvh,which\nthree,third\nb/three.bvh,elsewhere\nfour,x\n"
    )
    for copy in ("b/two.BVH", "a/four.bvh", "b/four.bvh"):
        shutil.copy(tmp_path / "s" / "a" / "one.bvh", tmp_path / "s" / copy)
    write_bvh(tmp_path / "s" / "one.bvh", make_joints(60, 7), HUMANML3D, 20.0)
    report = prepare(tmp_path / "s", tmp_path / "out", captions=captions, splits="100/0/0")
    packed = PackedMotions.open(tmp_path / "out")
    assert {packed.ids([i])[0]: packed.captions(i) for i in range(len(packed.clips))} == {
        "a/one": ["first"],
        "b/one": ["second"],
        "one": ["which"],
        "three": ["third"],
    }
    assert (tmp_path / "out" / "train.txt").read_text().split() == ["a/one", "three", "b/one", "one"]
    assert {(r["id"], r["reason"]) for r in report.left_out} == {
        ("b/two", "same name twice"),
        ("four", "name of several files"),
        ("a/four", "no caption"),
        ("b/four", "no caption"),
        ("b/three", "no motion file"),
        ("two", "no caption"),
    }
    with pytest.raises(InputError, match="drop the option"):
        prepare(tmp_path / "s", tmp_path / "other", captions=captions, skeleton="kit")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"captions": "no.csv"}, "does not exist"),
        ({"splits": "80/20"}, "neither a folder"),
        ({"splits": "."}, "holds no train.txt"),
        ({"rig": "rig.yaml"}, "--rig is for other files"),
        ({"skeleton": "smpl"}, "smpl"),
    ],
)
def test_wrong_options(layout, tmp_path, monkeypatch, options, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=says):
        prepare(layout, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_wrong_folders(layout, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        prepare(tmp_path / "no", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no new_joints"):
        prepare(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="is not a prepared set"):
        prepare(layout, layout, overwrite=True)
    assert (layout / "new_joints").is_dir()
    source = write_layout(tmp_path / "s", {"a": 3})
    with pytest.raises(InputError, match=r"No clip of .* can be used \(1 too short"):
        prepare(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fractions_split_by_name():
    splits = [hash_split(f"clip{i}") for i in range(4000)]
    assert [splits.count(bit) / 4000 for bit in (1, 2, 4)] == pytest.approx([0.8, 0.05, 0.15], abs=0.02)
    assert splits[:50] == [hash_split(f"clip{i}") for i in range(50)]


def test_real_motion_capture(shared_data):
    from realign.data.prepare.humanml3d import LayoutFolder

    folder = shared_data / "mocap"
    lists = {name: set((folder / f"{name}.txt").read_text().split()) for name in ("train", "val", "test", "foreign")}
    source = LayoutFolder.open(folder)
    items = source.items()
    for bit, split in ((1, "train"), (2, "val"), (4, "test")):
        assert {item.id for item in items if item.splits & bit} == lists[split]
    assert not lists["foreign"] & {item.id for item in items}  # in no list of a split: never trained on
    assert {item.kind for item in items} == {"recorded", "composed"} and all(map(source.captions, items))


def edit(path, place, byte=b"\x01"):
    """Change one byte and keep size and times."""
    times, content = path.stat(), bytearray(path.read_bytes())
    assert content[place] != byte[0]
    content[place] = byte[0]
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size and path.stat().st_mtime_ns == times.st_mtime_ns


def test_a_copy_of_the_source_is_the_same_source(tmp_path):
    source = write_layout(tmp_path / "s", {"a": 50, "b": 60})
    lists = tmp_path / "lists"
    lists.mkdir()
    (source / "train.txt").rename(lists / "train.txt")
    out = prepare(source, tmp_path / "out", splits=str(lists)).folder
    shutil.copytree(source, tmp_path / "copy", copy_function=shutil.copyfile)  # with times of its own
    shutil.copytree(lists, tmp_path / "same")
    os.utime(source / "new_joints" / "a.npy", (1, 1))
    assert prepare(source, out, splits=str(lists)).up_to_date
    assert prepare(tmp_path / "copy", out, splits=str(tmp_path / "same")).up_to_date
    (tmp_path / "same" / "train.txt").write_text("b\n")
    with pytest.raises(InputError, match="other options; add --overwrite"):
        prepare(source, out, splits=str(tmp_path / "same"))


@pytest.mark.parametrize("name", ["new_joints/a.npy", "texts/a.txt", "train.txt"])
def test_an_edit_that_keeps_size_and_time_is_another_source(tmp_path, name):
    source = write_layout(tmp_path / "s", {"a": 50, "b": 60})
    out = prepare(source, tmp_path / "out").folder
    edit(source / name, -1 if name.endswith("npy") else 0, b"\x01" if name.endswith("npy") else b"b")
    with pytest.raises(InputError, match="another source or other options"):
        prepare(source, out)


def test_a_set_is_identified_by_its_content(tmp_path):
    source = write_layout(tmp_path / "s", {"a": 50, "b": 60})
    out = prepare(source, tmp_path / "out").folder
    identity = PackedMotions.open(out).identity
    shutil.copytree(out, tmp_path / "copy", copy_function=shutil.copyfile)
    assert PackedMotions.open(tmp_path / "copy").identity == identity and prepare(source, tmp_path / "copy").up_to_date
    for file in sorted(path for path in (tmp_path / "copy").glob("*.npy") if path.stat().st_size > 128):
        before = file.read_bytes()
        edit(file, -1)
        assert PackedMotions.open(out).identity == identity != set_digest(tmp_path / "copy", "humanml3d")
        file.write_bytes(before)
    edit(out / "features.npy", -1)
    with pytest.raises(InputError, match="was changed after it was made; add --overwrite"):
        prepare(source, out)
    assert not prepare(source, out, overwrite=True).up_to_date and PackedMotions.open(out).identity == identity


def test_a_set_of_the_first_version_opens_and_is_not_up_to_date(tmp_path):
    source = write_layout(tmp_path / "s", {"a": 50, "b": 60})
    out = prepare(source, tmp_path / "out").folder
    meta = json.loads((out / "meta.json").read_text())
    identity = PackedMotions.open(out).identity
    meta["fingerprint"] = 64 * "a"  # of names, sizes and times
    del meta["content"]
    (out / "meta.json").write_text(json.dumps(meta))
    assert PackedMotions.open(out).identity == identity
    with pytest.raises(InputError, match="did not record its source; add --overwrite"):
        prepare(source, out)
    assert not prepare(source, out, overwrite=True).up_to_date and prepare(source, out).up_to_date


def test_content_is_hashed_alike_in_any_order_and_in_pieces(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    files = []
    for name, size in (("large", 5000), ("small", 10), ("none", 0)):
        (tmp_path / name).write_bytes(rng.bytes(size))
        files.append((name, tmp_path / name))
    monkeypatch.setattr("realign.files._PIECE", 512)
    found = content_digest(files)
    assert content_digest(files[::-1]) == found
    assert content_digest([*files[:2], ("nothing", tmp_path / "none")]) != found, "a name counts"
    edit(tmp_path / "large", 4999)
    assert content_digest(files) != found


def test_files_added_by_operating_systems_are_ignored(tmp_path):
    source = write_layout(tmp_path / "s", dict.fromkeys(["a", "b"], 50))
    for i in range(25):  # more than are looked at to tell the skeleton
        (source / "new_joints" / f"._{i:03d}.npy").write_bytes(b"\0\5\26\7 resource fork")
        (source / "texts" / f"._{i:03d}.txt").write_bytes(b"\0\5\26\7\xff")
    (source / "new_joints" / ".npy").write_bytes(b"")
    report = prepare(source, tmp_path / "p")
    assert PackedMotions.open(report.folder).ids(range(2)) == ["a", "b"] and not report.left_out
    (source / "texts" / "._more.txt").write_text("x")
    assert prepare(source, tmp_path / "p").up_to_date
    folder = tmp_path / "bvh"
    for place in ("walk.bvh", "._walk.bvh", "__MACOSX/walk.bvh", ".trash/walk.bvh", "__MACOSX/._walk.bvh"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        write_bvh(folder / place, make_joints(60))
    (tmp_path / "c.csv").write_text("id,caption\nwalk,a person walks\n")
    report = prepare(folder, tmp_path / "q", captions=tmp_path / "c.csv")
    assert not report.left_out and report.meta["counts"]["motions"] == 1


def test_joints_with_another_unit_or_axis_are_reported_or_converted(tmp_path, capsys):
    names = ["up", "z-up", "cm", "smpl", "poses"]
    source = write_layout(tmp_path / "s", dict.fromkeys(names, 50))
    folder = source / "new_joints"
    joints = make_joints(50)
    turned = np.stack([joints[..., 0], -joints[..., 2], joints[..., 1]], axis=-1)
    np.save(folder / "z-up.npy", turned)
    np.save(folder / "cm.npy", 100 * joints)
    np.save(folder / "smpl.npy", np.concatenate([joints, joints[:, :2] + 9], axis=1))
    poses = 0.5 * np.random.default_rng(0).normal(size=(50, 72)) * np.sin(np.arange(50))[:, None]
    np.save(folder / "poses.npy", poses)
    run(source, "-o", tmp_path / "p")
    told = " ".join(capsys.readouterr().out.split())
    assert "made" in told and "3 motions" in told and "left out, unreadable: 2 (poses, z-up)" in told
    assert "read with a remark: 2 (cm: cm.npy: legs of" in told
    details = {record["id"]: record["detail"] for record in records(tmp_path / "p")}
    assert "give --up=z" in details["z-up"] and "rotations" in details["poses"]
    assert "centimetres" in details["cm"] and "first 22 of its 24" in details["smpl"]
    again = prepare(source, tmp_path / "p")
    assert again.up_to_date and len(again.doubtful) == 2 and len(again.left_out) == 2 and not again.outside
    for name in names:
        np.save(folder / f"{name}.npy", turned)
    report = prepare(source, tmp_path / "q", up="z")
    assert not report.left_out and np.abs(PackedMotions.open(report.folder).motion(0)[:, 3]).min() > 0.3
    with pytest.raises(InputError, match="No clip .* give --up=z"):
        prepare(source, tmp_path / "r")
    with pytest.raises(InputError, match="--fps is for other files"):
        prepare(source, tmp_path / "r", fps=30)
    with pytest.raises(InputError, match="'w' is not an axis"):
        prepare(source, tmp_path / "r", up="w")


def test_normalised_features_are_left_out(tmp_path):
    source = write_layout(tmp_path / "s", dict.fromkeys(["a", "b"], 50))
    (source / "new_joint_vecs").mkdir()
    features = joints_to_features(torch.from_numpy(make_joints(50))).numpy()
    np.save(source / "new_joint_vecs" / "a.npy", features)
    np.save(source / "new_joint_vecs" / "b.npy", (features - features.mean(0)) / (features.std(0) + 1e-3))
    report = prepare(source, tmp_path / "p")
    assert [record["id"] for record in report.left_out] == ["b"] and "Std.npy" in report.left_out[0]["detail"]
    with pytest.raises(InputError, match="--up z is for joints"):
        prepare(source, tmp_path / "q", up="z")


def test_recordings_with_wrong_headers(tmp_path):
    folder = tmp_path / "s"
    write_bvh(folder / "walk.bvh", make_joints(60), fps=4)
    (tmp_path / "c.csv").write_text("id,caption\nwalk,a person walks\n")
    report = prepare(folder, tmp_path / "p", captions=tmp_path / "c.csv")
    assert "4 frames per second" in report.doubtful[0]["detail"] and report.meta["counts"]["frames"] == 295
    report = prepare(folder, tmp_path / "p", captions=tmp_path / "c.csv", fps=20, overwrite=True)
    assert not report.doubtful and report.meta["counts"]["frames"] == 59
    with pytest.raises(InputError, match="--fps must be a positive number"):
        prepare(folder, tmp_path / "q", captions=tmp_path / "c.csv", fps=0)
