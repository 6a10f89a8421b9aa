"""Networks compiled in place by torch.compile: classes, weights' names and checkpoints stay as they are."""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from realign.errors import InputError
from realign.interfaces import RewardModel
from realign.nn.denoisers import Denoiser
from realign.nn.vae import MotionVAE
from realign.text.base import TextEncoder

_VARIANTS = 64  # of one network: training and validation, gradients or none, types of autocast, few or many samples


_DEEP = (nn.ModuleList, nn.Conv1d)  # only parts with enough work hold these


def compile_networks(*models: Any, backend: str = "inductor") -> None:
    """Compile the denoisers, rewards and autoencoders inside models.

    Sizes of batches, motions and captions may vary: the second size that a network meets makes it compile once more,
    for any. What is compiled computes the same but for rounding.

    Args:
        models: Modules that hold such networks; text encoders inside are left alone.
        backend: One of torch.compile's.

    Raises:
        InputError: torch cannot compile on this machine.
    """
    if backend == "inductor":
        _check_compiler()
    config = torch._dynamo.config
    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    setattr(config, limit, max(_VARIANTS, getattr(config, limit)))
    for model in models:
        for network in networks(model):
            network.compile(backend=backend)


def networks(module: nn.Module) -> Iterator[nn.Module]:
    """What compiling pays off for: denoisers, and the parts with layers of rewards and autoencoders."""
    if isinstance(module, Denoiser):
        yield module
    elif isinstance(module, RewardModel | MotionVAE):
        for part in module.children():
            yield from _with_layers(part)
    elif not isinstance(module, TextEncoder):
        for part in module.children():
            yield from networks(part)


def _with_layers(part: nn.Module) -> Iterator[nn.Module]:
    if isinstance(part, nn.ModuleList):
        for each in part:
            yield from _with_layers(each)
    elif any(isinstance(each, _DEEP) for each in list(part.modules())[1:]):
        yield part


def _check_compiler() -> None:
    """Refuse where torch would fail at the first step."""
    if torch.cuda.is_available() and find_spec("triton") is None:
        raise InputError("Compiling for a GPU needs the package triton, which is not installed; leave --compile out.")
    compilers = (os.environ.get("CXX"), "g++", "clang++", "cl")
    if not any(shutil.which(each) for each in compilers if each):
        raise InputError("Compiling needs a C++ compiler, and none is on the PATH; install g++ or leave --compile out.")
