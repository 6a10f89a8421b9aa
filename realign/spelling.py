"""Names similar to a mistyped one."""

import difflib
from collections.abc import Iterable


def similar(word: str, names: Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """The names that are most similar to a word, best first; upper and lower case count as the same.

    Args:
        word: What was written.
        names: What could have been meant.
        count: Names to return at most.
        cutoff: Least similarity, between 0 and 1.
    """
    by_key: dict[str, str] = {}
    for name in names:
        by_key.setdefault(name.casefold(), name)
    key = word.casefold()
    found = difflib.get_close_matches(key, by_key, count + 3, cutoff)
    swapped = [each for each in found if sorted(each) == sorted(key)]  # letters in another order come first
    return [by_key[each] for each in dict.fromkeys([*swapped, *found])][:count]


def suggestion(word: str, names: Iterable[str], otherwise: str, cutoff: float = 0.6) -> str:
    """``did you mean NAME?``, or another remedy if no name is similar."""
    found = similar(word, names, cutoff=cutoff)
    return f"did you mean {found[0]}?" if found else otherwise
