"""Average inference time per sentence (AITS), batch 1, with the text encoding apart."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from realign.tasks.generator import GeneratorTask
from realign.text.cache import CachedTextEncoder


def time_sentences(
    generator: GeneratorTask, sentences: Sequence[str], sample: Callable[[int], object]
) -> dict[str, Any]:
    """Seconds from a sentence to its motion, one at a time.

    The device is synchronised before and after, and the first sentence is made once more, beforehand, to warm up. The
    text is encoded before the clock of the sampling starts: what an encoder has cached costs the sampling nothing.

    Args:
        generator: The generator.
        sentences: Captions.
        sample: Makes the motion of the sentence of a number, however it is guided.

    Returns:
        ``sentences``, ``device``, and the 50th and 95th percentile of both: ``p50_s``, ``p95_s``, ``text_p50_s``,
        ``text_p95_s``.
    """
    encoder = generator.text_encoder
    encoder = encoder.encoder if isinstance(encoder, CachedTextEncoder) else encoder
    texts, samples = [], []
    for number in [0, *range(len(sentences))]:
        texts.append(_timed(partial(encoder, [sentences[number]]), generator.device))
        generator.encode_text([sentences[number], ""])
        samples.append(_timed(partial(sample, number), generator.device))
    found: dict[str, Any] = {"sentences": len(sentences), "device": _name(generator.device)}
    for name, values in (("", samples[1:]), ("text_", texts[1:])):
        for percentile in (50, 95):
            found[f"{name}p{percentile}_s"] = float(np.percentile(values, percentile))
    return found


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
