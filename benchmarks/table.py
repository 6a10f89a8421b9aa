"""The lines that benchmarks print of their ratios, and the one table that `run_gpu.sh` makes of them."""

import os
import sys
import time
from pathlib import Path

import torch

FILE = "REALIGN_BENCH_TABLE"
"""The variable that names a file to which every ratio is added, one a line."""


def report(name: str, ratio: float, aim: str = "") -> None:
    """Print a ratio beside what it aims at, such as "at least 0.9"."""
    print(f"= {name}: {ratio:.2f}" + (f" (aim: {aim})" if aim else ""), flush=True)
    if file := os.environ.get(FILE):
        with Path(file).open("a", encoding="utf-8") as table:
            table.write(f"{Path(sys.argv[0]).stem}\t{name}\t{ratio:.2f}\t{aim}\n")


def clock(device: torch.device) -> float:
    """A time, when the device has done what it was told; on a CPU the seconds of the processor, whatever else runs."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.process_time() if device.type == "cpu" else time.perf_counter()


def print_table(file: Path, device: str) -> None:
    """The ratios of a file as a table in Markdown, under the name of the device."""
    card = torch.cuda.get_device_name() if device.startswith("cuda") else f"{device}, {os.cpu_count()} cores"
    print(f"{card}, torch {torch.__version__}\n")
    print("| benchmark | ratio of | value | aim |\n|---|---|---|---|")
    for line in file.read_text(encoding="utf-8").splitlines():
        print(f"| {' | '.join(line.split(chr(9)))} |")


if __name__ == "__main__":
    print_table(Path(sys.argv[1]), sys.argv[2])
