import math
from pathlib import Path

import pytest
import torch
from task_parts import CAPTIONS, CHANNELS, TinyData, command, one_batch

from realign.checkpoint import load_model
from realign.errors import InputError
from realign.evaluators import ContrastiveEvaluator, GuoEvaluator, TrainedEvaluator
from realign.interfaces import MotionTextModel
from realign.losses import InfoNCE, MarginContrast
from realign.tasks import EvaluatorTask, RewardTask, load_task, save_pretrained
from realign.training import TrainingCLI

SIZES = {"embedding": 8, "hidden": 16, "layers": 1, "heads": 2, "feedforward": 16, "vocabulary": 32, "buckets": 4}
GUO = {"embedding": 16, "movement": 32, "motion_hidden": 32, "text_hidden": 16, "word_width": 16, "vocabulary": 32}


class TaggedData(TinyData):
    """Tiny data with a motion for each caption, cut to several lengths; "run" and "jump" name the same motion."""

    def __init__(self, count: int = 8, batch_size: int = 4) -> None:
        super().__init__(count, batch_size)
        self.motions.phases = self.motions.phases[torch.arange(count) % len(CAPTIONS)]

    def caption_tokens(self, split: str = "all") -> dict[str, str]:
        return {caption: " ".join(f"{word}/VERB" for word in caption.split()) for caption in CAPTIONS}

    def plain_captions(self, split: str = "all") -> dict[str, str]:
        return {caption: caption for caption in CAPTIONS} | {"jump": "run"}


def options(kind: str = "contrastive", **changed: int) -> dict:
    evaluator = {
        "contrastive": {"class_path": "realign.evaluators.ContrastiveEvaluator", "init_args": SIZES | changed},
        "guo": {"class_path": "realign.evaluators.GuoEvaluator", "init_args": GUO | changed},
    }[kind]
    loss = {
        "contrastive": {"class_path": "realign.losses.InfoNCE"},
        "guo": {"class_path": "realign.losses.MarginContrast", "init_args": {"margin": 3.0}},
    }[kind]
    adam = {"class_path": "torch.optim.Adam", "init_args": {"lr": 3e-3}}
    parts = {"evaluator": evaluator, "contrast": loss, "optimizer": adam}
    return {"class_path": "EvaluatorTask", "init_args": parts}


def build(**changed: int) -> EvaluatorTask:
    torch.manual_seed(0)
    task = EvaluatorTask(ContrastiveEvaluator(**(SIZES | changed)), InfoNCE(), skeleton="humanml3d")
    task.normalizer.fit(*TinyData().statistics)
    return task.eval()


@pytest.fixture(scope="module", params=["contrastive", "guo"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainingCLI:
    folder = tmp_path_factory.mktemp(request.param)
    data = {"class_path": "test_evaluator_task.TaggedData", "init_args": {"count": 40, "batch_size": 20}}
    words = command(folder, options(request.param), data, max_epochs=30, num_sanity_val_steps=0)
    return TrainingCLI.from_args(["fit", *words], run=True)


def test_training_learns_and_logs_the_precision_of_recorded_motions(trained: TrainingCLI) -> None:
    metrics, task = trained.trainer.callback_metrics, trained.model.eval()
    assert {"train/loss", "val/loss", "val/r1", "val/r2", "val/r3"} <= metrics.keys()
    torch.manual_seed(0)
    start = TrainingCLI.from_args(
        command(Path(trained.trainer.default_root_dir) / "start", options_of(task)), run=False
    )
    start.model.normalizer.fit(*TinyData().statistics)
    data = TaggedData(40)
    batch = data.collate([data.motions[row] for row in range(40)])
    with torch.no_grad():
        assert task.losses(batch, "val")["loss"] < 0.9 * start.model.eval().losses(batch, "val")["loss"]
    (found,) = trained.trainer.validate(task, trained.datamodule, verbose=False)
    assert found["val/r3"] >= found["val/r2"] >= found["val/r1"] > 0.5  # by chance .125: 5 of 40 are right


def options_of(task: EvaluatorTask) -> dict:
    return options("guo" if isinstance(task.evaluator, GuoEvaluator) else "contrastive")


def test_precision_is_by_euclidean_distance_in_small_batches(tmp_path: Path) -> None:
    task = build()
    batch = one_batch(20)
    for rows in (slice(0, 12), slice(12, 20)):
        task._observe(batch[rows])
    found = task.precision.compute()
    text, motion = task.embed_captions(batch.captions), task.embed_motions(batch.motion, batch.lengths)
    hits = [0, 0, 0]
    for i in range(20):
        distances = [math.dist(text[i].tolist(), motion[j].tolist()) for j in range(20)]
        ranked = sorted(range(20), key=lambda j: distances[j])
        for k in range(3):
            hits[k] += any(batch.captions[j] == batch.captions[i] for j in ranked[: k + 1])
    assert [float(found[f"R@{k}"]) for k in (1, 2, 3)] == pytest.approx([hit / 20 for hit in hits])


def test_a_checkpoint_and_an_export_are_the_same_frozen_evaluator(trained: TrainingCLI, tmp_path: Path) -> None:
    checkpoint = load_task(next(Path(trained.trainer.default_root_dir).rglob("*.ckpt")), EvaluatorTask)
    exported = load_task(save_pretrained(checkpoint, tmp_path / "out"), EvaluatorTask)
    batch = one_batch(6)
    expected = trained.model.eval().embed_motions(batch.motion, batch.lengths)
    alone = load_model(tmp_path / "out", MotionTextModel)
    assert isinstance(alone, TrainedEvaluator)
    for task in (checkpoint, exported, alone):
        assert task.fingerprint == trained.model.fingerprint and not task.training
        assert task.skeleton == "humanml3d" and task.evaluator.words.ready
        motion, text = task.embed_motions(batch.motion, batch.lengths), task.embed_captions(batch.captions)
        assert torch.equal(motion, expected) and not motion.requires_grad and not text.requires_grad
    with pytest.raises(InputError, match="holds a EvaluatorTask, but a RewardTask"):
        load_task(tmp_path / "out", RewardTask)


def test_raw_motions_are_normalised_by_the_statistics_of_the_evaluator() -> None:
    task = build()
    mean, std = torch.linspace(-1, 1, CHANNELS), torch.linspace(0.5, 2, CHANNELS)
    task.normalizer.fit(mean, std)
    batch = one_batch(3)
    motion = batch.motion.clone()
    motion[2, batch.lengths[2] :] = torch.nan  # values after the end do not matter
    normal = (batch.motion - mean) / std
    for row, length in enumerate(batch.lengths.tolist()):
        normal[row, length:] = 0
    found, expected = task.embed_motions(motion, batch.lengths), task.evaluator.embed_motion(normal, batch.lengths)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_captions_come_in_order_also_when_some_are_equal() -> None:
    task = build()
    found = task.embed_captions(["run", "walk", "run", "kick"])
    for row, caption in enumerate(["run", "walk", "run", "kick"]):
        torch.testing.assert_close(found[row], task.embed_captions([caption])[0], rtol=0, atol=1e-5)


def test_the_fingerprint_depends_on_weights_statistics_and_sizes() -> None:
    start = build().fingerprint
    assert start == build().fingerprint and start.startswith("evaluator/")
    moved, scaled, other = build(), build(), build(heads=4)
    with torch.no_grad():
        moved.evaluator.motion_tower.positions[0, 0] += 1e-3
    scaled.normalizer.fit(scaled.normalizer.mean, scaled.normalizer.std * 1.01)
    assert len({start, moved.fingerprint, scaled.fingerprint, other.fingerprint}) == 4


def test_clips_with_equal_first_captions_are_not_negatives() -> None:
    task = build()
    batch = one_batch(8)  # eight different captions
    with torch.no_grad():
        text, motion = task.evaluator.embed_text(batch.captions), task.embed_motions(batch.motion, batch.lengths)
        alone = float(task.losses(batch, "val")["loss"])
        task._plain = TaggedData().plain_captions()
        spared = float(task.losses(batch, "val")["loss"])
    excluded = torch.zeros(8, 8, dtype=torch.bool)
    assert alone == pytest.approx(float(InfoNCE()(text, motion, excluded)), abs=1e-5)
    run, jump = CAPTIONS.index("run"), CAPTIONS.index("jump")
    excluded[run, jump] = excluded[jump, run] = True
    assert spared == pytest.approx(float(InfoNCE()(text, motion, excluded)), abs=1e-5) != alone


def test_the_vocabulary_of_the_data_is_used(trained: TrainingCLI) -> None:
    known = trained.model.evaluator.words.find(["walk", "left", "kick", "nothing"])[1]
    assert known.tolist() == [True, True, True, False]
    if isinstance(trained.model.evaluator, GuoEvaluator):
        tagged = trained.model.embed_captions(["walk"])
        fresh = load_task(next(Path(trained.trainer.default_root_dir).rglob("*.ckpt")), EvaluatorTask)
        plain = fresh.embed_captions(["walk"])
        fresh.take_tokens({"walk": "walk/VERB"})
        assert torch.equal(fresh.embed_captions(["walk"]), tagged)
        assert torch.equal(plain, tagged)  # a word of a list has the tag of the list, whatever the data say
        fresh.take_tokens({"kick": "a/DET"})
        assert not torch.equal(fresh.embed_captions(["kick"]), trained.model.embed_captions(["kick"]))


def test_a_margin_evaluator_trains_on_equal_embeddings_too() -> None:
    torch.manual_seed(0)
    task = EvaluatorTask(GuoEvaluator(**GUO), MarginContrast(), skeleton="humanml3d")
    task.normalizer.fit(*TinyData().statistics)
    batch = one_batch(4)
    batch.motion[:], batch.captions[:] = 0.1, ["walk"] * 4
    task.losses(batch, "train")["loss"].backward()
    assert all(torch.isfinite(each.grad).all() for each in task.parameters() if each.grad is not None)
