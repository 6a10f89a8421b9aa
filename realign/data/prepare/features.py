"""Features of a source's motions, computed in groups, in this process or in several."""

import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process

import numpy as np
import torch
from numpy.typing import NDArray

from realign.data.prepare.bandai import describe
from realign.data.prepare.captions import Caption
from realign.data.prepare.source import Item, LeftOut, Source
from realign.errors import InputError, collect_input_warnings
from realign.motion.canonical import clip_fault
from realign.motion.features import clips_to_features

LEAST = 4  # frames of features: one unit of length; shorter motions are left out
GROUP = 64  # motions computed at once; their number affects the last bits


@dataclass
class Loaded:
    """Result of loading an item.

    Attributes:
        features: (F, C); None if it is left out, unless statistics count it.
        captions: Its captions.
        why: Why it is left out.
        remarks: Corrections and doubtful content of its file.
    """

    features: NDArray[np.float32] | None = None
    captions: Sequence[Caption] = ()
    why: LeftOut | None = None
    remarks: list[str] = field(default_factory=list)


def loaded_items(source: Source, items: Sequence[Item], workers: int = 1) -> Iterator[tuple[Item, Loaded]]:
    """All items in order, each with its result; only a few groups are in memory.

    Args:
        source: Their source.
        items: The items.
        workers: Processes to load and compute in; the results do not depend on their number.

    Raises:
        InputError: An input that all items need is wrong, or a process ended before its work was done.
    """
    groups = [items[begin : begin + GROUP] for begin in range(0, len(items), GROUP)]
    found = (_load_group(source, group) for group in groups) if workers == 1 else _in_workers(source, groups, workers)
    for group in groups:
        yield from zip(group, next(found), strict=True)


def _in_workers(source: Source, groups: Sequence[Sequence[Item]], workers: int) -> Iterator[list[Loaded]]:
    """Groups in order, computed by other processes, at most two per process ahead."""
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (source,))
    ahead: deque[Future[list[Loaded]]] = deque()
    try:
        for group in groups:
            ahead.append(pool.submit(_work, group))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    except BrokenProcessPool as error:
        raise InputError(
            f"One of {workers} worker processes ended before its clips were done, perhaps because memory ran out; use "
            "fewer --workers."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_source: Source | None = None  # of this worker process


def _begin(source: Source) -> None:
    """Start a worker process."""
    global _source
    _source = source
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End when the process that started this one is killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(group: Sequence[Item]) -> list[Loaded]:
    if _source is None:
        raise RuntimeError("a worker was started without its source")
    return _load_group(_source, group)


def _load_group(source: Source, group: Sequence[Item]) -> list[Loaded]:
    """Load and compute some items."""
    with _one_thread():
        found = [_load(source, item) for item in group]
        usable = [each for each in found if each.features is not None]
        arrays = [each.features for each in usable if each.features is not None]
        if not source.gives_features and arrays:
            tensors = clips_to_features([torch.from_numpy(array) for array in arrays], source.skeleton)
            arrays = [tensor.numpy() for tensor in tensors]
    for each, features in zip(usable, arrays, strict=True):
        if not source.gives_features:
            features, remarks = source.finish(features)
            each.remarks += remarks
        each.features = features
        if not np.isfinite(features).all():
            each.features, each.why = None, LeftOut("NaN", "the features of its joints are not finite")
    return found


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread, as workers do: the number of threads may change the last bits of a sum."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _load(source: Source, item: Item) -> Loaded:
    """Read an item and check it; `features` of the result holds joints, unless the source gives features."""
    loaded = Loaded()
    try:
        loaded.captions = source.captions(item)
        if not loaded.captions and item.label is None:
            raise LeftOut("no caption")
        with collect_input_warnings() as loaded.remarks:
            array = source.load(item)
        if source.statistics_as_published and 1 < len(array) <= LEAST and not _fault(source, array):
            loaded.features = np.ascontiguousarray(array, dtype=np.float32)
        _check(source, array)
        if not loaded.captions and item.label is not None:
            described = describe(item.id, *item.label, array, source.skeleton.fps)
            loaded.captions = [Caption(text) for text in described]
        loaded.features = np.ascontiguousarray(array, dtype=np.float32)
    except LeftOut as why:
        loaded.why = why
    return loaded


def _check(source: Source, array: NDArray[np.float32]) -> None:
    """Raise LeftOut for a motion that cannot be used."""
    frames = len(array) - (0 if source.gives_features else 1)
    if frames < LEAST:
        raise LeftOut("too short", f"{max(frames, 0)} frames of features")
    if fault := _fault(source, array):
        raise fault


def _fault(source: Source, array: NDArray[np.float32]) -> LeftOut | None:
    """Why a motion that is long enough cannot be used; None if it can."""
    if not np.isfinite(array).all():
        return LeftOut("NaN", f"{int((~np.isfinite(array)).any(axis=tuple(range(1, array.ndim))).sum())} frames")
    if not source.gives_features:
        if not np.ptp(array.reshape(len(array), -1), axis=1).all():
            return LeftOut("unreadable", "all joints lie in one point")
        if fault := clip_fault(torch.from_numpy(array), source.skeleton):
            return LeftOut("unreadable", fault)
    return None
