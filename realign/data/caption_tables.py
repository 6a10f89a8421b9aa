"""Tables over all captions of a prepared set."""

from realign.data.prepare.captions import swap_sides
from realign.data.store import PackedMotions


def caption_tokens(packed: PackedMotions, split: str = "all") -> dict[str, str]:
    """Words with parts of speech, "word/POS word/POS ...", by caption; empty where the source has none.

    Captions with left and right exchanged are among them, since training mirrors some samples.
    """
    found = {}
    for row in packed.select(split).tolist():
        for which in range(int(packed.clips["captions"][row])):
            found[packed.caption(row, which)] = packed.tokens(row, which)
    return _with_mirrored(found)


def plain_captions(packed: PackedMotions, split: str = "all") -> dict[str, str]:
    """The first caption of its clip by caption: clips that share it show the same, whatever their other captions say.

    Captions with left and right exchanged are among them, since training mirrors some samples.
    """
    found: dict[str, str] = {}
    for row in packed.select(split).tolist():
        first, *others = packed.captions(row)
        found[first] = first
        for caption in others:
            found.setdefault(caption, first)
    return _with_mirrored(found)


def _with_mirrored(captions: dict[str, str]) -> dict[str, str]:
    """A table and its mirror image; where both have an entry, the table's own stays."""
    return {swap_sides(key): swap_sides(value) for key, value in captions.items()} | captions
