"""Checkpoints of training are written under temporary names."""

import sys
import tempfile
from pathlib import Path

import pytest
import torch
from kill_parts import die, end, start
from lightning.fabric.plugins import TorchCheckpointIO
from task_parts import VAE, command

from realign.tasks.checkpoint_io import AtomicCheckpointIO
from realign.training import TrainingCLI


class Own(TorchCheckpointIO):
    """A checkpoint plugin of a user."""


@pytest.mark.parametrize("plugin", [None, "AsyncCheckpointIO", "test_checkpoint_io.Own"])
def test_a_trainer_saves_atomically_unless_a_plugin_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugin: str | None
) -> None:
    plugins = None if plugin is None else [{"class_path": plugin.replace("Async", "lightning.pytorch.plugins.Async")}]
    cli = TrainingCLI.from_args(command(tmp_path, VAE, plugins=plugins), run=False)
    used = cli.trainer.strategy.checkpoint_io
    used = used.checkpoint_io if plugin == "AsyncCheckpointIO" else used
    assert type(used).__name__ == ("Own" if plugin and plugin.endswith("Own") else "AtomicCheckpointIO")
    if plugin is None or plugin == "AsyncCheckpointIO":
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
        cli.trainer.strategy.connect(cli.model)
        cli.trainer.strategy.checkpoint_io.save_checkpoint({"x": torch.ones(3)}, tmp_path / "new" / "x.ckpt")
        cli.trainer.strategy.checkpoint_io.teardown()
        assert torch.load(tmp_path / "new" / "x.ckpt", weights_only=True)["x"].sum() == 3


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
def test_a_kill_while_saving_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"step": 1}, f"file://{tmp_path}/last.ckpt")

    class Deadly:
        def __reduce__(self) -> tuple:
            die()
            return ()

    end(start(lambda: writer.save_checkpoint({"step": torch.ones(1000), "x": Deadly()}, tmp_path / "last.ckpt")))
    assert len(list(tmp_path.iterdir())) == 2
    # a continued run may have nothing more to write
    assert writer.load_checkpoint(tmp_path / "last.ckpt", weights_only=True) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
