import pickle

import numpy as np
import pytest

from realign.data.prepare.captions import Caption
from realign.data.prepare.writer import PackedWriter
from realign.data.store import PackedMotions, read_array
from realign.errors import InputError


def test_motions_and_captions_come_back(prepared, layout):
    packed = PackedMotions.open(prepared)
    assert len(packed) == 28 and packed.num_features == 263 and packed.skeleton == "humanml3d" and packed.fps == 20
    ids = packed.ids(packed.select("train"))
    assert ids == (layout / "train.txt").read_text().split() == (prepared / "train.txt").read_text().split()
    index = int(packed.select("train")[3])
    assert packed.motion(index).shape == (42 + 5 * 3 - 1, 263)
    assert packed.captions(index) == [f"a person {v} with the left hand number 3" for v in ("waves", "points")]
    assert packed.tokens(index) == "a/DET"
    assert packed.kind(index) == "recorded"
    assert not packed.motion(index).flags.writeable


def test_length_limits(prepared):
    packed = PackedMotions.open(prepared)
    frames = packed.clips["frames"]
    assert frames[packed.select("all", 40, 100)].max() <= 100
    assert len(packed.select("all")) == len(packed)
    with pytest.raises(InputError, match="'dev' is unknown"):
        packed.select("dev")


def test_parts_become_clips_of_their_own(tmp_path):
    writer = PackedWriter(tmp_path, 3)
    motion = np.arange(120 * 3, dtype=np.float32).reshape(120, 3)
    captions = [Caption("part", 1, 4), Caption("whole"), Caption("same part", 1, 4), Caption("dust", 5.9, 6)]
    assert writer.add("x", motion, captions, 1, "recorded", 20.0, 4) == ["x_5.9-6"]
    assert writer.add("y", motion, [Caption("ü")], 2, "composed", 20.0, 4) == []
    clips = writer.finish()
    assert clips["frames"].tolist() == [60, 120, 120]
    assert clips["start"].tolist() == [20, 0, 120]
    assert clips["captions"].tolist() == [2, 1, 1]
    assert clips["first"].tolist() == [1, 0, 1] and clips["part"].tolist() == [1, 0, 0]
    assert clips["parent_frames"].tolist() == [120, 120, 120]
    stored = np.load(tmp_path / "features.npy", mmap_mode="r")
    assert stored.shape == (240, 3) and (stored[120:] == motion).all()


def test_a_copy_in_a_worker_maps_the_same_files(prepared):
    packed = PackedMotions.open(prepared)
    data = pickle.dumps(packed)
    assert len(data) < 1000
    assert (pickle.loads(data).motion(2) == packed.motion(2)).all()


@pytest.mark.parametrize("name", ["features", "clips", "captions", "ids", "caption_offsets", "Mean"])
def test_a_file_that_is_cut_off_is_named(prepared, tmp_path, name):
    for path in prepared.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match=f"{name}.npy is cut off"):
        PackedMotions.open(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=f"{name}.npy is missing"):
        PackedMotions.open(tmp_path)


def test_pickled_objects_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object))
    with pytest.raises(InputError, match="damaged"):
        read_array(tmp_path / "x.npy", mapped=False)


def test_other_folders_and_formats(prepared, tmp_path):
    with pytest.raises(InputError, match="realign prepare SOURCE"):
        PackedMotions.open(tmp_path)
    (tmp_path / "meta.json").write_text('{"version": 99}')
    with pytest.raises(InputError, match="format 99"):
        PackedMotions.open(tmp_path)
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        PackedMotions.open(tmp_path)
