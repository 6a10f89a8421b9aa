"""Indexes merged into one, and exported as plain files."""

import json
from pathlib import Path

import numpy as np
import pytest

from realign.cli import main
from realign.errors import InputError
from realign.index import MotionIndex, MotionItem, MotionLibrary, merging
from realign.index.library import write_library
from realign.index.merging import export_library, merge_libraries
from realign.index.shards import Shards, ShardWriter

faiss = pytest.importorskip("faiss")
DIM = 16


def embedded(folder: Path, vectors: np.ndarray, items: list[MotionItem]) -> Shards:
    writer = ShardWriter(folder)
    writer.add(vectors, items, range(len(items)))
    writer.close()
    return Shards([folder])


def vectors_of(names: list[str]) -> np.ndarray:
    rows = [np.random.default_rng(list(name.encode())).standard_normal(DIM) for name in names]
    return (np.stack(rows) / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def library(
    folder: Path, ids: list[str], factory: str | None = None, fingerprint: str = "a", joints: bool = True
) -> Path:
    """An index of motions, each with its own caption and a common one."""
    items = [MotionItem(name, (f"one is {name}", "a person walks"), "test", 40 + i) for i, name in enumerate(ids)]
    texts = list(dict.fromkeys(text for item in items for text in item.captions))
    write_library(
        folder,
        embedded(folder.with_name(f"{folder.name}.m"), vectors_of(ids), items),
        embedded(folder.with_name(f"{folder.name}.c"), vectors_of(texts), [MotionItem(text) for text in texts]),
        (np.full((5, 22, 3), len(name), np.float32) for name in ids) if joints else None,
        {"skeleton": "humanml3d", "fps": 20.0},
        fingerprint=fingerprint,
        factory=factory,
    )
    return folder


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    return [library(tmp_path / "A", ["m1", "m2", "m33"]), library(tmp_path / "B", ["x", "yyyy"], "IVF1,Flat")]


def test_a_merged_index_holds_all_motions_and_each_caption_once(
    two: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "merge", *map(str, two), "-o", str(tmp_path / "C")]) == 0
    assert "5 motions, Flat, a" in capsys.readouterr().out
    merged = MotionLibrary.load(tmp_path / "C", "a")
    ids = ["m1", "m2", "m33", "x", "yyyy"]
    assert [item.id for item in merged.motions.items] == ids
    assert list(merged.motions.items)[:3] == list(MotionIndex.load(two[0]).items)
    np.testing.assert_allclose(merged.motions.vectors(range(5)), vectors_of(ids), atol=1e-6)
    assert merged.captions is not None
    texts = [item.id for item in merged.captions.items]
    assert texts == ["one is m1", "a person walks", "one is m2", "one is m33", "one is x", "one is yyyy"]
    np.testing.assert_allclose(merged.captions.vectors(range(6)), vectors_of(texts), atol=1e-3)
    joints = merged.joints()
    assert joints is not None and joints.meta["skeleton"] == "humanml3d"
    assert [float(clip[0, 0, 0].round()) for clip in joints] == [2, 2, 3, 1, 4]


def test_motions_are_left_out_where_an_index_keeps_none(
    two: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = library(tmp_path / "plain", ["z"], joints=False)
    assert main(["index", "merge", str(two[0]), str(plain), "-o", str(tmp_path / "C")]) == 0
    assert "the motions themselves are left out" in capsys.readouterr().err
    assert MotionLibrary.load(tmp_path / "C").joints() is None


def test_indexes_that_do_not_fit_are_not_merged(two: list[Path], tmp_path: Path) -> None:
    other = library(tmp_path / "other", ["n1"], fingerprint="b")
    same = library(tmp_path / "same", ["m7", "m2"])
    for folders, told in (
        ([two[0], other], "made by the model 'b', not by 'a'"),
        ([two[0], two[1], same], "A and .*same both hold a motion 'm2'; merge indexes of different motions"),
        (two[:1], "1 index cannot be merged"),
        ([two[0], tmp_path / "nowhere"], "There is no index at .*nowhere"),
        ([two[0], library(tmp_path / "fast", [f"f{i}" for i in range(40)], "IVF1,PQ4x4fs")], "cannot be decoded"),
    ):
        with pytest.raises(InputError, match=told):
            merge_libraries(folders, tmp_path / "C")
        assert not (tmp_path / "C").exists()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    with pytest.raises(InputError, match="precious exists"):
        merge_libraries(two, tmp_path / "precious")


def test_exported_files_are_read_by_plain_tools(
    two: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(merging, "_pyarrow", lambda: False)
    assert main(["index", "export", str(two[0]), "-o", str(tmp_path / "out")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    np.testing.assert_allclose(np.load(tmp_path / "out" / "embeddings.npy"), vectors_of(["m1", "m2", "m33"]), atol=1e-6)
    lines = [json.loads(line) for line in (tmp_path / "out" / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[1] == {"id": "m2", "captions": ["one is m2", "a person walks"], "source": "test", "frames": 41}
    assert len(np.load(tmp_path / "out" / "captions" / "embeddings.npy")) == 4
    assert json.loads((tmp_path / "out" / "about.json").read_text()) == {"fingerprint": "a", "dim": DIM}
    with pytest.raises(InputError, match=r"Parquet needs pyarrow; run pip install 'realign\[parquet\]'"):
        export_library(two[0], tmp_path / "parquet", "parquet")
    with pytest.raises(InputError, match="out exists; choose another folder"):
        export_library(two[0], tmp_path / "out")


def test_items_as_parquet(two: list[Path], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export_library(two[0], tmp_path / "out")
    rows = parquet.read_table(tmp_path / "out" / "items.parquet").to_pylist()
    assert rows[1] == {"id": "m2", "captions": ["one is m2", "a person walks"], "source": "test", "frames": 41}
