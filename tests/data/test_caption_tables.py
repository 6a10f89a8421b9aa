"""Tables of captions against dictionaries filled one caption after another."""

import copy
import tracemalloc

import numpy as np
import pytest

from realign.data.caption_tables import caption_tokens, plain_captions
from realign.data.prepare.captions import swap_sides

CAPTIONS = {
    "a": ["a person walks left", "strolls", "wanders off"],
    "b": ["strolls", "a person walks right"],  # the first one is another's second, the second a mirror image
    "c": ["a person walks left", "wanders off", "waves the left hand"],
    "d": ["jumps", "strolls"],
}


class Packed:
    """The captions of a set, and nothing else of it."""

    def __init__(self, captions: dict[str, list[str]]) -> None:
        self._all = list(captions.values())
        self.clips = np.array([(len(each),) for each in self._all], dtype=[("captions", np.int32)])

    def select(self, split: str = "all"):
        return np.arange(len(self._all))

    def captions(self, row: int) -> list[str]:
        return self._all[row]

    def caption(self, row: int, which: int = 0) -> str:
        return self._all[row][which]

    def tokens(self, row: int, which: int = 0) -> str:
        return f"{self._all[row][which]}/{row}/{which}"


def _mirror(found: dict[str, str]) -> dict[str, str]:
    return {swap_sides(key): swap_sides(value) for key, value in found.items()} | found


def test_the_same_as_dictionaries() -> None:
    packed = Packed(CAPTIONS)
    tokens = {caption: packed.tokens(row, i) for row in range(4) for i, caption in enumerate(packed.captions(row))}
    plain: dict[str, str] = {}
    for row in range(4):
        first, *others = packed.captions(row)
        plain[first] = first
        for caption in others:
            plain.setdefault(caption, first)
    for table, expected in ((caption_tokens(packed), _mirror(tokens)), (plain_captions(packed), _mirror(plain))):
        assert dict(table) == expected
        assert len(table) == len(expected)
        assert all(table[caption] == text for caption, text in expected.items())
        assert "walks" not in table and table.get("walks", "none") == "none"
        with pytest.raises(KeyError, match="walks"):
            table["walks"]
        assert copy.deepcopy(table) is table


def test_no_text_is_kept() -> None:
    packed = Packed({str(i): [f"caption {i} of some length that would be seen in memory {j}" for j in range(3)]
                     for i in range(3000)})  # fmt: skip
    tracemalloc.start()
    table = plain_captions(packed)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(table) == 9000 and kept < 40 * 9000  # bytes; a dictionary takes some 300 a caption
