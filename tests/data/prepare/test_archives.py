"""Motions in Parquet files and tar archives are prepared as motions in files are."""

import io
import json
import pickle
import tarfile
import tracemalloc

import numpy as np
import pytest
from body_parts import made_motion, write_bodies, write_motion
from data_parts import make_joints
from test_caption_sources import write_tar

from realign.cli import main
from realign.data.prepare.archives import Archives, read_contents
from realign.data.prepare.run import open_source, prepare
from realign.data.store import PackedMotions
from realign.errors import InputError
from realign.motion import HUMANML3D, MotionClip
from realign.motion.bvh import write_bvh


def npy(array: np.ndarray, pickled: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=pickled)
    return file.getvalue()


def clips(folder) -> dict[str, tuple[list[str], np.ndarray]]:
    packed = PackedMotions.open(folder)
    return {packed.id(i): (packed.captions(i), np.array(packed.motion(i))) for i in range(len(packed))}


def left_out(report) -> dict[str, tuple[str, str]]:
    return {record["id"]: (record["reason"], record["detail"]) for record in report.left_out}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Motions as files of every kind, by name, and the set prepared of them."""
    tmp_path = tmp_path_factory.mktemp("made")
    plain = tmp_path / "plain"
    plain.mkdir()
    np.save(plain / "a.npy", make_joints(60, 1))
    write_bvh(plain / "b.bvh", make_joints(50, 2), HUMANML3D, 20.0)
    MotionClip(make_joints(40, 3), 20.0, "turns").save(plain / "c.glb")
    write_motion(plain / "d.npz", made_motion(90, 60.0))
    bodies = write_bodies(tmp_path / "bodies")
    (tmp_path / "c.csv").write_text("file,caption\na,walks\nb,runs\nc,turns\nd,jumps\n")
    options = {"splits": "100/0/0", "body_models": bodies}
    prepare(plain, tmp_path / "from_files", captions=tmp_path / "c.csv", **options)
    return {path.name: path.read_bytes() for path in sorted(plain.iterdir())}, clips(tmp_path / "from_files"), options


def same(found, wanted) -> None:
    assert found.keys() == wanted.keys()
    for name, (captions, features) in wanted.items():
        assert found[name][0] == captions and np.array_equal(found[name][1], features), name


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_an_archive_is_read_as_its_files(made, tmp_path, mode):
    files, wanted, options = made
    members = {"a.txt": b"walks", "b.json": json.dumps({"caption": "runs"}).encode(), "d.txt": b"jumps#jumps/VERB#0#0"}
    source = write_tar(tmp_path / "s" / "train-000.tar", files | members | {"c.txt": b"turns"}, mode).parent
    report = prepare(source, tmp_path / "one", **options)
    same(clips(tmp_path / "one"), wanted)
    assert not report.left_out
    assert sorted(path.name for path in source.iterdir()) == ["train-000.tar"], "nothing is unpacked"


def test_bad_members_are_left_out_and_the_rest_goes_on(made, tmp_path):
    files, wanted, options = made
    skin = files["c.glb"].replace(b'"skins"', b'"sk1ns"')
    nan = make_joints(30, 4)
    nan[3, 2] = np.nan
    members = {
        **files, "a.txt": b"walks", "b.txt": b"runs", "c.txt": b"turns", "d.txt": b"jumps",
        "cut.npz": files["d.npz"][:500], "cut.txt": b"x", "skin.glb": skin, "skin.txt": b"x",
        "nan.npy": npy(nan), "nan.txt": b"x", "code.npy": npy(np.array([print], dtype=object), True), "code.txt": b"x",
        "words.npy": npy(make_joints(30, 5)), "words.txt": b"\xff\xff", "mute.npy": npy(make_joints(30, 6)),
    }  # fmt: skip
    write_tar(tmp_path / "s" / "0.tar", members)
    whole = write_tar(tmp_path / "s" / "1.tar", {"e.txt": b"walks", "e.npy": files["a.npy"], "f.npy": files["a.npy"]})
    whole.write_bytes(whole.read_bytes()[:-20000])
    report = prepare(tmp_path / "s", tmp_path / "out", **options)
    found = clips(tmp_path / "out")
    assert np.array_equal(found.pop("e")[1], wanted["a"][1])
    same(found, wanted)
    left = left_out(report)
    for name, what in (
        ("cut", "0.tar, cut.npz is cut off"),
        ("skin", "0.tar, skin.glb has no skin"),
        ("nan", "holds NaN"),
        ("code", "0.tar, code.npy: its pickle asks for"),
        ("1.tar", "copy it again"),
    ):
        assert what in left[name][1], left[name]
    reasons = [(record["id"], record["reason"]) for record in report.left_out]
    assert ("words", "unreadable captions") in reasons and ("mute", "no caption") in reasons


def test_columns_of_parquet_files(made, tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    files, wanted, options = made
    data = tmp_path / "s" / "data"
    data.mkdir(parents=True)
    rows = {"id": ["b", "c", "d", "odd"], "caption": ["runs", "turns", "jumps", "x"]}
    bad = [b"GIF89a"]
    table = pyarrow.table(
        rows | {"file": [files["b.bvh"], files["c.glb"], files["d.npz"], *bad], "views": [1, 2, 3, 4]}
    )
    parquet.write_table(table, data / "train-0.parquet")
    ragged = make_joints(60, 1).tolist()
    ragged[5] = ragged[5][:3]
    lists = {
        "id": ["a", "none", "ragged"],
        "caption": [["walks"]] * 3,
        "joints": [make_joints(60, 1).tolist(), None, ragged],
    }
    parquet.write_table(pyarrow.table(lists), data / "train-1.parquet", row_group_size=1)
    structs = {"caption": ["sits"], "motion": [{"bytes": files["a.npy"], "path": "x.npy"}]}
    parquet.write_table(pyarrow.table(structs), data / "val-0.parquet")
    parquet.write_table(pyarrow.table({"caption": ["only"], "id": ["a"]}), data / "captions.parquet")
    (data / "cut.parquet").write_bytes((data / "train-0.parquet").read_bytes()[:-30])
    report = prepare(tmp_path / "s", tmp_path / "out", **options | {"splits": None})
    found = clips(tmp_path / "out")
    assert np.array_equal(found.pop("000000")[1], wanted["a"][1])
    same(found, wanted)
    assert (tmp_path / "out" / "val.txt").read_text() == "000000\n"
    left = left_out(report)
    assert {name: reason for name, (reason, _) in left.items()} == dict.fromkeys(
        ["odd", "none", "ragged", "cut.parquet"], "unreadable"
    )
    assert "not a .npy, .npz" in left["odd"][1] and "different lengths" in left["ragged"][1]
    two = {"caption": ["x"], "joints": [make_joints(60, 1).tolist()], "features": [make_joints(60, 1).tolist()]}
    parquet.write_table(pyarrow.table(two), data / "two.parquet")
    report = prepare(tmp_path / "s", tmp_path / "out", **options, overwrite=True)
    assert "joints, features, each of which may be motions" in left_out(report)["two.parquet"][1]


def test_a_worker_reads_its_part_alone(made, tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    motions = [make_joints(30, seed) for seed in range(40)]
    rows = {"caption": ["walks"] * 40, "joints": [motion.tolist() for motion in motions]}
    (tmp_path / "s").mkdir()
    parquet.write_table(pyarrow.table(rows), tmp_path / "s" / "a.parquet", row_group_size=7)
    write_tar(tmp_path / "s" / "b.tar", {f"{i:02d}.npy": npy(motions[i]) for i in range(40)}, "w:gz")
    (tmp_path / "s" / "texts").mkdir()
    for i in range(40):
        (tmp_path / "s" / "texts" / f"{i:02d}.txt").write_text("walks")
    source = open_source(tmp_path / "s")
    items = source.items()
    assert len(items) == 80 and [item.path.name for item in items] == ["a.parquet"] * 40 + ["b.tar"] * 40
    worker = pickle.loads(pickle.dumps(source))
    for number in (5, 6, 30, 31, 39, 4, 70, 75, 45, 0):
        assert np.array_equal(worker.load(items[number]), motions[number % 40])
    worker.close()


def test_names_of_archives(tmp_path, capsys):
    walk = npy(make_joints(30, 1))
    for shard in "01":
        write_tar(
            tmp_path / "s" / f"{shard}.tar", {"x/a.npy": walk, f"{shard}.motion.npy": walk, f"{shard}.txt": b"walks"}
        )
    (tmp_path / "c.csv").write_text("file,caption\n0/x/a,one\n1/x/a.npy,two\n0,three\n")
    prepare(tmp_path / "s", tmp_path / "own", splits="100/0/0")
    assert {name: captions for name, (captions, _) in clips(tmp_path / "own").items()} == {
        "0": ["walks"],
        "1": ["walks"],
    }
    prepare(tmp_path / "s", tmp_path / "given", captions=tmp_path / "c.csv", splits="100/0/0")
    assert {name: captions for name, (captions, _) in clips(tmp_path / "given").items()} == {
        "0/x/a": ["one"], "1/x/a": ["two"], "0": ["three"],
    }  # fmt: skip
    write_tar(tmp_path / "t" / "a.tar", {"a.txt": b"walks"})
    assert main(["prepare", str(tmp_path / "t"), "-o", str(tmp_path / "none")]) == 2
    assert "hold no motions" in capsys.readouterr().err


def test_memory_does_not_grow_with_an_archive(tmp_path):
    sizes = []
    for count in (20, 200):
        path = tmp_path / f"{count}.tar"
        with tarfile.open(path, "w") as archive:
            for number in range(count):
                info = tarfile.TarInfo(f"{number}.npy")
                info.size = 1 << 18
                archive.addfile(info, io.BytesIO(bytes(info.size)))
        tracemalloc.start()
        archives = Archives()
        for _, member in read_contents(path).motions:
            assert len(archives.read(member).data) == 1 << 18
        archives.close()
        sizes.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert sizes[1] < 1.5 * sizes[0] < 2e6


def test_what_names_no_member_is_told(tmp_path):
    path = write_tar(tmp_path / "x.tar", {"a.npy": npy(make_joints(30, 1))})
    ((_, member),) = read_contents(path).motions
    path.write_bytes(path.read_bytes()[:1000])
    archives = Archives()
    with pytest.raises(InputError, match=r"x.tar, a.npy is cut off at \d+ of \d+ bytes"):
        archives.read(member)
    archives.close()
