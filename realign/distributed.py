"""Work on several devices, one process each, and its distribution over processes."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed, multiprocessing

from realign.errors import InputError, explain
from realign.launcher import Launched, launched
from realign.threads import allowed_cores

T = TypeVar("T")

_LONG = timedelta(hours=12)  # the first process may work alone for long
_MEETING = timedelta(minutes=10)  # nodes of a cluster do not start at the same moment
_LEAVING = 5.0  # seconds that a process which was refused waits for the others to hear of it


def processes() -> tuple[int, int]:
    """Rank of this process, and the number of processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def share(items: Iterable[T]) -> Iterator[T]:
    """This process's items, every n-th one; all processes must pass the same items in the same order.

    Whole batches are distributed, not samples, so that each is computed as by one process, to the last bit.
    """
    rank, world = processes()
    return islice(items, rank, None, world)


def from_first(value: T) -> T:
    """The first process's value, on every process."""
    if processes()[1] == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def meet() -> None:
    """Wait until all processes are here."""
    if processes()[1] > 1:
        distributed.barrier()


def first_then_others(work: Callable[[], T]) -> T:
    """Let the first process do something while the others wait, however long it takes; then they do it, too."""
    rank, world = processes()
    if world == 1:
        return work()
    group: Any = distributed.new_group(backend="gloo", timeout=_LONG)  # that of the run gives up after minutes
    try:
        if rank:
            distributed.barrier(group)
        try:
            return work()
        finally:
            if not rank:
                distributed.barrier(group)
    finally:
        distributed.destroy_process_group(group)


def launch(work: Callable[..., None], devices: int, device: torch.device, *arguments: Any) -> None:
    """Call ``work(device, *arguments)`` in every process of the launcher that started this one, else in new processes.

    Without a launcher, one device needs no further process, and several get one each. The processes form a group while
    they work. Of a launcher's processes only the first returns from this; the others end after the work.

    Args:
        work: A function of a module.
        devices: How many devices to start processes for; 1 under a launcher, which has started them.
        device: Their kind.
        arguments: They must be picklable.

    Raises:
        InputError: Too many devices, a launcher's processes that do not meet, or what the work refuses.
    """
    joined = launched()
    if joined is not None and joined.world > 1:
        _join(joined, work, devices, device, arguments)
        return
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
            multiprocessing.spawn(_start, (work, devices, device.type, folder, arguments), nprocs=devices)
        except (multiprocessing.ProcessRaisedException, multiprocessing.ProcessExitedException) as error:
            if told.is_file():
                raise InputError(told.read_text(encoding="utf-8")) from error
            raise


def _start(
    rank: int, work: Callable[..., None], world: int, kind: str, folder: str, arguments: tuple[Any, ...]
) -> None:
    """Work of each new process."""
    store = distributed.FileStore(str(Path(folder) / "meet"), world)
    device = _open_group(store, rank, world, kind, rank, world)
    try:
        work(device, *arguments)
    except (InputError, OSError) as error:
        # renamed into place: several processes may refuse for the same reason at once
        note = Path(folder) / f"refused.{rank}"
        note.write_text(explain(error) or repr(error), encoding="utf-8")
        note.replace(Path(folder) / "refused")
        raise
    _await(store, "through", world)
    _end(0)


def _join(
    joined: Launched, work: Callable[..., None], devices: int, device: torch.device, arguments: tuple[Any, ...]
) -> None:
    """Work of each process of a launcher; only the first returns."""
    if devices > 1:
        raise InputError(
            f"A launcher started {joined.world} processes, each with one device; leave --devices {devices} out."
        )
    if device.index is not None or device.type not in ("cpu", "cuda"):
        raise InputError(f"{joined.world} processes cannot share {device}; give --device cpu or --device cuda.")
    store = _meeting_place(joined)
    device = _open_group(store, joined.rank, joined.world, device.type, joined.local_rank, joined.local_world)
    try:
        work(device, *arguments)
    except Exception as error:
        if not _is_told_here(store, joined, error):
            _end(2)
        raise
    _await(store, "through", joined.world)
    # the group is taken down while all are alive, see _end; the first has results to write
    if joined.rank == 0:
        distributed.destroy_process_group()
        store.add("left", 1)
        return
    with suppress(RuntimeError):  # the first, or the launcher, has closed the meeting place already
        _await(store, "left", 1, add=0)
    _end(0)


def _meeting_place(joined: Launched) -> distributed.Store:
    """The store by which the processes of a launcher communicate.

    Raises:
        InputError: Some processes did not join.
    """
    place = f"tcp://{joined.address}:{joined.port}"
    try:
        store, _, _ = next(distributed.rendezvous(place, joined.rank, joined.world, timeout=_MEETING))
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"Process {joined.rank} of {joined.world} did not meet the others at {joined.address}:{joined.port} "
            f"({' '.join(str(error).split())[:160]}); check MASTER_ADDR and MASTER_PORT, and that all were started."
        ) from error
    store.set_timeout(_LONG)
    return store


def _open_group(
    store: distributed.Store, rank: int, world: int, kind: str, local_rank: int, local_world: int
) -> torch.device:
    """Make this process one of a group; its device."""
    device = torch.device(kind)
    if kind == "cuda":
        device = torch.device(kind, local_rank % torch.cuda.device_count())  # each may be shown one device of its own
        torch.cuda.set_device(device)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, allowed_cores() // local_world))
    backend = "nccl" if kind == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=_LONG)
    return device


def _is_told_here(store: distributed.Store, joined: Launched, error: BaseException) -> bool:
    """Whether this process reports its error: only the first one that failed does.

    Later errors of others follow from it, such as a closed connection. Defects are always reported.
    """
    refused = isinstance(error, InputError | OSError)
    try:
        if not refused:
            return not store.check(["refused"])
        told = store.compare_set("refused", "", str(joined.rank)).decode() == str(joined.rank)
        if joined.rank == 0:  # the meeting place ends with this process
            _await(store, "heard", joined.world, patience=_LEAVING)
        else:
            store.add("heard", 1)
        return told
    except RuntimeError:
        return refused  # the meeting place is gone, with the process that told what all others follow from


def _await(store: distributed.Store, what: str, count: int, add: int = 1, patience: float | None = None) -> None:
    """Report that this process reached a point, and wait until `count` processes have."""
    store.add(what, add)
    until = None if patience is None else time.monotonic() + patience
    while store.add(what, 0) < count and (until is None or time.monotonic() < until):
        time.sleep(0.01)


def _end(status: int) -> None:
    """End this process at once, without destroying the group and without Python's finalisation.

    gloo sometimes aborted a process that did so while its peer disconnected, after all results were written.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
