from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from realign.cli import build
from realign.precision import training_precision
from realign.trainer import RunTrainer


@contextmanager
def gpu(patch: pytest.MonkeyPatch, bf16: bool) -> Iterator[None]:
    with patch.context() as inner:
        inner.setattr(torch.cuda, "is_available", lambda: True)
        inner.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation)
        yield


def test_automatic_precision_is_bfloat16_on_gpus_that_compute_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert training_precision() == "32-true"
    with gpu(monkeypatch, bf16=True):
        assert [training_precision(each) for each in ("auto", "gpu", "cuda")] == ["bf16-mixed"] * 3
        assert training_precision("cpu") == training_precision("mps") == "32-true"
    with gpu(monkeypatch, bf16=False):
        assert training_precision() == "32-true"


def test_the_published_configurations_use_automatic_precision(capfd: pytest.CaptureFixture[str]) -> None:
    quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    assert RunTrainer(precision="auto", **quiet).precision == "32-true"
    assert RunTrainer(precision="bf16-mixed", **quiet).precision == "bf16-mixed"
    assert RunTrainer(**quiet).precision == "32-true"
    for name in ("vae/conv_humanml3d", "vae/conv_kit"):
        words = ["--config", name, "--trainer.accelerator=cpu", "--trainer.logger=false"]
        cli = build(words)
        assert cli.config.trainer.precision == "auto" and cli.trainer.precision == "32-true"
        assert build([*words, "--trainer.precision=bf16-mixed"]).trainer.precision == "bf16-mixed"
    assert build(["--config", "vae/conv_mocap", *words[2:]]).config.trainer.precision == "bf16-mixed"
