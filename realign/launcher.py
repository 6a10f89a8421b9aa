"""What SLURM and torchrun say in their variables of the processes that they started."""

import os
from collections.abc import Mapping

from realign.errors import InputError

_NUMBERS = (
    *("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_NNODES", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"),
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "MASTER_PORT"),
)


def check_launcher(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse variables of SLURM or torchrun that are damaged or contradict each other.

    Raises:
        InputError: As said, with the variable.
    """
    numbers: dict[str, int] = {}
    for name in _NUMBERS:
        if name in environment:
            try:
                numbers[name] = int(environment[name])
            except ValueError:
                raise InputError(
                    f"{name}={environment[name]!r} is not a number; unset it, or start with srun or torchrun."
                ) from None
    for rank, size in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
        if numbers.get(rank, 0) >= numbers.get(size, numbers.get(rank, 0) + 1):
            raise InputError(
                f"{rank}={numbers[rank]} does not fit {size}={numbers[size]}; unset both, or start with torchrun."
            )
    tasks = slurm_tasks(environment)
    if tasks is None or tasks == 1:
        return
    a_node, nodes = numbers.get("SLURM_NTASKS_PER_NODE"), numbers.get("SLURM_NNODES", 1)
    if a_node is None:
        raise InputError(
            f"SLURM_NTASKS={tasks} without SLURM_NTASKS_PER_NODE; start with --ntasks-per-node instead of --ntasks, or "
            "unset SLURM_NTASKS to run one process."
        )
    if a_node * nodes != tasks:
        raise InputError(
            f"SLURM_NTASKS={tasks} is not SLURM_NNODES={nodes} times SLURM_NTASKS_PER_NODE={a_node}; give --nodes and "
            "--ntasks-per-node, and leave --ntasks out."
        )


def slurm_tasks(environment: Mapping[str, str]) -> int | None:
    """Processes that SLURM says it started; None outside of it and in its interactive shells."""
    if environment.get("SLURM_JOB_NAME") in ("bash", "interactive") or "SLURM_NTASKS" not in environment:
        return None
    return int(environment["SLURM_NTASKS"])


def check_processes(processes: int, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse a launcher that started another number of processes than the trainer counts: each would train alone.

    Args:
        processes: Devices times nodes of the trainer.
        environment: Variables of the process.

    Raises:
        InputError: As said, with both numbers.
    """
    tasks, source = slurm_tasks(environment), "SLURM_NTASKS"
    if tasks is None and "TORCHELASTIC_RUN_ID" in environment and "WORLD_SIZE" in environment:
        tasks, source = int(environment["WORLD_SIZE"]), "WORLD_SIZE"
    if tasks is not None and tasks != processes:
        raise InputError(
            f"{source}={tasks}, but --trainer.devices times --trainer.num_nodes makes {processes}; set them to the "
            f"processes that the launcher starts, or unset {source}."
        )
