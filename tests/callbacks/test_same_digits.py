"""An evaluator gives the same digits in `realign test`, `realign evaluate` and a callback, at any precision."""

from pathlib import Path

import pytest
import torch
from lightning import Trainer
from steer_parts import generator
from torch import Tensor

from realign.callbacks import RewardGuidedSampling
from realign.data import ProceduralDataModule
from realign.evaluation.clips import EvaluationClips
from realign.evaluation.models import EvaluationModels, load_evaluator
from realign.metrics.generation_metric import GenerationMetrics
from realign.metrics.retrieval_metric import RetrievalMetrics
from realign.precision import use_tensor_cores
from realign.tasks import load_task

Found = dict[str, tuple[Tensor, Tensor]]
"""Embeddings of caption and recorded motion by clip."""


@pytest.fixture(autouse=True)
def as_while_training():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    use_tensor_cores()
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def note(found: Found, ids: list[str], text: Tensor, motion: Tensor) -> None:
    found |= {name: pair for name, *pair in zip(ids, text.clone(), motion.clone(), strict=True)}


def trainer(root: Path, precision: str, *callbacks) -> Trainer:
    return Trainer(
        accelerator="cpu", precision=precision, logger=False, enable_progress_bar=False, default_root_dir=root,
        enable_model_summary=False, enable_checkpointing=False, callbacks=list(callbacks),
    )  # type: ignore[arg-type]  # fmt: skip


def by_test(folder: Path, name: str, data: ProceduralDataModule, precision: str, monkeypatch) -> tuple[Found, dict]:
    """Embeddings and metrics of `realign test` with the evaluator or reward."""
    found: Found = {}
    kind = GenerationMetrics if name in ("guo", "contrastive") else RetrievalMetrics
    update = kind.update

    def noting(self, text, motion, ids, captions):
        if not found.keys() & set(ids):  # a reward embeds clean motions first, then noisy ones
            note(found, ids, text, motion)
        update(self, text, motion, ids, captions)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "update", noting)
        (logged,) = trainer(folder, precision).test(load_task(folder / name), data, verbose=False)
    return found, logged


def by_callback(folder: Path, name: str, data: ProceduralDataModule, precision: str, monkeypatch) -> Found:
    """Embeddings of the callback in a generator's test."""
    found: Found = {}
    update = GenerationMetrics.update

    def noting(self, text, motion, ids, captions, recorded):
        if self is watch._metrics["guided"].metrics["reward" if name == "reward" else "evaluator"]:
            note(found, ids, text, recorded)
        update(self, text, motion, ids, captions, recorded)

    monkeypatch.setattr(GenerationMetrics, "update", noting)
    other = None if name == "reward" else str(folder / name)
    watch = RewardGuidedSampling(str(folder / "reward"), clips=0, evaluator=other)
    trainer(folder, precision, watch).test(generator(steps=2), data, verbose=False)
    return found


def by_evaluate(folder: Path, name: str, data: ProceduralDataModule) -> Found:
    """Embeddings of an evaluation."""
    embedders = EvaluationModels({name: load_evaluator(folder / name)}, EvaluationClips(data.data), torch.device("cpu"))
    found: Found = {}
    with torch.autocast("cpu", torch.bfloat16):
        for batch in data.test_dataloader():
            note(
                found,
                batch.ids,
                embedders.text(name, batch.captions),
                embedders.motions(name, batch.motion, batch.lengths),
            )
    return found


@pytest.mark.filterwarnings("ignore:.*have no parts of speech")
@pytest.mark.parametrize("name", ["guo", "contrastive", "reward"])
def test_the_three_paths_agree_in_every_precision(tmp_path: Path, models: Path, name: str, monkeypatch) -> None:
    data = ProceduralDataModule(folder=str(models / "data"))
    expected, logged = by_test(models, name, data, "32-true", monkeypatch)
    assert len(expected) > 8
    mixed, log = by_test(models, name, data, "bf16-mixed", monkeypatch)
    assert log == pytest.approx(logged, rel=1e-6)
    paths = {"test": mixed, "evaluate": by_evaluate(models, name, data)}
    paths["callback"] = by_callback(models, name, data, "bf16-mixed", monkeypatch)
    for path, found in paths.items():
        assert found.keys() == expected.keys(), path
        for clip, pair in expected.items():
            for own, other in zip(found[clip], pair, strict=True):
                assert own.dtype == torch.float32
                torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-5, msg=f"{path}, {clip}")
