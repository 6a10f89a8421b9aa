"""Progress bars on standard error, which a pipe, a file or --quiet leaves out."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Watch = Callable[[str, int, int | None], None]
"""watch(what is being done, how much is done, how much there is or None)"""


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """The option that leaves out progress bars."""
    parser.add_argument("--quiet", action="store_true", help="show no progress (default: a bar, if this is a terminal)")


@contextmanager
def progress_bar(shown: bool, label: str) -> Iterator[Watch | None]:
    """A progress bar, if standard error is a terminal.

    Args:
        shown: Whether to show one, as the first of several processes without --quiet does.
        label: What is done first.

    Yields:
        A function to tell the progress to; None without a bar.
    """
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(label, total=None)

        def watch(label: str, done: int, total: int | None) -> None:
            if label != progress.tasks[0].description:
                progress.reset(task, total=total)  # another time per piece
            progress.update(task, description=label, completed=done, total=total)

        yield watch
