"""Captions in Parquet files and tar archives, alone and in folders."""

import io
import json
import sys
import tarfile

import numpy as np
import pytest
from data_parts import make_joints

from realign.data.prepare.captions_file import read_captions_file
from realign.data.prepare.run import prepare
from realign.data.store import PackedMotions
from realign.errors import InputError


def write_tar(path, members: dict[str, bytes], mode: str = "w"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def rows_of(path) -> list[tuple]:
    return [
        (row.key, row.caption.text, row.caption.start, row.caption.end, row.split) for row in read_captions_file(path)
    ]


def test_archives_are_read_from_front_to_end(tmp_path):
    members = {
        "a.txt": b"a person walks#walks/VERB#0.0#0.0\nthe end#end/NOUN#1.0#2.5\n",
        "a.npy": b"\0" * 100,
        "deep/b.json": json.dumps({"caption": ["turns", "spins"], "split": "test"}).encode(),
        "c.txt": b"jumps",
    }
    walks = [("a", "a person walks", 0, 0, ""), ("a", "the end", 1, 2.5, "")]
    rest = [("deep/b", "turns", 0, 0, "test"), ("deep/b", "spins", 0, 0, "test"), ("c", "jumps", 0, 0, "")]
    assert rows_of(write_tar(tmp_path / "0000.tar", members)) == walks + rest
    assert rows_of(write_tar(tmp_path / "0001.tar", members, "w:gz")) == walks + rest
    (tmp_path / "0001.tar").unlink()
    (tmp_path / "0000.tar").rename(tmp_path / "validation-0000.tar")
    assert [row[-1] for row in rows_of(tmp_path)] == ["val", "val", "test", "test", "val"]


def test_bad_archives_are_one_sentence(tmp_path):
    path = write_tar(tmp_path / "x.tar", {"a.txt": b"walks" * 1000, "b.txt": b"runs"})
    whole = path.read_bytes()
    for content in (whole[:2000], b"no archive" * 100, b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match="x.tar is cut off or not a tar archive"):
            read_captions_file(path)
    for members, reason in (
        ({"a.txt": b"\xff\xfe\xfa"}, "x.tar, a.txt is not UTF-8"),
        ({"a.json": b"{"}, "x.tar, a.json.*not a JSON object"),
        ({"a.json": b"{}"}, "x.tar, a.json: needs 'id' or 'file', and 'caption'"),
        ({"a.npy": b""}, "holds no captions"),
    ):
        with pytest.raises(InputError, match=reason):
            read_captions_file(write_tar(path, members))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no .parquet or .tar files"):
        read_captions_file(tmp_path / "empty")


def test_parquet_without_pyarrow_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"needs pyarrow; run pip install 'realign\[parquet\]'"):
        read_captions_file(tmp_path)


def test_parquet_files_of_a_folder(tmp_path):
    parquet, pyarrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    (tmp_path / "data").mkdir()
    table = {"ID": ["a", "b"], "caption": [["walks", "goes"], ["runs"]], "end": [None, 2.0], "motion": [b"0" * 99] * 2}
    parquet.write_table(pyarrow.table(table), tmp_path / "data" / "train-00000-of-00001.parquet")
    assert rows_of(tmp_path) == [
        ("a", "walks", 0, 0, "train"),
        ("a", "goes", 0, 0, "train"),
        ("b", "runs", 0, 2, "train"),
    ]
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"motion": [1]}), path)
    with pytest.raises(InputError, match="x.parquet has the columns motion; it needs"):
        read_captions_file(path)
    path.write_bytes((tmp_path / "data" / "train-00000-of-00001.parquet").read_bytes()[:-30])
    with pytest.raises(InputError, match="x.parquet is damaged"):
        read_captions_file(path)


def test_a_folder_of_motions_with_an_archive_of_captions(tmp_path):
    (tmp_path / "s").mkdir()
    for name in "ab":
        np.save(tmp_path / "s" / f"{name}.npy", make_joints(60, ord(name)))
    captions = tmp_path / "captions"
    write_tar(captions / "train-0.tar", {"a.txt": b"walks"})
    write_tar(captions / "test-0.tar", {"b.txt": b"runs\nhurries", "c.txt": b"no motion"})
    report = prepare(tmp_path / "s", tmp_path / "out", captions=captions)
    packed = PackedMotions.open(tmp_path / "out")
    assert {packed.ids([i])[0]: packed.captions(i) for i in range(2)} == {"a": ["walks"], "b": ["runs", "hurries"]}
    assert (report.meta["counts"]["train"], report.meta["counts"]["test"]) == (1, 1)
    assert {each["id"]: each["reason"] for each in report.left_out} == {"c": "no motion file"}
    assert prepare(tmp_path / "s", tmp_path / "out", captions=captions).up_to_date
    write_tar(captions / "train-0.tar", {"a.txt": b"walks on"})
    with pytest.raises(InputError, match="made from another source"):
        prepare(tmp_path / "s", tmp_path / "out", captions=captions)
