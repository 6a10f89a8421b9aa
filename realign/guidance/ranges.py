"""Ranges of frames as users write them."""

import re

from realign.errors import InputError

Range = tuple[int | None, int | None]
"""First frame, and the one after the last; None is the start or the end, and negative numbers count from the end."""


def read_range(text: str | int) -> Range:
    """A range of frames from ``START:STOP``, either of which may be missing, or from the number of one frame.

    Examples:
        >>> read_range("-60:"), read_range("0:20"), read_range(5)
        ((-60, None), (0, 20), (5, 6))

    Raises:
        InputError: It is neither.
    """
    found = re.fullmatch(r"\s*(-?\d+)?\s*(:)?\s*(-?\d+)?\s*", str(text))
    if found is None or not any(found.groups()):
        raise InputError(f"{text!r} is not a range of frames; write START:STOP, such as 0:20, or -60: for the last 60.")
    start, colon, stop = found.groups()
    first = None if start is None else int(start)
    if colon is None:
        return first, (first or 0) + 1 or None  # the frame -1 ends at the end
    return first, None if stop is None else int(stop)
