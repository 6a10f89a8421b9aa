"""What commands share."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def note(text: str) -> None:
    """Tell something besides the results: one line on standard error, so that they can be piped on."""
    print(f"realign: note: {text}", file=sys.stderr)


@contextmanager
def loading() -> Iterator[None]:
    """Import and load within this: the many lasting objects are not searched for garbage, a fifth of the time."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
