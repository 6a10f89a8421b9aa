from pathlib import Path

import pytest
from task_parts import VAE, command

from realign.training import TrainingCLI


def checkpoint_in(folder: Path) -> Path:
    return next(folder.rglob("*.ckpt"))


@pytest.fixture(scope="session")
def vae_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vae")
    TrainingCLI.from_args(["fit", *command(folder, VAE, max_epochs=2)], run=True)
    return checkpoint_in(folder)
