"""No training or sampling step waits for the device."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from device_parts import THERE, Device, Strategy, There, Waits, place, the_device
from lightning import Callback, Trainer
from step_parts import SAMPLED, STEPS, TRAINED, Pinned, Sampling
from task_parts import CAPTIONS
from torch import nn

from realign import transfer
from realign.batch import MotionTextBatch
from realign.callbacks import EMA
from realign.guidance import RewardTrace
from realign.tasks import Task
from realign.text.hashing import HashingEncoder
from realign.trainer import RunTrainer
from realign.transfer import upload

LOGGED = 3


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with the_device(monkeypatch):
        yield


class Steps(Callback):
    """Waits from the start of each step to the start of the next."""

    def __init__(self, waits: Waits) -> None:
        self.waits, self.steps = waits, []

    def on_train_batch_start(self, trainer: Trainer, task: Task, batch: MotionTextBatch, *_: Any) -> None:
        assert all(isinstance(each, There) for each in (batch.motion, *task.parameters()))
        self.steps.append(self.waits.found.copy())

    def between(self) -> list[Counter[str]]:
        return [after - before for before, after in zip(self.steps, self.steps[1:], strict=False)]


def fit(folder: Path, task: Task, kept: bool = False) -> list[Counter[str]]:
    data = Pinned(count=4 * STEPS, encoder=HashingEncoder(8) if kept else None)
    assert not kept or data.encoder.fingerprint == task.text_encoder.fingerprint
    with Waits() as waits:
        steps = Steps(waits)
        trainer = RunTrainer(
            default_root_dir=folder, strategy=Strategy(), max_steps=STEPS, limit_val_batches=0,
            log_every_n_steps=LOGGED, enable_checkpointing=False, enable_model_summary=False, gradient_clip_val=1.0,
            callbacks=[EMA(0.9), steps],
        )  # fmt: skip
        trainer.fit(task, data)
    return steps.between()


KEPT = ("generator latent", "reward paired")


@pytest.mark.parametrize(("kind", "kept"), [*((kind, False) for kind in TRAINED), *((kind, True) for kind in KEPT)])
def test_a_training_step_waits_only_to_log_losses(there: None, tmp_path: Path, kind: str, kept: bool) -> None:
    torch.manual_seed(0)
    found = fit(tmp_path, TRAINED[kind](), kept)
    assert len(found) == STEPS - 1
    for step, waits in enumerate(found[1:], start=2):  # the first step makes what later ones keep
        logged = step % LOGGED == 0
        assert all(each.startswith("read") for each in waits), (step, waits)
        assert bool(waits) == logged and sum(waits.values()) <= 12, (step, waits)


@pytest.mark.parametrize("kind", SAMPLED)
def test_steps_of_guided_sampling_do_not_wait(there: None, kind: str) -> None:
    with Device():
        sample = Sampling(kind, lambda each: place(each) if isinstance(each, nn.Module) else each.to(THERE))
        sample(2)  # makes what later calls keep
    counts = []
    for steps in (3, 5):
        with Waits() as waits:
            assert isinstance(sample(steps), There)
        counts.append(waits.found)
    assert counts[0] == counts[1] and sum(counts[0].values()) <= 6  # lengths, mask, statistics


def test_recording_rewards_does_not_wait(there: None) -> None:
    with Device():
        sampling = Sampling("ddim", lambda each: place(each) if isinstance(each, nn.Module) else each.to(THERE))
        guidance = sampling.steering.guidance(sampling.model, CAPTIONS[:3], sampling.lengths)
        trace, counts = RewardTrace(guidance), []
        for steps in (2, 3, 5):  # the first makes what later calls keep
            with Waits() as waits:
                sampling.model.sample(CAPTIONS[:3], sampling.lengths, torch.arange(3), guidance=trace, steps=steps)
            counts.append(waits.found)
    assert counts[1] == counts[2] and len(trace.timesteps) == 5


def test_waits_are_counted(there: None) -> None:
    calls = {
        "read": (lambda x: x.sum().item(), lambda x: bool((x > 0).any()), lambda x: int(x[0]),
            lambda x: torch.equal(x, x),
            lambda x: torch.linalg.solve(torch.eye(3, device=THERE), x),
        ),
        "download": (lambda x: x.cpu(), lambda x: x.tolist(), lambda x: torch.zeros(3).copy_(x)),
        "upload": (
            lambda x: torch.zeros(3).to(THERE), lambda x: torch.tensor([1.0, 2.0, 3.0], device=THERE),
            lambda x: x.new_tensor([1.0]), lambda x: x[[0, 1]], lambda x: x[torch.tensor([0, 1])],
            lambda x: x.copy_(torch.zeros(3)), lambda x: torch.zeros(3).to(THERE, non_blocking=True),
            lambda x: torch.zeros(3).pin_memory().to(THERE),
        ),
        "shape by data": (lambda x: x[x > 0], lambda x: x.nonzero(), lambda x: x.unique()),
        "": (
            lambda x: x[torch.arange(2, device=THERE)], lambda x: x[1:], lambda x: x * torch.tensor(2.0),
            lambda x: torch.full((3,), 2.0, device=THERE), lambda x: upload(torch.zeros(3), THERE),
        ),
    }  # fmt: skip
    for kind, each in calls.items():
        for number, call in enumerate(each):
            x = There(torch.tensor([1.0, 2.0, 3.0]))
            with Waits() as waits:
                call(x)
            assert [name.startswith(kind) for name in waits.found] == ([True] if kind else []), (
                kind,
                number,
                waits.found,
            )


def test_uploads_are_pinned_only_for_devices_that_need_it(there: None, monkeypatch) -> None:
    values, batch = torch.arange(3), Pinned().train_dataloader()
    assert upload(values, None) is values and upload(values, "cpu") is values
    with Device():
        assert torch.equal(upload(values, THERE).cpu(), values)
        first = next(iter(batch))
        assert first.motion.is_pinned() and first.lengths.is_pinned()
        moved = first.to(THERE)
        assert moved.motion.device == moved.lengths.device == THERE and moved.seeds.device.type == "cpu"
    monkeypatch.setattr(transfer, "PINNED", set())
    with Waits() as waits:
        upload(values, THERE)
    assert sum(waits.found.values()) == 1
