import pytest
import torch

from realign.errors import InputError
from realign.text.words import WordVectors, split_words

SENTENCES = [split_words(text) for text in ("a person walks", "a person runs", "a dog walks", "a cat sleeps")]


def table(vocabulary: int = 16, **options: float) -> WordVectors:
    torch.manual_seed(0)
    words = WordVectors(4, vocabulary, buckets=3, **options).eval()
    words.learn(SENTENCES)
    return words


def test_known_words_have_own_rows_and_others_share_buckets():
    words = table()
    known = sorted({word for sentence in SENTENCES for word in sentence})
    rows, found = words.find(known)
    assert found.all() and len(set(rows.tolist())) == len(known) and int(rows.max()) < 16
    strange = [f"word{i}" for i in range(40)]
    rows, found = words.find(strange)
    assert not found.any() and set(rows.tolist()) == {16, 17, 18}
    assert torch.equal(rows, words.find(strange)[0])


def test_the_vocabulary_keeps_the_most_frequent_words_in_any_order():
    few, turned = WordVectors(4, 3), WordVectors(4, 3)
    assert not few.ready
    few.learn(SENTENCES)
    turned.learn(reversed(SENTENCES))
    assert few.ready and torch.equal(few.words, turned.words)
    assert few.eval().find(["a", "person", "walks", "cat"])[1].tolist() == [True, True, True, False]


def test_the_vocabulary_is_in_the_state_dict():
    words, other = table(), WordVectors(4, 16, buckets=3).eval()
    other.load_state_dict(words.state_dict())
    for one, two in zip(words(SENTENCES), other(SENTENCES), strict=True):
        assert torch.equal(one, two)


def test_vectors_are_read_by_row_and_padding_is_zero():
    words = table()
    vectors, lengths = words([["a"], ["a", "dog", "walks"]])
    assert vectors.shape == (2, 3, 4) and lengths.tolist() == [1, 3] and not vectors[0, 1:].any()
    for place, word in enumerate(("a", "dog", "walks")):
        assert torch.equal(vectors[1, place], words.vectors.weight[words.find([word])[0][0]])


def test_some_words_are_unknown_while_training():
    words = table(unknown=0.5).train()
    torch.manual_seed(0)
    found = words.find(["walks"] * 1000)[1]
    assert 400 < int(found.sum()) < 600
    assert words.eval().find(["walks"] * 10)[1].all()


def test_given_vectors_are_used():
    words = WordVectors(2, 3, buckets=2).eval()
    vectors = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    words.load_vectors(["left", "right", "unk"], vectors, vectors[2])
    found = words([["right", "left", "nothing", "else"]])[0][0]
    assert found.tolist() == [[3, 4], [1, 2], [5, 6], [5, 6]]
    with pytest.raises(InputError, match="2 different words"):
        words.load_vectors(["left", "right", "left"], vectors, vectors[2])


def test_bad_numbers_are_refused():
    for options in ({"vocabulary": 0}, {"buckets": 0}, {"unknown": 1.0}):
        with pytest.raises(InputError, match="must be at least 1"):
            WordVectors(4, **options)
