import numpy as np
import pytest

from realign.data import PackedMotions, ProceduralDataModule
from realign.data.procedural import procedural_clip, write_procedural_folder
from realign.errors import InputError


def test_captions_match_the_joints() -> None:
    seen = set()
    for number in range(36):
        joints, caption = procedural_clip(number)
        seen.add(caption)
        travelled = np.linalg.norm(joints[-1, 0, [0, 2]] - joints[0, 0, [0, 2]]) / (len(joints) / 20)
        assert (travelled < 0.1) == ("stands still" in caption), caption
        assert ("runs" in caption) == (travelled > 1.6), caption
        across = joints[:, 1] - joints[:, 2]  # right hip to left hip
        heading = np.unwrap(np.arctan2(-across[:, 2], across[:, 0]))
        turned = heading[-1] - heading[0]
        assert (turned > 0.5) == ("turns left" in caption) and (turned < -0.5) == ("turns right" in caption), caption
        left, right = (joints[-1, wrist, 1] > joints[-1, 15, 1] for wrist in (20, 21))
        assert left == ("left hand" in caption or "both hands" in caption), caption
        assert right == ("right hand" in caption or "both hands" in caption), caption
    assert len(seen) == 36


def test_a_clip_has_constant_bones_and_depends_on_its_number() -> None:
    joints, _ = procedural_clip(7, seed=3)
    bones = np.linalg.norm(joints[:, 4] - joints[:, 1], axis=-1)
    np.testing.assert_allclose(bones, bones[0], rtol=1e-5)
    np.testing.assert_array_equal(joints, procedural_clip(7, seed=3)[0])
    assert joints[..., 1].min() == 0


def test_the_datamodule_prepares_itself_once(tmp_path) -> None:
    data = ProceduralDataModule(clips=12, batch_size=4, folder=str(tmp_path / "set"))
    made = (tmp_path / "set" / "features.npy").stat().st_mtime_ns
    again = ProceduralDataModule(clips=12, batch_size=4, folder=str(tmp_path / "set"))
    assert (tmp_path / "set" / "features.npy").stat().st_mtime_ns == made
    assert len(PackedMotions.open(tmp_path / "set")) == 12
    batch = next(iter(again.train_dataloader()))
    assert batch.motion.shape[0] == 4 and batch.motion.shape[2] == data.num_features


def test_too_few_clips_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="at least 6"):
        write_procedural_folder(tmp_path / "x", clips=3)
    assert not (tmp_path / "x").exists()
