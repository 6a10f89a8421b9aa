"""What commands share."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from realign.files import shipped_folder


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


def model_path(text: str) -> Path:
    """A path as it stands; the name of weights or of an index that the package ships where nothing lies under it."""
    path, shipped = Path(text), shipped_folder(text)
    return shipped if not path.exists() and path.name == text and shipped.is_dir() else path
