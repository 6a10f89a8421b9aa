"""Words of captions, and sentences that are unlike the captions of a training set."""

import re
from collections.abc import Iterable, Set
from importlib.resources import files
from pathlib import Path

from realign.errors import InputError
from realign.files import read_lines
from realign.seeding import mix_seed

_WORD, _STARRED = re.compile(r"[^\W_]+"), re.compile(r"\*(.+?)\*")
_FEWEST = 10  # sentences of each half


def stem(word: str) -> str:
    """A word without the endings of English verbs and plurals, so that its forms are equal.

    Examples:
        >>> [stem(word) for word in ("claps", "Clapping", "wave", "waved", "carries", "cross")]
        ['clap', 'clap', 'wav', 'wav', 'carry', 'cross']
    """
    word = word.lower()
    for ending, end in (("ies", "y"), ("ied", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)] + end
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
        word = word[:-1]
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def words_of(text: str) -> list[str]:
    """The words of a caption as written."""
    return _WORD.findall(text)


def new_words(text: str, stems: Set[str]) -> tuple[str, ...]:
    """The different words of a caption whose stem is not among these."""
    return tuple(dict.fromkeys(word for word in words_of(text) if stem(word) not in stems))


def vocabulary(captions: Iterable[str]) -> set[str]:
    """The stems of all words of captions."""
    return {stem(word) for text in captions for word in words_of(text)}


def unlike_sentences(stems: Set[str], file: Path | None = None) -> tuple[list[str], list[str]]:
    """Two halves of the sentences that are unlike a training set: one to calibrate with, one to measure with.

    A sentence is left out if the training captions have one of its *starred* words. Sentences with the same first
    starred word are in the same half.

    Args:
        stems: `vocabulary` of the training captions.
        file: One sentence a line, in the form of ``unlike.txt``; that in the package when None.

    Raises:
        InputError: The file cannot be read, or too few sentences are left.
    """
    lines = read_lines(Path(str(files("realign.text") / "unlike.txt")) if file is None else file)
    halves: tuple[list[str], list[str]] = ([], [])
    for line in lines:
        starred = [stem(word) for part in _STARRED.findall(line) for word in words_of(part)]
        if not line.startswith("#") and not stems & set(starred):
            halves[mix_seed(starred[0] if starred else line) % 2].append(line.replace("*", ""))
    if min(map(len, halves)) < _FEWEST:
        raise InputError(
            f"Only {sum(map(len, halves))} sentences of {file or 'the list in the package'} are unlike the training "
            "captions; name a file of such sentences, one a line, with --unlike."
        )
    return halves
