"""Indexes written in bounded memory: shards of several processes, filled block by block."""

import json
from pathlib import Path

import numpy as np
import pytest

from realign.errors import InputError
from realign.index import MotionIndex, MotionItem, fill, shards, storage
from realign.index.items import id_of, to_record
from realign.index.names import first_places, index_digest, name_digests
from realign.index.shards import Joined, Shards, ShardWriter
from realign.index.writing import write_embedded

faiss = pytest.importorskip("faiss")
DIM = 16


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    faiss.omp_set_num_threads(1)
    monkeypatch.setattr(fill, "BLOCK", 150)
    monkeypatch.setattr(fill, "_MERGED", 500)
    monkeypatch.setattr(shards, "BLOCK", 64)


def motions(count: int = 1000) -> tuple[np.ndarray, list[MotionItem]]:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, DIM))
    vectors = centres[rng.integers(20, size=count)] + 0.5 * rng.standard_normal((count, DIM))
    return vectors.astype(np.float32), [MotionItem(f"m{i}", (f'says "{i}"', "läuft"), "test", i) for i in range(count)]


def dealt(folder: Path, count: int, world: int, batch: int = 7) -> Shards:
    """The motions in batches, given to writers in turn."""
    vectors, items = motions(count)
    writers = [ShardWriter(folder / str(rank)) for rank in range(world)]
    for number, start in enumerate(range(0, count, batch)):
        part = slice(start, start + batch)
        writers[number % world].add(vectors[part], items[part], range(start, start + len(items[part])))
    for writer in writers:
        writer.close()
    return Shards([writer.folder for writer in writers])


@pytest.mark.parametrize(
    "factory",
    [
        *("Flat", "IVF8,SQ8", "IVF8,Flat", "PCA8,IVF16,PQ4x4", "PCA8,IVF8,SQfp16", "IVF512,Flat"),
        *("HNSW8", "IVF8,PQ4x4fs", "IVF4,PQ4x4,RFlat"),
    ],
)
def test_an_index_filled_block_by_block_is_identical(factory: str, tmp_path: Path) -> None:
    vectors, items = motions()
    write_embedded(tmp_path / "streamed", dealt(tmp_path / "shards", 1000, 3), fingerprint="a", factory=factory)
    built = MotionIndex.build(vectors, items, fingerprint="a", factory=factory)
    built.save(tmp_path / "built")
    for name in ("index.faiss", "items.bin", "item_offsets.npy", "keys.npy", "meta.json"):
        if factory in ("HNSW8", "IVF8,PQ4x4fs", "IVF4,PQ4x4,RFlat") and name in ("index.faiss", "meta.json"):
            continue  # a graph depends on the block size; the others hold memory that FAISS does not clear
        assert (tmp_path / "streamed" / name).read_bytes() == (tmp_path / "built" / name).read_bytes(), name
    found = MotionIndex.load(tmp_path / "streamed", "a", verify=True)
    assert found.search(vectors[:20], 5).ids == built.search(vectors[:20], 5).ids or factory == "HNSW8"
    assert found.digest == built.digest


def test_shards_come_in_order_and_each_id_once(tmp_path: Path) -> None:
    vectors, items = motions(6)
    first, second = ShardWriter(tmp_path / "0"), ShardWriter(tmp_path / "1")
    first.add(vectors[[0, 3]], [items[0], items[3]], [0, 20])
    second.add(vectors[[1, 2, 0]], [items[1], items[2], items[0]], [10, 15, 30])  # a sampler served the first again
    empty = ShardWriter(tmp_path / "2")
    for writer in (first, second, empty):
        writer.close()
    merged = Shards([tmp_path / name for name in ("0", "1", "2")])
    assert merged.shape == (4, DIM) and list(merged.records()) == [to_record(item) for item in items[:4]]
    want = vectors[:4] / np.linalg.norm(vectors[:4], axis=1, keepdims=True)
    np.testing.assert_allclose(merged[:], want, rtol=1e-6)
    np.testing.assert_array_equal(merged[np.array([0, 3])], merged[:][[0, 3]])
    joined = Joined([merged, merged], np.array([1, 3, 4]))
    np.testing.assert_array_equal(joined[:], merged[:][[1, 3, 0]])
    assert [id_of(record) for record in joined.records()] == ["m1", "m3", "m0"]
    with pytest.raises(InputError, match="embed at least one motion"):
        Shards([tmp_path / "2"])
    with pytest.raises(InputError, match="row 1 of the embeddings holds NaN"):
        empty.add(np.array([[1.0], [np.nan]]), items[:2], [0, 1])


def test_far_rows_are_read_one_by_one(tmp_path: Path) -> None:
    merged = dealt(tmp_path, 500, 2)
    rows = np.array([0, 3, 250, 499])
    np.testing.assert_array_equal(merged[rows], merged[:][rows])


def test_names_are_distinguished_and_digests_equal_earlier_versions() -> None:
    names = ["b", "a", "b", "", "a", "ü"]
    assert first_places(name_digests(names)).tolist() == [0, 1, 3, 5]
    assert len(first_places(name_digests([]))) == 0
    import hashlib

    for count in (0, 1, 5000):
        ids = [f'm"{i}ü' for i in range(count)]
        told = json.dumps(["model", "Flat", ids])
        assert index_digest("model", "Flat", ids) == hashlib.sha256(told.encode()).hexdigest()[:16]


def test_vectors_of_inverted_lists_are_read_in_place(tmp_path: Path) -> None:
    for factory in ("IVF8,Flat", "PCA8,IVF8,SQ8"):
        folder = tmp_path / factory
        write_embedded(folder, dealt(tmp_path / f"{factory}.shards", 400, 2), fingerprint="a", factory=factory)
        index, rows = MotionIndex.load(folder), [399, 0, 17]
        placed = index.vectors(rows)
        index._places = None  # as FAISS finds them, by a table of all
        np.testing.assert_allclose(placed, index.vectors(rows), atol=1e-6)
    places = np.load(folder / "places.npy")
    index = MotionIndex.load(folder)
    index._places = places[::-1]
    with pytest.raises(InputError, match="not where its places say"):
        index.vectors([3])


def test_a_changed_index_has_another_digest_and_no_places(tmp_path: Path) -> None:
    vectors, items = motions(300)
    MotionIndex.build(vectors[:200], items[:200], fingerprint="a", factory="IVF4,Flat").save(tmp_path / "index")
    index = MotionIndex.load(tmp_path / "index", mmap=False)
    before = index.digest
    index.add(vectors[200:], items[200:])
    grown = index.digest
    index.remove(["m0"])
    assert len({before, grown, index.digest}) == 3
    found = index.vectors([0, len(index) - 1])
    want = vectors[[1, 299]] / np.linalg.norm(vectors[[1, 299]], axis=1, keepdims=True)
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_an_index_of_an_earlier_version_gives_the_same(tmp_path: Path) -> None:
    vectors, items = motions(300)
    MotionIndex.build(vectors, items, fingerprint="a", factory="IVF4,Flat").save(tmp_path / "index")
    now = MotionIndex.load(tmp_path / "index")
    meta = json.loads((tmp_path / "index" / "meta.json").read_text())
    for name in ("meta.json", "places.npy"):
        (tmp_path / "index" / name).unlink()
    known = {name: meta[name] for name in ("fingerprint", "factory", "dim", "count")}
    storage.write_manifest(tmp_path / "index", known)
    old = MotionIndex.load(tmp_path / "index", "a", verify=True)
    assert old.digest == now.digest == meta["digest"]
    assert old.search(vectors[:9], 5).ids == now.search(vectors[:9], 5).ids
    np.testing.assert_array_equal(old.vectors([5, 299]), now.vectors([5, 299]))
