"""Two processes that work together, as started by a launcher."""

import socket
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import multiprocessing


def run_two(work: Callable[..., None], *arguments: Any) -> None:
    """Call ``work(rank, *arguments)`` as ranks 0 and 1: forked if that is safe, so that nothing is imported again."""
    safe = sys.platform == "linux" and not torch.cuda.is_available()
    multiprocessing.start_processes(work, arguments, nprocs=2, start_method="fork" if safe else "spawn")


def free_port() -> int:
    """A free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
