"""Work on several devices, one process each; and how it is shared among processes."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed, multiprocessing

from realign.errors import InputError, explain

T = TypeVar("T")


def processes() -> tuple[int, int]:
    """Number of this process, and how many there are."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def share(items: Iterable[T]) -> Iterator[T]:
    """Every n-th item: what this process does of a work that all go through in the same order.

    Whole batches are dealt, not their samples: each is then computed as one process computes it, to the last bit.
    """
    rank, world = processes()
    return (item for number, item in enumerate(items) if number % world == rank)


def from_first(value: T) -> T:
    """The first process's value, on every process."""
    if processes()[1] == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def launch(work: Callable[..., None], devices: int, device: torch.device, *arguments: Any) -> None:
    """Call ``work(device, *arguments)`` here, or for several devices in as many new processes that see one another.

    Args:
        work: A function of a module.
        devices: How many.
        device: Their kind.
        arguments: Whatever can be sent to another process.

    Raises:
        InputError: Too many devices, or what the work refuses.
    """
    most = {"cpu": os.cpu_count() or 1, "cuda": torch.cuda.device_count()}.get(device.type, 1)
    if not 1 <= devices <= most:
        raise InputError(f"{devices} devices of the kind {device.type} cannot be used; there are 1 to {most} here.")
    if devices == 1:
        work(device, *arguments)
        return
    if device.index is not None:
        raise InputError(f"{devices} devices cannot be taken from {device}; name a kind of device.")
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "refused"
        try:
            multiprocessing.spawn(_join, (work, devices, device.type, folder, arguments), nprocs=devices)
        except (multiprocessing.ProcessRaisedException, multiprocessing.ProcessExitedException) as error:
            if told.is_file():
                raise InputError(told.read_text(encoding="utf-8")) from error
            raise


def _join(rank: int, work: Callable[..., None], world: int, kind: str, folder: str, arguments: tuple[Any, ...]) -> None:
    """What each new process does."""
    device = torch.device(kind, rank) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // world))
    store = distributed.FileStore(str(Path(folder) / "meet"), world)
    distributed.init_process_group(
        "nccl" if kind == "cuda" else "gloo",
        store=store,
        rank=rank,
        world_size=world,
        timeout=timedelta(hours=12),  # the first process may be busy alone for long
    )
    try:
        work(device, *arguments)
    except (InputError, OSError) as error:
        # renamed into place: several processes may refuse for the same reason at once
        note = Path(folder) / f"refused.{rank}"
        note.write_text(explain(error) or repr(error), encoding="utf-8")
        note.replace(Path(folder) / "refused")
        raise
    _leave(store, world)


def _leave(store: distributed.Store, world: int) -> None:
    """End this process once all are through.

    At once, without tearing the group down or Python's own clearing up: gloo now and then aborted a process that did so
    while its peer hung up, after all results were there.
    """
    store.add("through", 1)
    while store.add("through", 0) < world:
        time.sleep(0.01)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
