"""`realign export`: a training checkpoint as a small folder of weights and configuration."""

import argparse
from pathlib import Path

from realign.commands.common import add_trust


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command and its options."""
    parser = commands.add_parser("export", help="write a checkpoint as a folder of weights to share")
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a .ckpt written by `realign fit`")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write")
    add_trust(parser)
    parser.add_argument("--half", action="store_true", help="store parameters as float16, half the size")


def run(options: argparse.Namespace) -> None:
    """Load, write safetensors and YAML, print where and how large."""
    from realign.tasks.base import Task
    from realign.tasks.checkpoint import load_task, save_pretrained

    task: Task = load_task(options.checkpoint, trust_code=options.trust_code)
    folder = save_pretrained(task, options.output, half=options.half)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB")
