import json
import os
import shutil

import numpy as np
import pytest

from realign.errors import InputError
from realign.index import MotionIndex, MotionItem, storage
from realign.index.items import PackedItems

pytest.importorskip("faiss")
FILES = ["index.faiss", "item_offsets.npy", "items.bin", "keys.npy"]


@pytest.fixture
def folder(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((50, 8))
    items = [MotionItem(f"m{i}", (f"caption {i}",), "test", i) for i in range(50)]
    MotionIndex.build(vectors, items, fingerprint="model-a").save(tmp_path / "index")
    return tmp_path / "index"


def test_the_folder_holds_nothing_else_and_no_pickle(folder):
    assert sorted(os.listdir(folder)) == sorted([*FILES, "meta.json"])
    assert os.listdir(folder.parent) == ["index"]
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["fingerprint"] == "model-a" and sorted(meta["files"]) == FILES


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_detected_and_the_file_named(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(InputError, match=f"the file {name} .* is damaged: its checksum differs; copy or build"):
        MotionIndex.load(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_or_missing_file_is_named_even_without_checksums(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1])
    with pytest.raises(InputError, match=f"{name} .* has {len(data) - 1} bytes and {len(data)} were written"):
        MotionIndex.load(folder, verify=False)
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name} .* it is missing"):
        MotionIndex.load(folder, verify=False)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"sha256": "0"}', "\xff"])
def test_a_broken_manifest_is_named(folder, content):
    (folder / "meta.json").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match="meta.json .*(damaged|of something else)"):
        MotionIndex.load(folder)


def test_an_edited_fingerprint_or_another_version_is_refused(folder):
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"fingerprint": "model-b"}))
    with pytest.raises(InputError, match="meta.json"):
        MotionIndex.load(folder, "model-b")
    content = {name: value for name, value in meta.items() if name != "sha256"} | {"version": 99}
    (folder / "meta.json").write_text(json.dumps(content | {"sha256": storage._digest(content)}))
    with pytest.raises(InputError, match="format 99"):
        MotionIndex.load(folder)


def test_a_folder_without_an_index_is_reported(tmp_path):
    with pytest.raises(InputError, match="There is no index at .*realign index build"):
        MotionIndex.load(tmp_path / "none")
    with pytest.raises(InputError, match="holds no index"):
        MotionIndex.load(tmp_path)


def test_another_model_is_refused(folder):
    assert len(MotionIndex.load(folder, "model-a")) == len(MotionIndex.load(folder)) == 50
    with pytest.raises(InputError, match="made by the model 'model-a', not by 'model-b'"):
        MotionIndex.load(folder, "model-b")


def test_a_mapped_index_is_read_only(folder):
    index = MotionIndex.load(folder)
    for action in (
        lambda: index.add(np.ones((1, 8)), [MotionItem("new")]),
        lambda: index.remove(["m1"]),
        lambda: index.save(folder.parent / "other"),
    ):
        with pytest.raises(InputError, match="memory-mapped .*mmap=False"):
            action()


def test_saving_replaces_an_index_and_nothing_else(folder, tmp_path):
    index = MotionIndex.load(folder, mmap=False)
    index.remove(["m0"])
    reader = MotionIndex.load(folder)  # keeps reading the files it has mapped
    index.save(folder)
    assert len(MotionIndex.load(folder)) == 49 and reader.search(reader.vectors([0]), 1).ids == [["m0"]]
    (folder / "meta.json").write_text("{")  # damaged: it can be built again in the same folder
    index.save(folder)
    assert len(MotionIndex.load(folder)) == 49
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "meta.json").write_text('{"version": 1, "skeleton": "humanml3d"}')
    with pytest.raises(InputError, match=r"holds no index \(meta.json is of something else\)"):
        MotionIndex.load(tmp_path / "prepared")
    for target in (tmp_path / "precious", tmp_path / "precious" / "file", tmp_path / "prepared"):
        with pytest.raises(InputError, match="exists and is not an index"):
            index.save(target)


def test_a_failed_save_leaves_the_old_index(folder, monkeypatch):
    index = MotionIndex.load(folder, mmap=False)
    index.remove(["m0"])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "write_manifest", full)
    with pytest.raises(OSError, match="No space"):
        index.save(folder)
    assert len(MotionIndex.load(folder)) == 50 and os.listdir(folder.parent) == ["index"]


def test_large_files_are_sampled_by_default_and_read_whole_on_request(folder, monkeypatch):
    monkeypatch.setattr(storage, "PIECE", 16)
    MotionIndex.load(folder, mmap=False).save(folder)
    monkeypatch.setattr(storage, "FULL_CHECK", 1024)
    data = bytearray((folder / "index.faiss").read_bytes())
    assert len(data) > 1024
    pieces = -(-len(data) // 16)
    unseen = next(i for i in range(pieces) if i not in {j * (pieces - 1) // 31 for j in range(32)})
    data[unseen * 16] ^= 1
    (folder / "index.faiss").write_bytes(data)
    MotionIndex.load(folder)
    with pytest.raises(InputError, match="index.faiss"):
        MotionIndex.load(folder, verify=True)
    data[unseen * 16] ^= 1
    data[-1] ^= 1
    (folder / "index.faiss").write_bytes(data)
    with pytest.raises(InputError, match="index.faiss"):
        MotionIndex.load(folder)


def test_packed_items_are_a_sequence(folder):
    items = PackedItems(folder)
    assert len(items) == 50 and items[-1].id == "m49" and [item.frames for item in items[3:6]] == [3, 4, 5]
    with pytest.raises(IndexError):
        items[50]


def rewritten(folder, **changes):
    """An index with foreign content and a manifest with matching checksums."""
    meta = json.loads((folder / "meta.json").read_text())
    about = {name: value for name, value in meta.items() if name not in ("sha256", "files", "version", "piece_bytes")}
    (folder / "meta.json").unlink()
    storage.write_manifest(folder, about | changes)
    return folder


def test_files_that_do_not_belong_together_are_refused_though_their_checksums_are_right(folder, tmp_path):
    keys = np.load(folder / "keys.npy")
    for number, changed in enumerate((keys[:-1], keys.astype(np.int32), np.array([{}], dtype=object), keys + 7)):
        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        np.save(copy / "keys.npy", changed, allow_pickle=True)
        rewritten(copy)
        with pytest.raises(InputError, match="belong together|damaged|other keys"):
            MotionIndex.load(copy).search(np.ones((1, 8)), 50)
    (folder / "items.bin").write_bytes(b"x" * (folder / "items.bin").stat().st_size)
    with pytest.raises(InputError, match="record b'xxx.* is damaged"):
        MotionIndex.load(rewritten(folder)).items[0]


def test_a_manifest_cannot_point_outside_its_folder(folder):
    content = storage.read_manifest(folder)
    for files in ({"../x": {"bytes": 1, "sha256": []}}, {"keys.npy": 3}, {"keys.npy": {"bytes": "1"}}):
        with pytest.raises(InputError, match=r"meta\.json .* is damaged"):
            storage.check_files(folder, content | {"files": files})


def test_vectors_in_another_file_are_not_followed(folder, tmp_path):
    faiss = pytest.importorskip("faiss")
    index = faiss.index_factory(8, "IVF1,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(np.eye(8, dtype=np.float32))
    outside = faiss.OnDiskInvertedLists(1, index.code_size, str(tmp_path / "elsewhere"))
    index.replace_invlists(outside)
    index.add_with_ids(np.eye(8, dtype=np.float32), np.arange(8))
    faiss.write_index(index, str(folder / "index.faiss"))
    with pytest.raises(InputError, match="in another file"):
        MotionIndex.load(rewritten(folder))
