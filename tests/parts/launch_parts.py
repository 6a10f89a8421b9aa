"""Commands run by a launcher: torchrun itself, and processes with the variables that srun sets."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from realign.distributed import first_then_others, from_first, launch, processes, share
from realign.errors import InputError

ROOT = Path(__file__).parents[2]
_LAUNCHERS = ("SLURM_", "MASTER_", "RANK", "WORLD_SIZE", "LOCAL_", "TORCHELASTIC_")


def plain_environment() -> dict[str, str]:
    """The variables of this process, without any of a launcher."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_LAUNCHERS)}
    paths = [str(ROOT), str(ROOT / "tests" / "parts"), *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def torchrun(count: int, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A module and its words in the processes of torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command += ["-m", *words]
    return subprocess.run(command, capture_output=True, text=True, env=plain_environment(), timeout=300)


def srun(count: int, words: Sequence[str]) -> list[subprocess.CompletedProcess[str]]:
    """A module and its words in processes with the variables of a step that SLURM started on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"SLURM_NTASKS": count, "SLURM_STEP_NODELIST": "localhost", "SLURM_JOB_ID": 7, "MASTER_PORT": port}
    command = [sys.executable, "-m", *words]
    started = []
    for rank in range(count):
        own = told | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank}
        environment = plain_environment() | {name: str(value) for name, value in own.items()}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, text=True, env=environment, **pipes))
    ended = [(each, *each.communicate(timeout=300)) for each in started]
    return [subprocess.CompletedProcess(command, each.returncode, out, err) for each, out, err in ended]


def deal(device: object) -> None:
    """Process this rank's part of the work."""
    rank, _ = processes()
    ended = first_then_others(lambda: time.sleep(0.3 * (rank == 0)) or time.monotonic())
    late = "" if ended >= from_first(ended) else " began too early"
    print(f"{rank}:{','.join(map(str, share(range(5))))}{late}", flush=True)


def refuse(device: object) -> None:
    """Raise as a process with bad input does."""
    raise InputError("too few clips")


def main() -> int:
    """Run as a module: a command whose processes are `dealt` work or `refused`."""
    try:
        launch({"dealt": deal, "refused": refuse}[sys.argv[1]], 1, torch.device("cpu"))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print("first")
    return 0


if __name__ == "__main__":
    sys.exit(main())
