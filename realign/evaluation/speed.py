"""Average inference time per sentence (AITS), batch 1, with the text encoding apart."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from realign.interfaces import TextToMotionModel
from realign.text.base import TextEncoder
from realign.text.cache import CachedTextEncoder
from realign.text.captions import encoders_of


def measure_speed(
    generator: TextToMotionModel,
    captions: Sequence[str],
    sample: Callable[[int], object],
    reward: nn.Module | None = None,
) -> dict[str, Any]:
    """Seconds from a caption to its motion, one at a time.

    The device is synchronised before and after, and the first motion is made once more, beforehand, to warm up. The
    clock of the sampling stands still while a text encoder works, cached or not.

    Args:
        generator: The generator.
        captions: What to make motions of.
        sample: Makes the motion of the caption of a number, however it is guided.
        reward: What guides, with a text encoder of its own.

    Returns:
        ``sentences``, ``device``, and the 50th and 95th percentile of both: ``p50_s``, ``p95_s``, ``text_p50_s``,
        ``text_p95_s``.
    """
    encoders = [each.encoder if isinstance(each, CachedTextEncoder) else each for each in encoders_of(generator)]
    texts, samples = [], []
    for number in [0, *range(len(captions))]:
        asked = [captions[number]]
        texts.append(sum(_timed(partial(encoder, asked), generator.device) for encoder in encoders))
        with _text_clock([generator, reward], generator.device) as encoded:
            whole = _timed(partial(sample, number), generator.device)
        samples.append(whole - sum(encoded))
    found: dict[str, Any] = {"sentences": len(captions), "device": _name(generator.device)}
    for name, values in (("", samples[1:]), ("text_", texts[1:])):
        for percentile in (50, 95):
            found[f"{name}p{percentile}_s"] = float(np.percentile(values, percentile))
    return found


@contextmanager
def _text_clock(models: Sequence[object], device: torch.device) -> Iterator[list[float]]:
    """Seconds of every call of the models' text encoders; those inside others are not counted again."""
    seconds: list[float] = []
    started: list[float] = []

    def start(*_: object) -> None:
        _synchronize(device)
        started.append(time.perf_counter())

    def stop(*_: object) -> None:
        _synchronize(device)
        taken = time.perf_counter() - started.pop()
        if not started:
            seconds.append(taken)

    modules = {module for model in models if isinstance(model, nn.Module) for module in model.modules()}
    encoders = {module for module in modules if isinstance(module, TextEncoder)}
    hooks = [hook for e in encoders for hook in (e.register_forward_pre_hook(start), e.register_forward_hook(stop))]
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()


def _timed(action: Callable[[], object], device: torch.device) -> float:
    _synchronize(device)
    start = time.perf_counter()
    action()
    _synchronize(device)
    return time.perf_counter() - start


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
