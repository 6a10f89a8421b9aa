"""Interrupted training and training on two processes equal an uninterrupted run of one process."""

import copy
import csv
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from launch_parts import torchrun
from lightning.pytorch.callbacks import Callback
from task_parts import VAE, command, feature_generator

from realign.cli import main
from realign.training import TrainingCLI

EMA = [{"class_path": "realign.callbacks.EMA", "init_args": {"decay": 0.9}}]
WARMUP = {"class_path": "realign.tasks.WarmupCosine", "init_args": {"warmup_steps": 2}}


def data(folder: Path, batch_size: int | None) -> dict:
    options = {"clips": 20, "batch_size": batch_size, "folder": str(folder)}
    return {"class_path": "realign.data.ProceduralDataModule", "init_args": options}


class Pulled(Callback):
    """Leaves a checkpoint at a step, as after a kill."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def losses(folder: Path) -> dict[str, torch.Tensor]:
    """Validation losses of a run by step."""
    with next(folder.glob("log/*/metrics.csv")).open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/loss"]]
    return {row["step"]: torch.tensor(float(row["val/loss"])) for row in rows}


def states(path: Path) -> dict:
    content = torch.load(path, weights_only=True)
    return {"averaged": content["state_dict"], **content.get("current_model_state", {})}


def same(left: dict, right: dict, tolerance: float) -> None:
    for name, value in left.items():
        if isinstance(value, dict):
            same(value, right[name], tolerance)
        else:
            torch.testing.assert_close(value, right[name], atol=tolerance, rtol=tolerance)


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.parametrize("step", [2, 3])
@pytest.mark.parametrize("kind", ["vae", "generator"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, kind: str, step: int) -> None:
    model = copy.deepcopy(VAE) if kind == "vae" else feature_generator()
    schedule = copy.deepcopy(WARMUP)
    if kind == "vae":
        schedule["init_args"]["total_steps"] = 9  # the other asks the trainer
    model["init_args"]["lr_scheduler"] = schedule
    words = command(tmp_path, model, data(tmp_path / "data", 4), max_steps=7, max_epochs=-1, callbacks=EMA)
    cli = TrainingCLI.from_args(words, run=False)
    cli.trainer.callbacks.append(Pulled(step, tmp_path / "pulled.ckpt"))
    cli.trainer.fit(cli.model, cli.datamodule)
    cli.trainer.save_checkpoint(tmp_path / "whole.ckpt")
    torch.manual_seed(123)  # the state of the global generator must not matter
    again = TrainingCLI.from_args(["fit", *words, "--ckpt_path", str(tmp_path / "pulled.ckpt")], run=True)
    again.trainer.save_checkpoint(tmp_path / "resumed.ckpt")
    assert again.trainer.global_step == cli.trainer.global_step == 7
    same(states(tmp_path / "whole.ckpt"), states(tmp_path / "resumed.ckpt"), 0.0)


class Killed(Callback):
    """Ends a run before a step, like a kill."""

    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            raise InterruptedError


@pytest.mark.filterwarnings("ignore:.*there is no last checkpoint")
@pytest.mark.parametrize("batches", [0, 1])
@pytest.mark.parametrize(
    ("saving", "kills"),
    [
        ({"filename": "last", "save_on_train_epoch_end": True}, [(4,), (3, 5)]),  # as configurations do
        ({"every_n_train_steps": 1, "save_last": True}, [(2, 4)]),
        ({"monitor": "val/loss", "save_last": True}, [(2, 5)]),
    ],
)
def test_epochs_continue_after_any_number_of_kills(
    tmp_path: Path, saving: dict, kills: list[tuple[int, ...]], batches: int
) -> None:
    if "monitor" in saving and not batches:
        pytest.skip("nothing to monitor")

    def go(folder: Path, step: int | None) -> dict:
        callback = {"class_path": "ModelCheckpoint", "init_args": {**saving, "dirpath": str(folder)}}
        callback["init_args"]["enable_version_counter"] = False
        options = {"max_steps": 7, "max_epochs": -1, "limit_val_batches": batches, "callbacks": [callback]}
        words = command(folder, VAE, data(tmp_path / "data", 6), **options)
        cli = TrainingCLI.from_args(words, run=False)
        cli.trainer.callbacks.insert(0, Killed(step))
        with nullcontext() if step is None else pytest.raises(InterruptedError):
            cli.trainer.fit(cli.model, cli.datamodule, ckpt_path="last")
        return cli.model.state_dict()

    whole = go(tmp_path / "whole", None)  # epochs of two steps
    for number, steps in enumerate(kills):
        for step in steps:
            go(tmp_path / str(number), step)
        same(whole, go(tmp_path / str(number), None), 0.0)


def shared_run(folder: Path, kind: str, **trainer: object) -> list[str]:
    """Arguments of a short training with four samples per step, on any number of processes."""
    model = VAE if kind == "vae" else feature_generator()
    if kind == "generator":
        model["init_args"]["denoiser"]["init_args"]["dropout"] = 0.0  # which shares no draws with one process
    motions = data(folder.parent / "data", None)
    motions["init_args"] |= {"global_batch_size": 4, "clips": 60}
    options = {"max_steps": 4, "max_epochs": -1, "val_check_interval": 2, "callbacks": EMA, **trainer}
    return ["fit", *command(folder, model, motions, **options)]


@pytest.mark.parametrize("kind", ["vae", "generator"])
def test_two_and_four_processes_equal_one(tmp_path: Path, kind: str) -> None:
    states, metrics = [], []
    for count in (1, 2, 4):
        strategy = "auto" if count == 1 else "ddp_fork"
        cli = TrainingCLI.from_args(shared_run(tmp_path / str(count), kind, devices=count, strategy=strategy), run=True)
        states.append(cli.model.state_dict())
        metrics.append(dict(cli.trainer.callback_metrics))
    assert any("val" in name for name in metrics[0])
    for other in (1, 2):
        same(states[0], states[other], 1e-5)
        for name, value in metrics[0].items():
            if "train" not in name:  # each process logs the loss of its own part
                torch.testing.assert_close(metrics[other][name], value, atol=1e-4, rtol=1e-4)


def test_training_under_torchrun_equals_that_of_one_process(tmp_path: Path) -> None:
    saving = {"dirpath": "kept", "filename": "last", "enable_version_counter": False, "save_on_train_epoch_end": True}
    callback = {"class_path": "ModelCheckpoint", "init_args": saving}
    log = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "kept", "name": "log"}}
    found = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        callback["init_args"]["dirpath"] = log["init_args"]["save_dir"] = str(folder)
        words = shared_run(folder, "vae", callbacks=[callback], logger=log)
        if count == 1:
            assert main(words) == 0
        else:  # it counts the processes itself, since the global batch is given
            done = torchrun(count, ["realign.cli", *words])
            assert done.returncode == 0, done.stderr
            assert done.stdout.count("Weights: ") == 1
        found.append((torch.load(folder / "last.ckpt", weights_only=True)["state_dict"], losses(folder)))
    same(found[0][0], found[1][0], 1e-5)
    assert found[0][1].keys() == found[1][1].keys()
    same(found[0][1], found[1][1], 1e-4)
