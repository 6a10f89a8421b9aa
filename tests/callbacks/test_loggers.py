"""Pictures and clips of callbacks arrive in each logger, read from the files that it keeps."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import IMAGES, EventAccumulator

from realign.cli import main
from realign.trainer import RunTrainer

LOGGERS = """
trainer:
  logger:
    - class_path: lightning.pytorch.loggers.WandbLogger
      init_args: {save_dir: logs, project: motion, version: mine, offline: true}
    - {class_path: lightning.pytorch.loggers.TensorBoardLogger, init_args: {save_dir: logs, name: board}}
    - {class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: logs, name: table}}
"""
TABLE_AND_BOARD = """
trainer:
  callbacks: [{class_path: realign.callbacks.RecallByNoise}]
  logger:
    - {class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: logs, name: table}}
    - {class_path: lightning.pytorch.loggers.TensorBoardLogger, init_args: {save_dir: logs, name: board}}
"""
SHORT = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1",
         "--trainer.enable_progress_bar=false", "--trainer.num_sanity_val_steps=0"]  # fmt: skip


def pictures(folder: Path) -> dict[str, bytes]:
    """The last picture of each name in TensorBoard's files, encoded."""
    read = EventAccumulator(str(folder), {IMAGES: 0})
    read.Reload()
    return {tag: read.Images(tag)[-1].encoded_image_string for tag in read.Tags()["images"]}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    wandb = pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "SILENT": "true",
        "CONSOLE": "off",
        "DISABLE_CODE": "true",
        "CACHE_DIR": "w",
        "CONFIG_DIR": "w",
    }.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    yield
    wandb.finish()


@pytest.mark.filterwarnings("ignore::Warning")  # of wandb's dependencies
@pytest.mark.usefixtures("offline")
def test_samples_arrive_in_files_and_in_every_logger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(LOGGERS)
    words = ["fit", "--config", "tiny/vae", "--config", "mine.yaml", *SHORT]
    assert main([*words, "--trainer.callbacks.init_args.every_n_epochs=1"]) == 0, capsys.readouterr().err
    logs = tmp_path / "logs"
    run = logs / "motion" / "mine"  # W&B keeps all runs in one folder
    (gif,), (strip,) = run.glob("samples/step=*.gif"), run.glob("samples/step=*.png")
    assert (run / "config.yaml").is_file() and not (logs / "samples").exists()
    shown = pictures(logs / "board" / "version_0")
    assert shown["val/sample_clip"] == gif.read_bytes()
    assert shown["val/sample"].startswith(b"\x89PNG")
    (kept,) = logs.glob("wandb/offline-run-*/files/media/images/val/sample_*.png")
    assert kept.read_bytes() == strip.read_bytes()
    (kept,) = logs.glob("wandb/offline-run-*/files/media/videos/val/sample_clip_*.gif")
    assert kept.read_bytes() == gif.read_bytes()
    assert "val/loss" in (logs / "table" / "version_0" / "metrics.csv").read_text()


def test_the_curve_of_a_reward_arrives_beside_metrics_csv_and_in_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(TABLE_AND_BOARD)
    words = ["fit", "--config", "tiny/reward_feature", "--config", "mine.yaml", *SHORT]
    assert main(words) == 0, capsys.readouterr().err
    table = tmp_path / "logs" / "table" / "version_0" / "metrics.csv"
    assert table.with_name("recall_by_noise.png").is_file()
    curve = json.loads(table.with_name("recall_by_noise.json").read_text())["r1"]
    assert "clean" in curve and "val/r1_clean" in table.read_text()
    assert pictures(tmp_path / "logs" / "board" / "version_0")["val/recall_by_noise"].startswith(b"\x89PNG")


def test_runs_of_lightnings_own_loggers_and_of_none_keep_their_folder(tmp_path: Path) -> None:
    quiet = {"accelerator": "cpu", "enable_progress_bar": False, "default_root_dir": tmp_path}
    for logger in (False, CSVLogger(tmp_path, "table")):
        assert RunTrainer(logger=logger, **quiet).log_dir == Trainer(logger=logger, **quiet).log_dir
