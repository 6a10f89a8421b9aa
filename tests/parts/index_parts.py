"""Tiny models for searches: a set of computed motions, and an untrained reward exported as a folder."""

from pathlib import Path

from realign.cli import build
from realign.tasks.checkpoint import save_pretrained

ROOT = Path(__file__).parents[2]


def write_model(folder: Path, data: Path, *options: str) -> Path:
    """An untrained reward for the motions of `data`, a set that is computed if it is missing."""
    cli = build(["--config", str(ROOT / "configs/tiny/reward_feature.yaml"), f"--data.folder={data}", *options])
    task = cli.model
    task.normalizer.fit(*cli.datamodule.statistics)
    task.hparams["skeleton"] = "humanml3d"
    return save_pretrained(task, folder)
