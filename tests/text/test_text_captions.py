"""Normal form of captions, and detection of text that an encoder does not read."""

import warnings

import pytest
import torch
from transformers import AutoTokenizer

from realign.errors import InputError, InputWarning
from realign.text import CachedTextEncoder, HashingEncoder, HuggingFaceEncoder, MiniLMEncoder, OpenClipEncoder
from realign.text.captions import caption_notes, cut_captions, foreign_captions, plain_caption, warn_about

LONG = "a person walks forward and turns left " * 60  # every word is one token of every encoder here


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffa person walks to the café",
        "  a person\twalks\u00a0to  the cafe\u0301\r",
        "a per\u00adson walks\u200b to\u2028the café\u200e",
        "a person\x0bwalks\u3000to the \x00café\x7f",
    ],
)
def test_captions_that_look_the_same_are_equal(text):
    assert plain_caption(text) == "a person walks to the café"


def test_unpaired_surrogates_are_refused():
    with pytest.raises(InputError, match="not UTF-8 text"):
        plain_caption("a person \udce9")


def test_other_scripts_warn():
    fine = ["a naïve person’s 3 steps – ½ turn", "eine Person läuft"]
    foreign = ["человек", "走 walk", "ｗａｌｋ", "🏃", "123"]
    assert foreign_captions([*fine, *foreign]) == foreign


@pytest.fixture(scope="module")
def encoders(tiny_bert, tiny_t5, tmp_path_factory):
    minilm = MiniLMEncoder()
    return {
        "clip": (OpenClipEncoder("ViT-B-32", None), 77, 2),
        "minilm": (minilm, 256, 2),
        "cached": (CachedTextEncoder(minilm, tmp_path_factory.mktemp("cache")), 256, 2),
        "bert": (HuggingFaceEncoder(str(tiny_bert)), 64, 2),
        "t5": (HuggingFaceEncoder(str(tiny_t5), max_length=20), 20, 1),
    }


@pytest.mark.parametrize("name", ["clip", "minilm", "cached", "bert", "t5"])
def test_a_caption_is_cut_at_the_token_limit(encoders, name):
    encoder, limit, marks = encoders[name]
    (cut,) = cut_captions(encoder, [LONG.strip(), "a person walks", ""])
    words = LONG.split()
    assert cut.limit == limit and cut.read.split() == words[: limit - marks]
    assert cut.unread.split() == words[limit - marks :]
    assert not cut_captions(encoder, [cut.read])
    assert cut_captions(encoder, [f"{cut.read} left"])[0].unread == "left"


def test_the_reported_text_is_the_text_that_is_read(tiny_bert):
    encoder = HuggingFaceEncoder(str(tiny_bert))
    (cut,) = cut_captions(encoder, [LONG])
    torch.testing.assert_close(encoder([cut.read]).pooled, encoder([LONG]).pooled, rtol=0, atol=0)
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    assert len(tokenizer(cut.read).input_ids) == tokenizer.model_max_length == 64


def test_a_script_without_blanks_is_cut_at_a_character(encoders):
    (cut,) = cut_captions(encoders["minilm"][0], ["走" * 300])
    assert (len(cut.read), len(cut.unread)) == (254, 46)


def test_an_encoder_without_a_limit_reads_all():
    assert HashingEncoder().token_limit() is None and not cut_captions(HashingEncoder(), [LONG])


def test_the_limit_is_known_without_weights():
    encoder = OpenClipEncoder("ViT-B-32", None)
    assert cut_captions(encoder, [LONG]) and not encoder.is_built


def test_notes_are_few_and_quote_the_end(encoders):
    encoder = encoders["bert"][0]
    notes = caption_notes([f"{LONG} {number}" for number in range(8)], [encoder, encoder, HashingEncoder()])
    assert len(notes) == 6 and "the first 62 words of 'a person walks" in notes[0] and "not read: 'left" in notes[0]
    assert notes[5] == "the same holds for 3 further captions"
    with pytest.warns(InputWarning, match="may not understand '走る人'"):
        warn_about(["走る人"], [HashingEncoder()])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_about(["a person walks"], [encoder])
