"""Moving averages of trained weights only."""

from pathlib import Path

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from steer_parts import generator
from task_parts import CAPTIONS, TinyData
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from realign.callbacks import EMA
from realign.errors import InputError
from realign.evaluators import GuoEvaluator
from realign.losses import MarginContrast
from realign.tasks import EvaluatorTask, Task
from realign.text.hashing import HashingEncoder

pytestmark = pytest.mark.filterwarnings("ignore:The dirpath has changed")
DECAY = 0.7


def guo() -> EvaluatorTask:
    torch.manual_seed(0)
    sizes = {"movement": 8, "motion_hidden": 8, "text_hidden": 8, "embedding": 8, "word_width": 8, "vocabulary": 16}
    task = EvaluatorTask(GuoEvaluator(263, **sizes), MarginContrast(), skeleton="humanml3d")
    task.evaluator.learn_words(CAPTIONS)
    return task


def latent() -> Task:
    task = generator(latent=True)
    task.text_encoder = Counting(8)
    return task


class Counting(HashingEncoder):
    """With a table of whole numbers, as a vocabulary is, and a parameter that never trains."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.register_buffer("table", torch.arange(7) + (1 << 60))
        self.frozen = nn.Parameter(torch.linspace(0, 1, 7), requires_grad=False)


class Plain(Callback):
    """The averages by a plain loop, in float64."""

    def __init__(self) -> None:
        self.average: dict[str, torch.Tensor] = {}
        self.live: dict[str, torch.Tensor] = {}
        self.steps = 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.steps:
            return
        self.steps = trainer.global_step
        for name, value in pl_module.named_parameters():
            self.live[name] = value.detach().clone()
            if value.requires_grad:
                old = self.average.get(name, value.detach().double())
                self.average[name] = DECAY * old + (1 - DECAY) * value.detach().double()


class Seen(Callback):
    """The weights that validation saw."""

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0) -> None:
        self.state = {name: value.clone() for name, value in pl_module.state_dict().items()}


def train(
    folder: Path, task: Task, *callbacks: Callback, steps: int = 6, resume: Path | None = None, **options
) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(
        default_root_dir=folder, max_steps=steps, callbacks=list(callbacks), num_sanity_val_steps=0,
        **{"enable_checkpointing": False, **quiet, **options},
    )  # fmt: skip
    trainer.fit(task, TinyData(count=12, batch_size=4), ckpt_path=resume, weights_only=True)
    return trainer


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (latent, {}),
        (latent, {"accumulate_grad_batches": 2, "precision": "bf16-mixed"}),
        (guo, {"precision": "bf16-mixed"}),
    ],
)
def test_only_trained_weights_are_averaged(tmp_path: Path, make, options) -> None:
    plain, seen, task = Plain(), Seen(), make()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    trained = {name for name, value in task.named_parameters() if value.requires_grad}
    trainer = train(tmp_path, task, EMA(DECAY), plain, seen, **options)
    trainer.save_checkpoint(tmp_path / "whole.ckpt")
    content = torch.load(tmp_path / "whole.ckpt", weights_only=True)
    assert plain.steps == 6 and plain.average.keys() == trained
    for name, value in task.state_dict().items():
        assert torch.equal(value, content["state_dict"][name]) and torch.equal(value, seen.state[name])
        raw = content["current_model_state"][name]
        if name in trained:
            torch.testing.assert_close(value, plain.average[name].float(), atol=1e-6, rtol=1e-6)
            assert torch.equal(raw, plain.live[name]) and not torch.equal(raw, value)
        else:
            assert torch.equal(value, raw) and value.dtype == raw.dtype
            if "normalizer" not in name:
                assert torch.equal(value, before[name]), name
    if make is guo:
        assert task.evaluator.words.find(["walk", "nonsense"])[1].tolist() == [True, False]


def test_an_update_takes_few_calls_and_little_memory() -> None:
    class Count(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[str] = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.calls.append(str(func))
            return func(*args, **(kwargs or {}))

    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(60)]).append(nn.Linear(4, 4).half())
    average = EMA(DECAY)
    for _ in range(3):
        with Count() as counted:
            average.update(model)
        assert len(counted.calls) <= 20


@pytest.mark.parametrize("stop", [2, 4])  # ends of epochs: these loaders can only continue there
@pytest.mark.parametrize("old", [False, True])
def test_a_resumed_run_equals_an_uninterrupted_one_also_from_lightnings_callback(
    tmp_path: Path, stop: int, old: bool
) -> None:
    def averages(into: Path) -> tuple[Callback, ModelCheckpoint]:
        keep = ModelCheckpoint(into, "{step}", every_n_train_steps=1, save_top_k=-1, save_on_train_epoch_end=False)
        return (EMAWeightAveraging(decay=DECAY) if old and into.name == "one" else EMA(DECAY)), keep

    options = {"enable_checkpointing": True, "accumulate_grad_batches": 2, "limit_val_batches": 0}
    train(tmp_path, latent(), *averages(tmp_path / "one"), **options)
    resume = tmp_path / "one" / f"step={stop}.ckpt"
    train(tmp_path, latent(), *averages(tmp_path / "two"), resume=resume, **options)
    one, two = (torch.load(tmp_path / run / "step=6.ckpt", weights_only=True) for run in ("one", "two"))
    moving = {name for name, value in latent().named_parameters() if value.requires_grad}
    for name, value in one["current_model_state"].items():
        assert torch.equal(value, two["current_model_state"][name])
        if name in moving:
            tolerance = 1e-6 if old else 0.0
            torch.testing.assert_close(one["state_dict"][name], two["state_dict"][name], atol=tolerance, rtol=tolerance)
        else:  # restores buffers that Lightning's callback averaged
            assert torch.equal(two["state_dict"][name], value)
    assert one["averaging_state"] == two["averaging_state"]


def test_late_and_rare_updates(tmp_path: Path) -> None:
    task, seen, plain = latent(), Seen(), Plain()
    train(tmp_path, task, EMA(DECAY, update_starting_at_step=100), seen, plain)
    assert all(torch.equal(value, seen.state[name]) for name, value in task.state_dict().items())
    average = EMA(0.0, update_every_n_steps=4)
    train(tmp_path, latent(), average)
    assert average._updates == 2 and average.state_dict() == {"latest_update_step": 5}
    for options, words in (({"decay": 1.5}, "decay .* 1.5"), ({"update_every_n_steps": 0}, "at least 1")):
        with pytest.raises(InputError, match=words):
            EMA(**options)


def test_tied_weights_have_one_average(tmp_path: Path) -> None:
    task = latent()
    task.twin = task.denoiser
    trainer = train(tmp_path, task, EMA(DECAY))
    trainer.save_checkpoint(tmp_path / "whole.ckpt")
    content = torch.load(tmp_path / "whole.ckpt", weights_only=True)
    for state in (content["state_dict"], content["current_model_state"]):
        for name, value in state.items():
            assert not name.startswith("twin") or torch.equal(value, state[name.replace("twin", "denoiser")])
