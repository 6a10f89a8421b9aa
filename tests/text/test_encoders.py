"""Tests of every encoder, and of frozen encoders."""

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import nn

from realign.batch import TextFeatures
from realign.errors import InputError
from realign.masking import lengths_to_mask
from realign.text import CachedTextEncoder, FrozenTextEncoder, HashingEncoder, MiniLMEncoder, TextEncoder
from realign.text.base import check_texts

TEXTS = ["a person walks forward", "", "someone waves the right hand, then turns around slowly and sits down"]


class LetterBackbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.letters = nn.Embedding(256, 8)
        self.dropout = nn.Dropout(0.5)
        self.out = nn.Linear(8, 8)

    def forward(self, texts):
        ids = [torch.tensor([0, *text.encode()], device=self.out.weight.device) for text in texts]
        mask = lengths_to_mask(torch.tensor([len(row) for row in ids]), 200).to(self.out.weight.device)
        padded = torch.stack([nn.functional.pad(row, (0, 200 - len(row))) for row in ids])
        tokens = self.out(self.dropout(self.letters(padded)))
        return TextFeatures(tokens, mask, tokens[:, 0] + tokens[:, 1])


class LetterEncoder(FrozenTextEncoder):
    dim = 8
    fingerprint = "letters"

    def build(self):
        return LetterBackbone()


@pytest.fixture(scope="module")
def minilm():
    return MiniLMEncoder()


@pytest.fixture(params=["hashing", "letters", "minilm", "cached"])
def encoder(request, tmp_path):
    if request.param == "minilm":
        return request.getfixturevalue("minilm")
    kinds = {
        "hashing": HashingEncoder,
        "letters": LetterEncoder,
        "cached": lambda: CachedTextEncoder(LetterEncoder(), tmp_path),
    }
    return kinds[request.param]()


def assert_same(actual, expected, **tolerance):
    for a, b in zip(vars(actual).values(), vars(expected).values(), strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def test_shapes_and_padding(encoder):
    features = encoder(TEXTS)
    rows, words, width = features.tokens.shape
    assert (rows, width) == (3, encoder.dim) and features.pooled.shape == (3, width)
    assert features.mask.shape == (3, words) and features.mask.any(0).all() and features.mask[:, 0].all()
    assert features.tokens.dtype == features.pooled.dtype == torch.float32
    assert (features.tokens[~features.mask] == 0).all()
    assert encoder.fingerprint


def test_a_caption_does_not_depend_on_its_batch(encoder):
    together = encoder(TEXTS)
    for row, text in enumerate(TEXTS):
        alone = encoder([text])
        words = int(alone.mask.sum())
        assert int(together.mask[row].sum()) == words
        torch.testing.assert_close(together.tokens[row, :words], alone.tokens[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(together.pooled[row], alone.pooled[0], rtol=1e-5, atol=1e-5)


def test_encoding_is_deterministic_in_any_mode_and_precision(encoder):
    expected = encoder(TEXTS)
    encoder.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same(encoder(TEXTS), expected, rtol=0, atol=0)


def test_features_made_under_inference_mode_may_enter_training(encoder):
    with torch.inference_mode():
        features = encoder(TEXTS)
    assert not features.tokens.is_inference() and not features.pooled.requires_grad
    weight = torch.ones(encoder.dim, requires_grad=True)
    (features.pooled * weight).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize(("texts", "message"), [([], "at least one"), (["a walk", " \t"], "blank")])
def test_blank_captions_are_refused(encoder, texts, message):
    with pytest.raises(InputError, match=message):
        encoder(texts)


@pytest.mark.parametrize(("texts", "message"), [("a walk", "list"), (["a walk", None], "string")])
def test_input_that_is_not_a_list_of_captions_is_refused(texts, message):
    with pytest.raises(InputError, match=message):
        check_texts(texts)


def test_frozen_weights_stay_out_of_parent():
    parent = nn.ModuleDict({"text": LetterEncoder(), "head": nn.Linear(8, 1)})
    before = parent.state_dict()
    parent["text"](TEXTS)
    assert set(parent.state_dict()) == set(before) == {"head.weight", "head.bias"}
    assert len(list(parent.parameters())) == 2
    parent.load_state_dict(before, strict=True)


def test_frozen_backbone_is_lazy_and_keeps_the_random_state():
    encoder = LetterEncoder()
    encoder.train()
    state = torch.get_rng_state()
    assert not encoder.is_built
    encoder(TEXTS)
    assert encoder.is_built and torch.equal(torch.get_rng_state(), state)
    backbone = encoder.backbone()
    assert not backbone.training and not any(weight.requires_grad for weight in backbone.parameters())
    assert_same(encoder(TEXTS), LetterEncoder()(TEXTS), rtol=0, atol=0)


def test_frozen_backbone_stays_float32_and_follows_the_device():
    encoder = LetterEncoder()
    encoder(TEXTS)
    encoder.to(torch.bfloat16)
    assert encoder(TEXTS).tokens.dtype == torch.float32
    encoder.to("meta")
    assert encoder.device.type == "meta"
    assert next(encoder.backbone().parameters()).device.type == "meta"


@pytest.mark.parametrize("built", [False, True])
def test_copies_and_pickles_carry_no_weights(built):
    encoder = LetterEncoder()
    if built:
        encoder(TEXTS)
    blob = pickle.dumps(encoder)
    assert len(blob) < 5000
    loaded = pickle.loads(blob)
    assert not loaded.is_built
    duplicate = copy.deepcopy(encoder)
    for other in (loaded, duplicate):
        assert_same(other(TEXTS), encoder(TEXTS), rtol=0, atol=0)
    if built:
        assert duplicate.backbone() is encoder.backbone()  # an EMA copy costs no memory


def test_no_heavy_import():
    code = "import sys, realign.text; print(sorted({'transformers', 'open_clip', 'lightning'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


class Model:
    def __init__(self, text: TextEncoder, width: int = 4):
        self.text = text


@pytest.mark.parametrize("prefix", ["realign.text.", ""])
def test_jsonargparse_builds_encoders(prefix, tmp_path):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Model, "model")
    inner = {"class_path": f"{prefix}HashingEncoder", "init_args": {"dim": 16}}
    outer = {"class_path": f"{prefix}CachedTextEncoder", "init_args": {"encoder": inner, "cache_dir": str(tmp_path)}}
    model = parser.instantiate_classes(parser.parse_object({"model": {"text": outer}})).model
    assert isinstance(model.text, CachedTextEncoder) and model.text.dim == 16
    assert model.text(["a walk"]).pooled.shape == (1, 16)
    parsed = parser.parse_args([f"--model.text={prefix}MiniLMEncoder"])
    assert isinstance(parser.instantiate_classes(parsed).model.text, MiniLMEncoder)


def test_jsonargparse_takes_an_encoder_as_subclass_argument():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(TextEncoder, "text")
    parsed = parser.parse_args(["--text=realign.text.HashingEncoder", "--text.dim=8"])
    assert parser.instantiate_classes(parsed).text.fingerprint == "hashing/8"
