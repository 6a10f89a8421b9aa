"""Building an index: any number of processes writes the same index once."""

from pathlib import Path

import numpy as np
import pytest
import torch
from index_parts import write_model
from launch_parts import torchrun
from lightning import Trainer

from realign.callbacks import IndexBuilder, build_index
from realign.cli import main
from realign.data.datamodule import MotionDataModule
from realign.data.store import PackedMotions
from realign.errors import InputError
from realign.index import MotionIndex, MotionLibrary
from realign.motion.features import features_to_joints
from realign.tasks import RewardTask, load_task

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")  # newer Pythons warn about threads


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[RewardTask, PackedMotions]:
    root = tmp_path_factory.mktemp("index_builder")
    task = load_task(write_model(root / "model", root / "data"), RewardTask)
    return task, PackedMotions.open(root / "data")


@pytest.fixture(scope="module")
def built(parts: tuple[RewardTask, PackedMotions], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "index"
    told: list[tuple[str, int, int | None]] = []
    options = {"split": "all", "batch_size": 10, "with_motions": True, "watch": lambda *each: told.append(each)}
    assert build_index(parts[0], parts[1].folder, folder, **options)
    assert list(dict.fromkeys(what for what, *_ in told)) == ["motions", "captions", "index"]
    assert all(told[place][1] == told[place][2] for place in (-3, -2)) and told[-1] == ("index", 0, None)
    return folder


def test_the_index_holds_every_motion_with_its_own_embedding(
    parts: tuple[RewardTask, PackedMotions], built: Path
) -> None:
    task, packed = parts
    index = MotionIndex.load(built, task.fingerprint)
    assert [item.id for item in index.items] == packed.ids(range(len(packed)))
    for row in (0, 37, len(packed) - 1):
        motion = torch.from_numpy(packed.motion(row).copy())
        whole = len(motion) // 4 * 4
        with torch.no_grad():
            alone = task.embed_motions(motion[None, :whole], torch.tensor([whole]))
        np.testing.assert_allclose(index.vectors([row]), alone, atol=1e-5)
        item = index.items[row]
        assert (item.captions, item.frames) == (tuple(dict.fromkeys(packed.captions(row))), len(motion))
        assert item.source == "recorded"


def test_captions_and_motions_are_kept(parts: tuple[RewardTask, PackedMotions], built: Path) -> None:
    task, packed = parts
    library = MotionLibrary.load(built)
    assert library.captions is not None
    texts = [item.id for item in library.captions.items]
    assert texts == list(dict.fromkeys(text for row in range(len(packed)) for text in packed.captions(row)))
    with torch.no_grad():
        np.testing.assert_allclose(library.captions.vectors([5]), task.embed_captions(texts[5:6]), atol=2e-3)
    joints = library.joints()
    assert joints is not None and len(joints) == len(packed)
    want = features_to_joints(torch.from_numpy(packed.motion(7).copy())).numpy()
    np.testing.assert_allclose(joints[7], want, atol=1e-3)  # 1 mm


def test_captions_can_stay_out(parts: tuple[RewardTask, PackedMotions], built: Path, tmp_path: Path) -> None:
    task, packed = parts
    assert build_index(task, packed.folder, tmp_path / "index", split="all", with_captions=False)
    library, whole = MotionLibrary.load(tmp_path / "index"), MotionLibrary.load(built)
    assert library.captions is None and list(library.motions.items) == list(whole.motions.items)


def test_processes_of_torchrun_build_the_same_index_bit_for_bit(
    parts: tuple[RewardTask, PackedMotions], tmp_path: Path
) -> None:
    words = ["index", "build", "--checkpoint", str(parts[1].folder.parent / "model"), "--data", str(parts[1].folder)]
    words += ["--split", "all", "--batch-size", "20", "--device", "cpu", "--with-motions"]
    assert main([*words, "-o", str(tmp_path / "one")]) == 0
    done = torchrun(4, ["realign.cli", *words, "-o", str(tmp_path / "four")])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("four: ") == 1  # only the first process prints
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) > 10
    for name in files:
        assert (tmp_path / "four" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["four", "one"]  # no shards are left


def test_predict_on_two_devices_writes_the_same_index(
    parts: tuple[RewardTask, PackedMotions], built: Path, tmp_path: Path
) -> None:
    task, packed = parts
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp_fork", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, callbacks=[IndexBuilder(str(tmp_path / "index"))],
    )  # fmt: skip
    module = MotionDataModule(str(packed.folder), batch_size=7, predict_split="all", whole=True)
    trainer.predict(task, module, return_predictions=False)
    one, two = MotionIndex.load(built), MotionIndex.load(tmp_path / "index", task.fingerprint)
    assert list(two.items) == list(one.items)
    everything = np.arange(len(one))
    np.testing.assert_allclose(two.vectors(everything), one.vectors(everything), atol=1e-5)
    captions = [MotionLibrary.load(folder).captions for folder in (built, tmp_path / "index")]
    assert captions[0] is not None and captions[1] is not None
    assert list(captions[0].items) == list(captions[1].items)


def test_any_predict_run_can_write_one(parts: tuple[RewardTask, PackedMotions], tmp_path: Path) -> None:
    """Without a prepared set: only the predictions are used, and repeated samples count once."""
    task, packed = parts
    from realign.data.dataset import MotionTextDataset, collate

    dataset = MotionTextDataset(packed, "test")
    batches = [dataset.__getitems__([0, 1, 2]), collate([dataset[3], dataset[0]])]
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        callbacks=[IndexBuilder(str(tmp_path / "index"))],
    )  # fmt: skip
    trainer.predict(task, loader)
    index = MotionIndex.load(tmp_path / "index")
    assert [item.id for item in index.items] == dataset.ids()[:4]
    assert index.items[2].captions == (packed.caption(int(dataset.indices[2])),)


def test_bad_settings_are_refused_before_anything_is_embedded(
    parts: tuple[RewardTask, PackedMotions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="is not an index; choose another folder"):
        build_index(parts[0], parts[1].folder, tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "mine"
    with pytest.raises(InputError, match="split 'tset' is unknown"):
        build_index(parts[0], parts[1].folder, tmp_path / "index", split="tset")
    with monkeypatch.context() as patch, pytest.raises(InputError, match="cannot make an index 'Flt'"):
        patch.setattr(RewardTask, "embed_motions", lambda *_: pytest.fail("embedded before the factory was checked"))
        build_index(parts[0], parts[1].folder, tmp_path / "index", factory="Flt")
    assert not (tmp_path / "index").exists()
