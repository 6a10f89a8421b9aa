"""Text features that training reads from files."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler
from lightning import Callback, Trainer
from text_parts import Counting, assert_half

from realign.data import ProceduralDataModule
from realign.nn import FeatureSpace, MdmDenoiser, TransformerReward
from realign.tasks import GeneratorTask, RewardTask, Task
from realign.text import CachedTextEncoder, HashingEncoder

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*`isinstance.treespec"),
    pytest.mark.filterwarnings("ignore:.*fork"),
]
NOISE = {"num_train_timesteps": 100, "clip_sample": False}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REALIGN_CACHE", str(tmp_path / "cache"))


def generator(conditioning: str = "tokens", kept: bool = True) -> GeneratorTask:
    torch.manual_seed(0)
    encoder = CachedTextEncoder(Counting()) if kept else HashingEncoder(8)
    denoiser = MdmDenoiser(263, 8, 16, 1, 2, 16, 0.0, conditioning=conditioning, patch=4)
    options = {"text_dropout": 0.3, "steps": 2, "sampling_scheduler": "ddim", "skeleton": "humanml3d"}
    return GeneratorTask(denoiser, FeatureSpace(), encoder, DDPMScheduler(**NOISE), **options)


def reward(kept: bool = True) -> RewardTask:
    torch.manual_seed(0)
    model = TransformerReward(263, 8, 8, 16, 1, 2, 16, 0.0, decoder_layers=1, patch=4)
    encoders = [CachedTextEncoder(Counting(width)) if kept else HashingEncoder(width) for width in (8, 4)]
    options = {"sentence_encoder": encoders[1], "skeleton": "humanml3d"}
    return RewardTask(model, FeatureSpace(), encoders[0], DDPMScheduler(**NOISE), **options)


class Losses(Callback):
    def __init__(self) -> None:
        self.values, self.text = [], []

    def on_train_batch_end(self, trainer, task, outputs, batch, _) -> None:
        self.values.append(outputs["loss"].item())
        self.text.append(sorted(batch.text))

    def on_validation_batch_end(self, trainer, task, outputs, batch, *_) -> None:
        task.predict_step(batch, 0)


def fit(folder: Path, task: Task, **options) -> Losses:
    told = Losses()
    data = ProceduralDataModule(12, batch_size=4, folder=str(folder / "set"), num_workers=options.pop("num_workers", 0))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(
        default_root_dir=folder,
        max_steps=3,
        val_check_interval=1,
        enable_checkpointing=False,
        callbacks=[told],
        **quiet,
    )
    trainer.fit(task, data)
    trainer.validate(task, data, verbose=False)
    return told


@pytest.mark.parametrize("make", [generator, reward])
def test_the_second_run_encodes_nothing_and_opens_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make
) -> None:
    def refuse(*args, **options):
        raise AssertionError("a database was opened")

    monkeypatch.setattr(Trainer, "validate", lambda *args, **options: None)
    monkeypatch.setattr(sqlite3, "connect", refuse)
    first, second = make(), make()
    values = fit(tmp_path, first).values
    assert len(first.text_encoder.encoder.asked) > 12
    again = fit(tmp_path, second, num_workers=1)
    assert second.text_encoder.encoder.asked == [] and again.values == values
    names = ["hashing/8"] if make is generator else ["hashing/4", "hashing/8"]
    assert again.text == [names] * len(values)
    found = {path.parent.name.rpartition("-")[2]: path for path in (tmp_path / "set" / "text").rglob("features.npy")}
    assert sorted(found) == (["words"] if make is generator else ["sentences", "words"])


@pytest.mark.parametrize("make", [generator, reward])
def test_the_file_changes_training_by_rounding_only(tmp_path: Path, make) -> None:
    kept, exact = fit(tmp_path, make()), fit(tmp_path, make(kept=False))
    assert exact.text == [[]] * len(exact.values) and kept.values != exact.values
    torch.testing.assert_close(torch.tensor(kept.values), torch.tensor(exact.values), rtol=1e-3, atol=1e-4)


def test_only_pooled_features_are_kept_for_a_model_without_words(tmp_path: Path) -> None:
    assert fit(tmp_path, generator("pooled")).values
    (path,) = (tmp_path / "set" / "text").iterdir()
    assert path.name.endswith("-sentences")


def test_other_captions_and_the_empty_one_are_read(tmp_path: Path) -> None:
    task = generator()
    data = ProceduralDataModule(12, batch_size=4, folder=str(tmp_path / "set"))
    tables = data.read_text(task.text_readers())
    batch = next(iter(data.train_dataloader()))
    exact = HashingEncoder(8)
    task._tables = tables
    asked = len(task.text_encoder.encoder.asked)
    both = task.read_text(batch, empty=True)
    assert_half(both.pooled, exact([*batch.captions, ""]).pooled)
    assert_half(both.tokens, exact([*batch.captions, ""]).tokens)
    assert_half(task.encode_text(batch.captions[:2]).tokens, exact(batch.captions[:2]).tokens)
    assert len(task.text_encoder.encoder.asked) == asked
    changed = replace(batch, captions=["a person bows", *batch.captions[1:]])
    assert torch.equal(task.read_text(changed).tokens, exact(changed.captions).tokens)
    task._tables = {}  # as metrics do
    assert torch.equal(task.encode_text(batch.captions).tokens, exact(batch.captions).tokens)
