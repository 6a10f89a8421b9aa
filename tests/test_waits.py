"""No training or sampling step waits for the device."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import steer_parts
import torch
from device_parts import THERE, Device, Strategy, There, Waits, place, the_device
from lightning import Callback, Trainer
from task_parts import CAPTIONS, TinyData

from realign import transfer
from realign.batch import MotionTextBatch
from realign.callbacks import EMA
from realign.diffusion import FlowMatching
from realign.guidance import GuidanceConfig
from realign.guidance.objective import RewardObjective
from realign.guidance.steering import RewardSteering
from realign.losses.geometric import GeometricLoss
from realign.nn import ConvVAE, MdmDenoiser, MldDenoiser, TransformerReward
from realign.tasks import GeneratorTask, RetrieverTask, RewardTask, Task, VAETask
from realign.text.hashing import HashingEncoder
from realign.trainer import RunTrainer
from realign.transfer import upload

STEPS, LOGGED = 5, 3


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with the_device(monkeypatch):
        yield


class Pinned(TinyData):
    """As a loader with pin_memory gives them."""

    def collate(self, items: list) -> MotionTextBatch:
        return super().collate(items).pin_memory()


def vae() -> Task:
    return VAETask(ConvVAE(263, 4, 8, (1,)), joint_weight=0.1, geometric=GeometricLoss(), skeleton="humanml3d")


def generator(kind: str) -> Task:
    home = steer_parts.space(kind == "latent")
    denoiser = (MldDenoiser if kind == "latent" else MdmDenoiser)(home.width, 8, 16, 1, 2, 32, conditioning="tokens")
    noise: dict[str, Any] = {"path": FlowMatching()} if kind == "flow" else {"scheduler": steer_parts.noise()}
    weights: dict[str, Any] = {} if kind == "latent" else {"velocity_weight": 0.5}
    if kind == "feature":
        weights["geometric"] = GeometricLoss()
    return GeneratorTask(denoiser, home, HashingEncoder(8), skeleton="humanml3d", **noise, **weights)


def embedding(kind: str) -> Task:
    home = steer_parts.space(kind == "latent")
    sizes = {"embedding": 16, "hidden": 16, "layers": 1, "heads": 2, "feedforward": 32, "decoder_layers": 1}
    model = TransformerReward(home.width, 8, **sizes, patch=1 if kind == "latent" else 4)
    if kind == "retriever":
        options = {"sentence_encoder": HashingEncoder(4), "hard_negative_weight": 0.1}
        return RetrieverTask(model, home, HashingEncoder(8), skeleton="humanml3d", **options)
    return RewardTask(
        model, home, HashingEncoder(8), steer_parts.noise(), skeleton="humanml3d", paired=kind == "paired"
    )


TRAINED = {
    "vae": vae,
    **{f"generator {kind}": lambda kind=kind: generator(kind) for kind in ("feature", "latent", "flow")},
    **{f"reward {kind}": lambda kind=kind: embedding(kind) for kind in ("latent", "paired")},
    "retriever": lambda: embedding("retriever"),
}


class Steps(Callback):
    """What was waited for from the start of each step to that of the next one."""

    def __init__(self, waits: Waits) -> None:
        self.waits, self.steps = waits, []

    def on_train_batch_start(self, trainer: Trainer, task: Task, batch: MotionTextBatch, *_: Any) -> None:
        assert all(isinstance(each, There) for each in (batch.motion, *task.parameters()))
        self.steps.append(self.waits.found.copy())

    def between(self) -> list[Counter[str]]:
        return [after - before for before, after in zip(self.steps, self.steps[1:], strict=False)]


def fit(folder: Path, task: Task) -> list[Counter[str]]:
    with Waits() as waits:
        steps = Steps(waits)
        trainer = RunTrainer(
            default_root_dir=folder, strategy=Strategy(), max_steps=STEPS, limit_val_batches=0,
            log_every_n_steps=LOGGED, enable_checkpointing=False, enable_model_summary=False, gradient_clip_val=1.0,
            callbacks=[EMA(0.9), steps],
        )  # fmt: skip
        trainer.fit(task, Pinned(count=4 * STEPS))
    return steps.between()


@pytest.mark.parametrize("kind", TRAINED)
def test_a_training_step_waits_for_nothing_but_where_its_losses_are_logged(
    there: None, tmp_path: Path, kind: str
) -> None:
    torch.manual_seed(0)
    found = fit(tmp_path, TRAINED[kind]())
    assert len(found) == STEPS - 1
    for step, waits in enumerate(found[1:], start=2):  # the first step makes what later ones keep
        logged = step % LOGGED == 0
        assert all(each.startswith("read") for each in waits), (step, waits)
        assert bool(waits) == logged and sum(waits.values()) <= 12, (step, waits)


SAMPLED = {
    "ddim": ("feature", "ddim", {}),
    "ddpm, constant noise": ("latent", "ddpm", {"point": "x_t", "norm": "clip", "profile": "noise"}),
    "ddpm, the update of the paper": ("feature", "ddpm", {"update": "ddpm", "norm": "normalize"}),
    "ddim, through the decoder": ("decoder", "ddim", {}),
    "ddim, as the release of ReAlign": ("latent", "ddim", {"preset": "realign-release"}),
    "dpm": ("latent", "dpm", {}),
    "unipc": ("feature", "unipc", {}),
    "euler": ("flow", "euler", {}),
    "heun": ("flow", "heun", {}),
}


@pytest.mark.parametrize("kind", SAMPLED)
def test_steps_of_guided_sampling_wait_for_nothing(there: None, kind: str) -> None:
    home, scheduler, options = SAMPLED[kind]
    latent = home in ("latent", "decoder")
    noise: dict[str, Any] = {"path": FlowMatching(), "scheduler": None} if home == "flow" else {}
    model = steer_parts.generator(latent, guidance_scale=2.0, **noise) if not noise else flow_generator()
    reward = steer_parts.reward(home == "latent", decoder_layers=1)
    config = GuidanceConfig.of({"start": 0.0, "interval": 1, "through_decoder": home == "decoder", **options})
    with Device():
        steering = RewardSteering(RewardObjective(place(reward), None, config))
        lengths, seeds, words = torch.tensor([24, 16, 12], device=THERE), torch.arange(3), CAPTIONS[:3]
        steering.sample(place(model), words, lengths, seeds, steps=2, scheduler=scheduler)  # warms up
    counts = []
    for steps in (3, 5):
        with Waits() as waits:
            out = steering.sample(model, words, lengths, seeds, steps=steps, scheduler=scheduler)
        assert isinstance(out, There)
        counts.append(waits.found)
    assert counts[0] == counts[1] and sum(counts[0].values()) <= 6  # lengths, mask, statistics


def flow_generator() -> GeneratorTask:
    task = generator("flow").eval()
    task.normalizer.fit(*TinyData().statistics)
    return task


def test_what_waits_is_counted(there: None) -> None:
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


def test_uploads_are_pinned_for_devices_that_read_pinned_memory_alone(there: None, monkeypatch) -> None:
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
