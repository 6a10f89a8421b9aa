"""Two processes of a group that run the same script, for metrics that gather."""

import sys
from pathlib import Path

from torch import multiprocessing


def run_two(script: str, folder: Path) -> None:
    """Run it as ranks 0 and 1, with rank and meeting place in sys.argv; forked where that works, as it is fast."""
    method = "fork" if sys.platform == "linux" else "spawn"
    multiprocessing.start_processes(_run, (script, str(folder / "meet")), nprocs=2, start_method=method)


def _run(rank: int, script: str, place: str) -> None:
    sys.argv = ["script", str(rank), place]
    exec(script, {"__name__": "script"})
