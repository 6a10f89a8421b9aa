"""Words of captions, and the sentences that are unlike a training set."""

from pathlib import Path

import pytest

from realign.errors import InputError
from realign.text.unlike import new_words, stem, unlike_sentences, vocabulary


@pytest.mark.parametrize(
    "forms",
    ["walk walks walked walking", "wave waves waved waving", "clap claps clapped clapping", "carry carries carried",
     "stop stops stopped stopping", "kneel kneels kneeling", "cartwheel cartwheels", "cross crossed crosses"],
)  # fmt: skip
def test_forms_of_a_word_have_one_stem(forms: str) -> None:
    assert len({stem(word) for word in forms.split()}) == 1


def test_new_words_are_named_once_as_written() -> None:
    stems = vocabulary(["a person walks forward", "someone waves"])
    assert new_words("a person walked, waving", stems) == ()
    assert new_words("A person Saunters and saunters: claps", stems) == ("Saunters", "and", "saunters", "claps")


def test_sentences_of_known_actions_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "unlike.txt"
    lines = [f"a person does the action{number}x quickly *verb{number}x*" for number in range(60)]
    file.write_text("\n".join(["# a comment", "someone *swims*", "someone *swims* and *dives*", *lines]))
    one, other = unlike_sentences(vocabulary(["a person is diving"]), file)
    assert not set(one) & set(other) and len(one) + len(other) == 61
    assert "someone swims" in one + other and not any("dives" in each or "#" in each for each in one + other)
    swims = [half for half in unlike_sentences(set(), file) if any("swims" in each for each in half)]
    assert len(swims) == 1, "sentences of one action are in the same half"


def test_too_few_sentences_are_refused(tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("someone *swims*\n")
    with pytest.raises(InputError, match=r"few.txt are unlike.*--unlike"):
        unlike_sentences(set(), tmp_path / "few.txt")


def test_the_list_in_the_package_serves_sets_with_and_without_everyday_actions() -> None:
    everyday = vocabulary(["a person walks runs jumps sits throws kicks dances swims claps eats crawls"])
    for stems in (set(), everyday):
        one, other = unlike_sentences(stems)
        assert min(len(one), len(other)) > 60
    assert not any("claps" in each for half in unlike_sentences(everyday) for each in half)
