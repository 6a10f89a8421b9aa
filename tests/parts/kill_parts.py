"""Processes that end by SIGKILL, as on exhausted memory or at a time limit."""

import os
import random
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path


def start(action: Callable[[], object]) -> int:
    """A child process, forked so that nothing is imported again; what it prints goes nowhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking where threads have run
        child = os.fork()
    if child:
        return child
    code = 1
    try:
        warnings.simplefilter("ignore")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        action()
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def end(child: int) -> int:
    """Wait for a child; its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(action: Callable[[], object]) -> float:
    """Run a function in a child process that must succeed; return the seconds it took."""
    begin = time.monotonic()
    assert end(start(action)) == 0
    return time.monotonic() - begin


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kills(action: Callable[[], object], seconds: float, count: int, seed: int) -> Iterator[bool]:
    """Start something again and again and kill it at random moments of the time it takes.

    Yields:
        Whether it was killed, which comes `count` times; else it had ended before, well.
    """
    draw = random.Random(seed)
    while count:
        child = start(action)
        time.sleep(draw.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        code = end(child)
        assert code in (0, -signal.SIGKILL)
        count -= code != 0
        if code == 0:
            seconds *= 0.9  # the machine was busier when the time was taken
        yield code != 0


def hidden(folder: Path) -> list[Path]:
    """Leftovers of writers, at any depth."""
    return [path for path in folder.rglob("*") if path.name.startswith(".")]
