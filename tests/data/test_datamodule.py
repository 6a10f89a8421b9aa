import lightning.pytorch as pl
import pytest
import torch
from data_parts import write_layout
from lightning.pytorch.callbacks import ModelCheckpoint

from realign.data.datamodule import MotionDataModule
from realign.data.prepare.run import prepare
from realign.errors import InputError


class Watcher(pl.LightningModule):
    """Does not learn, and records the samples."""

    def __init__(self, folder=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.folder = [], folder

    def note(self, stage, batch):
        entry = (stage, self.current_epoch, tuple(batch.ids), tuple(batch.seeds.tolist()), tuple(batch.captions))
        self.seen.append(entry)
        if self.folder is not None:
            with open(self.folder / f"{self.global_rank}.txt", "a") as file:
                file.write(f"{stage} {','.join(batch.ids)}\n")

    def training_step(self, batch, _):
        self.note("train", batch)
        return self.weight * batch.motion.mean()

    def validation_step(self, batch, _):
        self.note("val", batch)

    test_step = validation_step

    def predict_step(self, batch, _):
        return batch.ids

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(tmp_path, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    defaults = {"num_sanity_val_steps": 0, "default_root_dir": tmp_path, "enable_checkpointing": False}
    return pl.Trainer(**(quiet | defaults | options))


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory"),
    pytest.mark.filterwarnings("ignore:.*`isinstance.treespec"),
    pytest.mark.filterwarnings("ignore:.*fork"),
]


def test_properties_of_the_module(prepared):
    data = MotionDataModule(str(prepared), batch_size=4)
    mean, std = data.statistics
    assert mean.shape == std.shape == (263,) and (std > 0).all()
    assert (data.skeleton, data.num_features, data.fps) == ("humanml3d", 263, 20.0)
    batch = next(iter(data.train_dataloader()))
    assert len(batch) == 4 and batch.motion.shape[2] == 263
    assert len(data.train_dataloader()) == 20 // 4
    with pytest.raises(InputError, match="batch_size=0"):
        MotionDataModule(str(prepared), batch_size=0)


def test_caption_tables_of_the_module(tmp_path):
    root = write_layout(
        tmp_path / "set", {"a": 50, "b": 60, "c": 60, "d": 60, "e": 50, "f": 50, "g": 50, "h": 50, "i": 50}
    )
    texts = {
        "a": ["a person walks left#a/DET person/NOUN walk/VERB left/ADJ#0.0#0.0", "strolls#stroll/VERB#0.0#0.0"],
        "b": ["a person walks left#a/DET person/NOUN walk/VERB left/ADJ#0.0#0.0", "wanders"],
    }
    for name, lines in texts.items():
        (root / "texts" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (root / "train.txt").write_text("a\nb\n")
    (root / "val.txt").write_text("c\nd\ne\n")
    (root / "test.txt").write_text("f\ng\nh\ni\n")
    prepare(root, tmp_path / "out")
    data = MotionDataModule(str(tmp_path / "out"))
    assert data.caption_tokens("train") == {
        "a person walks left": "a/DET person/NOUN walk/VERB left/ADJ",
        "a person walks right": "a/DET person/NOUN walk/VERB right/ADJ",
        "strolls": "stroll/VERB",
        "wanders": "",
    }
    first = "a person walks left"
    assert data.plain_captions("train") == {
        first: first, "strolls": first, "wanders": first, "a person walks right": "a person walks right",
    }  # fmt: skip
    assert data.caption_tokens().keys() > data.caption_tokens("val").keys()


def test_all_loops_of_a_trainer(prepared, tmp_path):
    model, data = Watcher(), MotionDataModule(str(prepared), batch_size=2)
    t = trainer(tmp_path, max_epochs=1)
    t.fit(model, data)
    t.test(model, data, verbose=False)
    ids = [i for batch in t.predict(model, data) for i in batch]
    assert ids == (prepared / "test.txt").read_text().split()
    seen = [i for stage, _, ids, *_ in model.seen if stage == "train" for i in ids]
    assert sorted(seen) == (prepared / "train.txt").read_text().split()


def test_whole_takes_every_motion_once_whatever_its_length(tmp_path):
    lengths = {f"{i:06d}": 20 + 20 * i for i in range(12)}  # 20 to 240 frames of joints, one fewer of features
    prepare(write_layout(tmp_path / "layout", lengths), tmp_path / "out")
    found = {}
    for whole in (False, True):
        data = MotionDataModule(str(tmp_path / "out"), batch_size=4, whole=whole)
        batches = list(data.test_dataloader())
        ids = [i for batch in batches for i in batch.ids]
        found[whole] = dict(zip(ids, (int(n) for batch in batches for n in batch.lengths), strict=True))
        assert len(ids) == len(found[whole])
    split = (tmp_path / "out/test.txt").read_text().split()
    assert found[True] == {i: min(196, (lengths[i] - 1) // 4 * 4) for i in split}
    assert found[False] == {i: n for i, n in found[True].items() if 40 <= lengths[i] - 1 < 200}
    assert found[False] != found[True]


@pytest.mark.parametrize(  # inside an epoch of five batches, at its end, inside the second; workers prepare ahead
    ("workers", "stop"), [(0, 3), (0, 5), (0, 8), (2, 3)]
)
def test_a_resumed_run_sees_the_batches_of_an_uninterrupted_one(prepared, tmp_path, workers, stop):
    def run(until, resume=None):
        model, data = Watcher(), MotionDataModule(str(prepared), batch_size=4, num_workers=workers, seed=3)
        keep = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=1, save_on_train_epoch_end=False)
        t = trainer(tmp_path, max_steps=until, callbacks=[keep], enable_checkpointing=True, limit_val_batches=0)
        t.fit(model, data, ckpt_path=resume)
        if workers:  # that the garbage collector ends take five seconds each: their queues are closed before
            t.train_dataloader._loader._iterator._shutdown_workers()
        return model.seen

    whole = run(12)
    first = run(stop)
    rest = run(12, tmp_path / f"step={stop}.ckpt")
    assert first + rest == whole
    assert len({seeds for *_, seeds, _ in whole}) == 12


def test_resuming_after_validation_at_the_end_of_an_epoch(prepared, tmp_path):
    def run(epochs, resume=None):
        model, data = Watcher(), MotionDataModule(str(prepared), batch_size=4)
        keep = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
        t = trainer(tmp_path, max_epochs=epochs, callbacks=[keep], enable_checkpointing=True)
        t.fit(model, data, ckpt_path=resume)
        return [entry for entry in model.seen if entry[0] == "train"]

    whole = run(3)
    assert run(3, tmp_path / "epoch=0.ckpt") == whole[5:]


def test_the_position_of_a_loader_without_lightning(prepared):
    loader = MotionDataModule(str(prepared), batch_size=4).train_dataloader()
    whole = [batch.ids for _ in range(2) for batch in loader]
    loader = MotionDataModule(str(prepared), batch_size=4).train_dataloader()
    passing = iter(loader)
    next(passing), next(passing)
    state = loader.state_dict()
    other = MotionDataModule(str(prepared), batch_size=4).train_dataloader()
    other.load_state_dict(state)
    assert other.state_dict() == state == {"epoch": 0, "batch": 2, "global_batch": 4}
    assert [batch.ids for _ in range(2) for batch in other] == whole[2:]
    larger = MotionDataModule(str(prepared), batch_size=5).train_dataloader()
    with pytest.raises(InputError, match="global batch of 4, but 5 is set; continue with --data.global_batch_size 4"):
        larger.load_state_dict(state)
    del state["global_batch"]  # as version 0.1.0 wrote it
    larger.load_state_dict(state)
    assert larger.state_dict() == {"epoch": 0, "batch": 2, "global_batch": 5}


def test_a_pass_leaves_the_global_generator_alone(prepared):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(MotionDataModule(str(prepared), batch_size=4).train_dataloader())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this build of torch has no distributed package")
def test_two_processes_divide_the_batches_of_one(prepared, tmp_path):
    one = Watcher()
    trainer(tmp_path, max_epochs=2).fit(one, MotionDataModule(str(prepared), batch_size=4))
    two = Watcher(tmp_path)
    t = trainer(tmp_path, max_epochs=2, devices=2, strategy="ddp_fork")  # and nothing else set
    t.fit(two, MotionDataModule(str(prepared), batch_size=2))
    ranks = [[line.split() for line in (tmp_path / f"{r}.txt").read_text().splitlines()] for r in (0, 1)]
    assert [line[0] for line in ranks[0]] == [line[0] for line in ranks[1]]
    training = [[line[1].split(",") for line in rank if line[0] == "train"] for rank in ranks]
    expected = [list(ids) for stage, _, ids, *_ in one.seen if stage == "train"]
    assert training[0] == [ids[0::2] for ids in expected] and training[1] == [ids[1::2] for ids in expected]
    checked = [i for rank in ranks for line in rank if line[0] == "val" for i in line[1].split(",")]
    assert sorted(checked) == sorted((prepared / "val.txt").read_text().split() * 2)


@pytest.mark.parametrize(("given", "world", "own"), [
    ({}, 1, 64), ({}, 8, 64), ({"batch_size": 5}, 3, 5), ({"global_batch_size": 12}, 1, 12),
    ({"global_batch_size": 12}, 4, 3), ({"global_batch_size": 12, "batch_size": 3}, 4, 3),
])  # fmt: skip
def test_a_process_takes_its_part_of_the_global_batch(prepared, given, world, own):
    assert MotionDataModule(str(prepared), **given).process_batch(world) == own


@pytest.mark.parametrize(("given", "world", "told"), [
    ({"global_batch_size": 12}, 5, "global_batch_size=12 cannot be divided evenly among 5 processes; use a number of"),
    ({"global_batch_size": 12}, 24, "global_batch_size=12 cannot be divided evenly among 24 processes"),
    ({"global_batch_size": 12, "batch_size": 12}, 2, "a global batch of 24, but global_batch_size=12 is set"),
])  # fmt: skip
def test_a_global_batch_is_never_changed_silently(prepared, given, world, told):
    with pytest.raises(InputError, match=told):
        MotionDataModule(str(prepared), **given).process_batch(world)


def test_predictions_fill_a_batch_in_every_process(prepared):
    data = MotionDataModule(str(prepared), global_batch_size=3)
    assert len(next(iter(data.train_dataloader()))) == len(next(iter(data.predict_dataloader()))) == 3
    with pytest.raises(InputError, match="global_batch_size=0 must be at least 1"):
        MotionDataModule(str(prepared), global_batch_size=0)
