"""Joint names in files: their common prefixes, their side and their body part."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

# Prefixes and numbers that more than this fraction of the names have are removed.
_MOST = 0.6
_SIDES = {"l": "left", "r": "right", "left": "left", "right": "right"}
# Parts that some files write in lower case directly after the side, as in lfemur.
_LOWER_CASE = "femur|tibia|foot|toes?|humerus|radius|wrist|hand|thigh|shin|calf|knee|ankle|hip|shoulder|elbow|forearm"


@lru_cache(maxsize=4096)
def _plain(name: str) -> str:
    """A joint name without namespace, Mixamo prefix, case and separators."""
    name = re.sub(r"^mixamorig\d*[:_]?", "", re.split(r"[:|]", name)[-1], flags=re.IGNORECASE)
    return re.sub(r"[\s_\-]", "", name).lower()


@lru_cache(maxsize=16)  # called once for each rig
def lookup(names: tuple[str, ...]) -> dict[str, int]:
    """First index by name as written, plain name, plain name without common prefixes, and side/part."""
    bare = _bare(names)
    table: dict[str, int] = {}
    for forms in (names, map(_plain, names), map(_plain, bare), map(_side_and_part, bare)):
        for index, name in enumerate(forms):
            table.setdefault(name, index)
    return table


def _bare(names: Sequence[str]) -> list[str]:
    """Names without namespaces, and without prefixes (``Bip01``) and running numbers that most of them have."""
    bare = [re.split(r"[:|]", name)[-1].strip() for name in names]
    while True:
        firsts = [re.match(r"([A-Za-z0-9]+)[\s_.\-]+(?=\w)", name) for name in bare]
        counts = Counter(match[1].lower() for match in firsts if match)
        word, count = counts.most_common(1)[0] if counts else ("", 0)
        if count <= _MOST * len(bare) or word in _SIDES:
            break
        bare = [
            name[match.end() :] if match and match[1].lower() == word else name
            for name, match in zip(bare, firsts, strict=True)
        ]
    numbers = [re.search(r"[\s_.](\d+)(?=\.end\d*$|$)", name) for name in bare]
    if len({match[1] for match in numbers if match}) > _MOST * len(bare):
        bare = [name[: match.start()] if match else name for name, match in zip(bare, numbers, strict=True)]
    return bare


def _side_and_part(name: str) -> str:
    """``left/thigh`` for Thigh_L, l_thigh, LThigh, thigh.L, LeftThigh and similar; ``/spine1`` for spine_01."""
    side = ""
    for pattern in (
        r"^(left|right)|(left|right)$",
        r"(?:^|[\s_.\-])(l|r|left|right)(?=[\s_.\-]|$)",
        r"^([lr])(?=(?-i:[A-Z]))|(?<=(?-i:[a-z0-9]))(?-i:([LR]))$",
        rf"^([lr])(?=(?:{_LOWER_CASE})$)",
    ):
        if match := re.search(pattern, name, flags=re.IGNORECASE):
            side = _SIDES[next(group for group in match.groups() if group).lower()]
            name = name[: match.start()] + name[match.end() :]
            break
    else:  # some files mark joints of the middle, too
        name = re.sub(r"^[cm][\s_.\-]+|[\s_.\-]+[cm]$", "", name, flags=re.IGNORECASE)
    part = re.sub(r"[^a-z0-9]", "", re.sub(r"[\s_.\-]?(jnt|joint|bone)$", "", name.lower()))
    return f"{side}/{re.sub(r'0+(?=[0-9])', '', part)}"


def first(candidates: Sequence[str], table: Mapping[str, int]) -> int | None:
    """Index of the first candidate that exists, by its written or plain name."""
    keys = (key for name in candidates for key in (name, _plain(name)))
    return next((table[key] for key in keys if key in table), None)
