"""Trained models from files, without Lightning and the parts of training."""

import inspect
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from realign.checkpoint.rebuild import find_class, rebuild
from realign.checkpoint.saved import Saved, fill, read_saved
from realign.errors import InputError

Kind = TypeVar("Kind")

PLAIN = {
    "GeneratorTask": "realign.nn.diffusion.Generator",
    "RewardTask": "realign.nn.embedder.Embedder",
    "RetrieverTask": "realign.nn.embedder.Embedder",
    "EvaluatorTask": "realign.evaluators.trained.TrainedEvaluator",
}
"""The plain module that is loaded instead of a task: the same parts under the same names."""


def load_model(
    path: str | Path,
    kind: type[Kind],
    *,
    trust_code: bool = False,
    noise: bool = True,
    device: torch.device | str = "cpu",
) -> Kind:
    """A trained model, in evaluation mode; averaged weights where the training kept some.

    Args:
        path: A Lightning checkpoint written by `realign fit`, a folder written by `save_pretrained`, or a shipped name.
        kind: The required class, such as `TextToMotionModel`; the file may hold a task of training, or any
            ``nn.Module`` of that kind.
        trust_code: Let its configuration name classes outside realign, whose code then runs.
        noise: Also load the noise that a reward was trained with, for guidance at noisy samples.
        device: Where it is wanted.

    Raises:
        InputError: When the file is missing, damaged, foreign, names such a class, or holds another kind of model.
    """
    return build_model(read_saved(path, trust_code), kind, noise=noise).to(device)  # type: ignore[attr-defined]


def build_model(saved: Saved, kind: type[Kind], *, noise: bool = True, filled: bool = True) -> Kind:
    """The model of what was read, in evaluation mode on the CPU.

    Args:
        saved: What was read.
        kind: The required class.
        noise: As for `load_model`.
        filled: With its weights; else with random ones.

    Raises:
        InputError: As `load_model`.
    """
    root, _, task = str(saved.config["class_path"]).rpartition(".")
    if task not in PLAIN or root.partition(".")[0] not in ("", "realign"):
        model = rebuild(saved, nn.Module, kind)
    else:
        saved = _without_training(saved, PLAIN[task], noise)
        model = rebuild(saved, nn.Module, kind)
        parts = dict(model.named_children())  # type: ignore[attr-defined]
        own = {name: value for name, value in saved.state.items() if name.partition(".")[0] in parts}
        saved = saved._replace(state=own)
    if filled:
        fill(model, saved)  # type: ignore[arg-type]
    return model.eval()  # type: ignore[attr-defined]


def _without_training(saved: Saved, plain: str, noise: bool) -> Saved:
    """The configuration of a plain module instead of the task that trained it."""
    parameters = inspect.signature(find_class(plain)).parameters
    options: dict[str, Any] = saved.config.get("init_args") or {}
    kept = {name: value for name, value in options.items() if name in parameters and value is not None}
    lacking = [name for name, each in parameters.items() if each.default is each.empty and name not in kept]
    if lacking:
        raise InputError(f"{saved.path} does not say its {lacking[0]}; export it again from a trained checkpoint.")
    if not noise:
        kept = {name: value for name, value in kept.items() if name not in ("scheduler", "path")}
    return saved._replace(config={"class_path": plain, "init_args": kept})
