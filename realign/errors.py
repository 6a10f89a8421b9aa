import errno
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from realign.extras import missing, of_import
from realign.library_errors import of_library, of_resources


class InputError(ValueError):
    """Input that a user can correct: one sentence that holds the offending value and the remedy.

    Commands print the sentence and leave with exit code 2; in Python it is an ordinary ``ValueError``.
    """


class MissingPackage(InputError, ImportError):
    """A package of an extra is not installed: one sentence with the command that installs it."""


def need(*modules: str) -> None:
    """Check that packages of extras are installed, without importing them.

    Raises:
        MissingPackage: One is not.
    """
    if told := missing(modules):
        raise MissingPackage(told)


@contextmanager
def optional_packages() -> Iterator[None]:
    """Raise `MissingPackage` where an import inside fails for want of a package of an extra."""
    try:
        yield
    except ImportError as error:
        if isinstance(error, MissingPackage) or (told := of_import(error)) is None:
            raise
        raise MissingPackage(told) from error


class Renamed(DeprecationWarning):
    """Use of an old name, which works for one version; commands print it as a note."""


def renamed(old: str, new: str) -> None:
    """Warn that a name is an old one."""
    warnings.warn(f"{old} is now called {new}; the old name works in this version only.", Renamed, stacklevel=3)


class InputWarning(UserWarning):
    """Input that was changed or is doubtful: one sentence. Commands print it as a note."""


@contextmanager
def collect_input_warnings() -> Iterator[list[str]]:
    """Collect the sentences of every `InputWarning`; other warnings are shown as usual."""
    texts: list[str] = []
    with warnings.catch_warnings():
        show = warnings.showwarning

        def keep(message: Any, category: type[Warning], *rest: Any, **options: Any) -> None:
            if issubclass(category, InputWarning):
                texts.append(str(message))
            else:
                show(message, category, *rest, **options)

        warnings.showwarning = keep
        warnings.simplefilter("always", InputWarning)
        yield texts


def explain(error: BaseException | None) -> str | None:
    """The message for an error that a user can correct, also if a library wrapped it; None for a defect."""
    first = error
    if error is not None and (told := of_import(error)):
        return told
    while error is not None:
        if told := _of_input(error) or of_resources(error):
            return told
        if isinstance(error, OSError) and error.errno is not None:
            return _of_system(error)
        # libraries that write weights raise other errors, and NumPy one without errno
        if os.strerror(errno.ENOSPC) in str(error) or re.search(r"\d requested and \d+ written", str(error)):
            return _of_system(OSError(errno.ENOSPC, ""))
        error = error.__cause__ or error.__context__
    return of_library(first) if first is not None else None


def _of_input(error: BaseException) -> str | None:
    """The sentence of an `InputError`, also of one in a worker's traceback."""
    text = str(error)
    if "Traceback (most recent call last)" in text:
        found = re.search(rf"^(?:[\w.]+\.)?{InputError.__name__}: (.*)", text, re.MULTILINE | re.DOTALL)
        return found[1] if found else None
    return text if isinstance(error, InputError) else None


def _of_system(error: OSError) -> str:
    place = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full while writing{place}; free some space or choose another output place."
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"No permission for{place or ' that file'}; choose a place that you may write to."
    if error.errno in (errno.EBUSY, errno.EXDEV):
        what = f"What is at{place or ' that path'}"
        return f"{what} cannot be replaced, as it is mounted or in use; choose a path inside it."
    if error.errno == errno.ENOENT:
        return f"There is no file or folder{place}; check the path."
    return f"{error.strerror or error}{':' + place if place else ''}."
