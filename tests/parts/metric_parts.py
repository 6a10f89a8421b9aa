"""Two processes of a group that run the same script, for metrics that gather."""

import sys
from pathlib import Path

import two_parts


def run_two(script: str, folder: Path) -> None:
    """Run it as ranks 0 and 1, with rank and meeting place in sys.argv."""
    two_parts.run_two(_run, script, str(folder / "meet"))


def _run(rank: int, script: str, place: str) -> None:
    sys.argv = ["script", str(rank), place]
    exec(script, {"__name__": "script"})
