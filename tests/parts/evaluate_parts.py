"""Files of matching untrained models for tests of evaluations."""

from pathlib import Path

import numpy as np

from realign.cli import build
from realign.data.store import KINDS, PackedMotions
from realign.errors import InputError

ROOT = Path(__file__).parents[2]


def make_shelf(folder: Path) -> Path:
    """A prepared set (3 of 36 test clips composed), a generator, a reward of its noise, two other evaluators."""
    from realign.tasks.checkpoint import save_pretrained

    parts = {
        "generator": ("generator_mdm", []),
        "reward": ("reward_feature", []),
        "evaluator": ("retriever", ["--seed_everything=3"]),
        "second": ("retriever", ["--seed_everything=4"]),
    }
    for name, (config, extra) in parts.items():
        options = ["--config", str(ROOT / f"configs/tiny/{config}.yaml"), *extra]
        cli = build([*options, f"--data.init_args.folder={folder / 'data'}", "--data.init_args.clips=216"])
        cli.model.normalizer.fit(*cli.datamodule.statistics)
        cli.model.hparams["skeleton"] = "humanml3d"
        save_pretrained(cli.model, folder / name)
    _compose(folder / "data", 3)
    return folder


def _compose(data: Path, count: int) -> None:
    """Mark some clips of a prepared set's test split as composed."""
    rows = PackedMotions.open(data).select("test")[:count]
    clips = np.load(data / "clips.npy")
    clips["kind"][rows] = KINDS.index("composed")
    np.save(data / "clips.npy", clips)


def refuse(device: object, reason: str) -> None:
    """Raise as a process with bad input does."""
    raise InputError(reason)


def open_file(device: object, path: str) -> None:
    """Raise as a process with a missing file does."""
    open(path).close()
