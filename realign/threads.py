"""The number of threads that compute, of the cores that this process may use. Nothing heavy is imported here.

OpenMP's threads wait for work by spinning. Beside another job on the same cores, each then waits for a thread that is
not scheduled, and a caption costs twenty times the processor time. So small jobs get few threads, and threads sleep
while they wait.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from realign.errors import InputError
from realign.launcher import launched

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def allowed_cores(environment: Mapping[str, str] = os.environ) -> int:
    """Cores that the affinity of this process, the quota of its container and SLURM leave it."""
    limits = [affinity_cores(), cgroup_cores(), environment.get("SLURM_CPUS_PER_TASK")]
    return max(1, min(int(each) for each in limits if each is not None and str(each).isdigit()))


def affinity_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cgroup_cores(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Whole cores that the quotas of the container and of all groups around this process allow; None without any.

    Args:
        root: Where control groups are mounted.
        own: Which of them this process is in.
    """
    quotas = []
    with suppress(OSError):
        for line in own.read_text().splitlines():
            number, kinds, path = line.split(":", 2)
            unified = number == "0"
            if not unified and "cpu" not in kinds.split(","):
                continue
            place = root if unified else root / "cpu"
            inner = place / path.strip("/")
            for folder in (inner, *inner.parents):  # a container sees its own group at the root
                if folder == place or place in folder.parents:
                    quotas.append(_quota(folder, unified))
    found = [quota for quota in quotas if quota is not None]
    return max(1, int(min(found))) if found else None


def _quota(folder: Path, unified: bool) -> float | None:
    """Cores of one group; None if it has no limit."""
    try:
        if unified:
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        cores = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max", or no file
        return None
    return cores if cores > 0 else None


def choose_threads(
    given: int | None, motions: int | None = None, processes: int = 1, environment: Mapping[str, str] = os.environ
) -> int | None:
    """Number of threads; None if OMP_NUM_THREADS sets it.

    Args:
        given: Value of `--threads`, which overrides everything.
        motions: Motions, or queries, that are computed at once, with at most one thread each; None for any number.
        processes: Number of processes that this one starts on this computer, unless a launcher has started them.
        environment: Variables of the process.

    Raises:
        InputError: Fewer than 1 are given.
    """
    if given is not None:
        if given < 1:
            raise InputError(f"--threads {given} is too few; give at least 1.")
        return given
    if environment.get("OMP_NUM_THREADS"):
        return None
    joined = launched(environment)
    if joined is not None:  # which started the others
        processes = 1 if "SLURM_CPUS_PER_TASK" in environment else joined.local_world
    cores = max(1, allowed_cores(environment) // max(1, processes))
    return cores if motions is None else max(1, min(cores, motions))


def use_threads(given: int | None, motions: int | None = None, processes: int = 1) -> None:
    """Use the number of threads from `choose_threads`, here and in processes that this one starts.

    Call it before torch and FAISS are imported, since OpenMP then reads how its threads wait.
    """
    wait_asleep()
    count = choose_threads(given, motions, processes)
    if count is None:
        return
    os.environ["OMP_NUM_THREADS"] = str(count)
    libraries: dict[str, Any] = sys.modules
    if "torch" in libraries:
        libraries["torch"].set_num_threads(count)
    if "faiss" in libraries:
        libraries["faiss"].omp_set_num_threads(count)


def wait_asleep() -> None:
    """Let threads sleep while they wait for work, unless a variable of OpenMP sets how they wait."""
    if not any(name in os.environ for name in _WAITING):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
