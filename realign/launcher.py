"""Variables of SLURM and torchrun about the processes that they started."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from realign.errors import InputError

_NUMBERS = (
    *("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_NNODES", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"),
    *("SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES"),
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "MASTER_PORT"),
)


@dataclass(frozen=True)
class Launched:
    """This process among those that a launcher started.

    Attributes:
        rank: Its rank.
        world: Number of processes.
        local_rank: Its rank on its node.
        local_world: Number of processes on its node.
        address: Host name or address of the first process.
        port: Where the first process listens.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    address: str
    port: int

    @property
    def nodes(self) -> int:
        """Nodes, each with as many processes."""
        return max(1, self.world // self.local_world)


def launched(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """Read the variables of torchrun, srun, or another launcher that sets RANK and WORLD_SIZE; None without a launcher.

    The script of a SLURM job runs once; only srun starts several processes.

    Raises:
        InputError: Variables are damaged, contradict each other, or do not say where the first process is.
    """
    numbers = _numbers(environment)
    if "RANK" in numbers and "WORLD_SIZE" in numbers:
        local = numbers.get("LOCAL_WORLD_SIZE", numbers["WORLD_SIZE"])
        return _joined(environment, numbers["RANK"], numbers["WORLD_SIZE"], numbers.get("LOCAL_RANK", 0), local)
    world = numbers.get("SLURM_STEP_NUM_TASKS")
    if world is None and "SLURM_STEP_NODELIST" in environment:
        world = slurm_tasks(environment)
    if world is None or "SLURM_PROCID" not in numbers:
        return None
    nodes = numbers.get("SLURM_STEP_NUM_NODES", numbers.get("SLURM_NNODES", 1))
    local = numbers.get("SLURM_NTASKS_PER_NODE", max(1, world // nodes))
    return _joined(environment, numbers["SLURM_PROCID"], world, numbers.get("SLURM_LOCALID", 0), min(local, world))


def _joined(environment: Mapping[str, str], rank: int, world: int, local_rank: int, local_world: int) -> Launched:
    """One of the processes of a launcher, with the place where they meet."""
    address = environment.get("MASTER_ADDR") or first_host(environment.get("SLURM_STEP_NODELIST", ""))
    port = environment.get("MASTER_PORT") or _port(environment)
    if world > 1 and not (address and port):
        raise InputError(
            f"A launcher started {world} processes without MASTER_ADDR and MASTER_PORT, so they cannot meet; start "
            "with torchrun or srun, or unset RANK and WORLD_SIZE to run one process."
        )
    return Launched(rank, world, local_rank, local_world, address, int(port or 0))


def first_host(nodes: str) -> str:
    """The first host of a list as SLURM writes it: ``gpu[03-05,9]-ib,login1`` begins with ``gpu03-ib``."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first[0] if first else "")


def _port(environment: Mapping[str, str]) -> str:
    """A port that all processes of a SLURM step compute, different for other steps; empty outside of SLURM."""
    if "SLURM_PROCID" not in environment:
        return ""
    job, step = (re.sub(r"\D", "", environment.get(name, "")) or "0" for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return str(10_000 + (int(job) * 31 + int(step)) % 20_000)


def _numbers(environment: Mapping[str, str]) -> dict[str, int]:
    """The variables that are numbers.

    Raises:
        InputError: One is not a number, or a process's number does not fit how many there are.
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
    for rank, size in (
        ("RANK", "WORLD_SIZE"),
        ("LOCAL_RANK", "LOCAL_WORLD_SIZE"),
        ("SLURM_PROCID", "SLURM_NTASKS"),
        ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    ):
        if not 0 <= numbers.get(rank, 0) < numbers.get(size, numbers.get(rank, 0) + 1):
            raise InputError(
                f"{rank}={numbers[rank]} does not fit {size}={numbers.get(size)}; unset both, or start with torchrun."
            )
    return numbers


def check_launcher(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse variables of SLURM or torchrun that are damaged, contradict each other, or that Lightning cannot follow.

    Raises:
        InputError: As said, with the variable.
    """
    numbers = _numbers(environment)
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
