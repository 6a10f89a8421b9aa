"""Words and parts of speech as the evaluator of Guo et al. (CVPR 2022) reads them."""

from collections.abc import Sequence

from realign.text.words import split_words

TAGS = ("VERB", "NOUN", "DET", "ADP", "NUM", "AUX", "PRON", "ADJ", "ADV",
        "Loc_VIP", "Body_VIP", "Obj_VIP", "Act_VIP", "Desc_VIP", "OTHER")  # fmt: skip
"""The fifteen tags in the order of their one-hot vectors."""

OTHER = TAGS.index("OTHER")
START, END = ("sos", "OTHER"), ("eos", "OTHER")
MAX_WORDS = 20  # further words of a caption are not read; start and end come on top

_SPECIAL_WORDS = {
    "Loc_VIP": "left right clockwise counterclockwise anticlockwise forward back backward up down straight curve",
    "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
    "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
    "Act_VIP": "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop sit lift lower raise "
    "wash stand kneel stroll rub bend balance flap jog shuffle lean rotate spin spread climb",
    "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
}
_SPECIAL = {word: TAGS.index(tag) for tag, words in _SPECIAL_WORDS.items() for word in words.split()}
_TAG = {tag: number for number, tag in enumerate(TAGS)}


def read_tokens(tokens: str, caption: str) -> list[tuple[str, str]]:
    """Words with tags, start and end included.

    Args:
        tokens: "word/POS word/POS ..." as the text files of the data sets hold them; empty where there are none.
        caption: The caption, whose lower-case words without punctuation, each tagged OTHER, stand in for them then.
    """
    if tokens.strip():
        pairs = [(word, tag) for word, _, tag in (token.rpartition("/") for token in tokens.split())]
    else:
        pairs = [(word, "OTHER") for word in split_words(caption) if word.isalnum()]
    return [START, *pairs[:MAX_WORDS], END]


def tag_numbers(pairs: Sequence[tuple[str, str]], known: Sequence[bool]) -> list[int]:
    """Which of `TAGS` each word gets: that of its word list, else its own; OTHER for words without a vector.

    Args:
        pairs: Words with tags.
        known: Which words the table of vectors knows.
    """
    return [
        _SPECIAL.get(word, _TAG.get(tag, OTHER)) if has_vector else OTHER
        for (word, tag), has_vector in zip(pairs, known, strict=True)
    ]
