"""What only a GPU shows: steps that wait for it raise, also in bfloat16, with a fused optimiser and compiled."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback
from step_parts import SAMPLED, STEPS, TRAINED, Pinned, Sampling
from task_parts import TinyData

from realign.callbacks import EMA
from realign.nn.compiled import compile_networks
from realign.trainer import RunTrainer

DEVICE = torch.device(os.environ.get("REALIGN_TEST_DEVICE", "cuda"))
GPU = DEVICE.type == "cuda"
pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("gpu")]


def raise_at_waits(on: bool) -> None:
    if GPU:
        torch.cuda.set_sync_debug_mode("error" if on else "default")


class Strict(Callback):
    """From the third step to the last one, a wait raises; at its end the run stops, which waits."""

    def on_train_batch_start(self, *args: Any) -> None:
        if args[-1] == 2:
            raise_at_waits(True)

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == STEPS:
            raise_at_waits(False)


def fit(folder: Path, kind: str, compiled: bool = False, **options: Any) -> RunTrainer:
    torch.manual_seed(0)
    task = TRAINED[kind]()
    if compiled:
        compile_networks(task, backend="inductor" if GPU else "aot_eager")
    trainer = RunTrainer(
        default_root_dir=folder, accelerator="gpu" if GPU else "cpu", devices=1, max_steps=STEPS, limit_val_batches=0,
        logger=False, log_every_n_steps=100, enable_checkpointing=False, enable_model_summary=False,
        gradient_clip_val=1.0, callbacks=[EMA(0.9), Strict()], **options,
    )  # fmt: skip
    try:
        trainer.fit(task, (Pinned if GPU else TinyData)(count=4 * STEPS))
    finally:
        raise_at_waits(False)
    assert torch.isfinite(trainer.callback_metrics["train/loss"])
    return trainer


@pytest.mark.parametrize("precision", ["32-true", "auto"])
@pytest.mark.parametrize("kind", TRAINED)
def test_a_training_step_waits_for_nothing(tmp_path: Path, kind: str, precision: Any) -> None:
    trainer = fit(tmp_path, kind, precision=precision)
    assert trainer.precision == ("bf16-mixed" if GPU and precision == "auto" else "32-true")
    assert [group["fused"] for group in trainer.optimizers[0].param_groups] == [True if GPU else None]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_a_compiled_training_step_waits_for_nothing(tmp_path: Path) -> None:
    fit(tmp_path, "generator latent", compiled=True)


@pytest.mark.parametrize("kind", SAMPLED)
def test_steps_of_guided_sampling_do_not_wait(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = Sampling(kind, lambda each: each.to(DEVICE))
    expected = sample(3)  # makes what later calls keep
    bind = type(sample.model).predictor

    def predictor(*args: Any) -> Any:
        predict = bind(*args)
        return lambda x_t, t: (raise_at_waits(True), predict(x_t, t))[1]  # from where the steps begin

    monkeypatch.setattr(type(sample.model), "predictor", predictor)
    try:
        found = sample(3)
    finally:
        raise_at_waits(False)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
