"""Captions as users write them: one form for equal-looking texts, and notes on what a text encoder does not read."""

import unicodedata
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from realign.errors import InputError, InputWarning
from realign.text.base import TextEncoder

_JOINERS = "\u200c\u200d"  # invisible, but part of how Persian, Indian scripts and emoji are spelled
_MOST = 5  # captions that are named one by one


class Cut(NamedTuple):
    """A caption of more tokens than an encoder reads.

    Attributes:
        text: The caption.
        read: Its beginning, which is read.
        unread: The rest, which is ignored.
        limit: Tokens that are read, marks of beginning and end included.
    """

    text: str
    read: str
    unread: str
    limit: int


def plain_caption(text: str) -> str:
    """A caption with single blanks, composed letters (Unicode NFC) and no invisible characters.

    Examples:
        >>> plain_caption("a person\\u00a0 walks\\u200b \\n to the cafe\\u0301 ")
        'a person walks to the café'

    Raises:
        InputError: It holds half a character, as a damaged terminal or file gives.
    """
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(
            f"The caption {text!r} is not UTF-8 text; set the terminal or file to UTF-8 and write it again."
        )
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    words = unicodedata.normalize("NFC", text).split()
    return " ".join(word for word in map(_visible, words) if word)


def _visible(word: str) -> str:
    if word.isascii() and word.isprintable():
        return word
    return "".join(c for c in word if unicodedata.category(c) not in ("Cc", "Cf") or c in _JOINERS)


def foreign_captions(texts: Sequence[str]) -> list[str]:
    """Captions with letters other than Latin ones or without letters, which English encoders hardly know."""
    return [text for text in texts if not any(map(str.isalpha, text)) or any(map(_is_foreign, text))]


def _is_foreign(character: str) -> bool:
    return character.isalpha() and not unicodedata.name(character, "LATIN").startswith("LATIN")


def cut_captions(encoder: TextEncoder, texts: Sequence[str]) -> list[Cut]:
    """The captions that an encoder does not read to their end, by its own tokens and limit."""
    limit = encoder.token_limit()
    if limit is None:
        return []
    cuts = []
    for text in dict.fromkeys(texts):
        # no tokenizer makes more tokens than bytes, so that most captions need not be tokenized
        if len(unicodedata.normalize("NFKD", text).encode()) + 4 <= limit.tokens:
            continue
        if limit.count(text) > limit.tokens:
            ends = [place for place, character in enumerate(text) if character == " "]
            whole = bisect_right(ends, limit.tokens, key=lambda end: limit.count(text[:end]))
            if not whole:  # one long word, or a script without blanks
                ends = list(range(1, len(text)))
                whole = bisect_right(ends, limit.tokens, key=lambda end: limit.count(text[:end]))
            place = ends[whole - 1] if whole else 0
            cuts.append(Cut(text, text[:place], text[place:].strip(), limit.tokens))
    return cuts


def caption_notes(
    texts: Sequence[str], encoders: Iterable[TextEncoder], unlike_training: Sequence[str] = ()
) -> list[str]:
    """Notes on captions for users, one line each.

    Args:
        texts: The captions.
        encoders: The encoders that read them.
        unlike_training: Further notes, on captions that are unlike those trained on.
    """
    foreign = map(_short, foreign_captions(list(dict.fromkeys(texts))))
    notes = _some([f"the text encoder was trained on English and may not understand {text}" for text in foreign])
    for name, encoder in {each.fingerprint: each for each in encoders}.items():
        told = []
        for text, read, unread, tokens in cut_captions(encoder, texts):
            much = f"{len(read.split())} words" if " " in text else f"{len(read)} characters"
            told.append(
                f"the text encoder {name} reads {tokens} tokens, the first {much} of {_short(text)}; what follows is "
                f"not read: {_short(unread)}"
            )
        notes += _some(told)
    return notes + _some(list(unlike_training))


def _some(notes: list[str]) -> list[str]:
    more = len(notes) - _MOST
    return [*notes[:_MOST], f"the same holds for {more} further captions"] if more > 0 else notes


def encoders_of(*models: object) -> list[TextEncoder]:
    """The text encoders of models that have one."""
    found = [getattr(model, "text_encoder", None) for model in models]
    return [each for each in found if isinstance(each, TextEncoder)]


def warn_about(texts: Sequence[str], encoders: Iterable[TextEncoder], unlike_training: Sequence[str] = ()) -> None:
    """Warn of each of the `caption_notes`; commands print them as notes."""
    for text in caption_notes(texts, encoders, unlike_training):
        warnings.warn(text, InputWarning, stacklevel=3)


def _short(text: str, most: int = 80) -> str:
    return repr(text if len(text) <= most else f"{text[: most - 3]}...")
