import json
import shutil
import warnings

import pytest
import torch

from realign.errors import InputError
from realign.text import HuggingFaceEncoder

TEXTS = ["a person walks forward and turns left", "", "a person jumps", "walk " * 100]


def reference(folder, texts=TEXTS):
    """The result of sentence-transformers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(folder), device="cpu")
        return torch.from_numpy(model.encode(texts)), model.encode(texts, output_value="token_embeddings")


def test_sentence_t5_equals_sentence_transformers(tiny_t5):
    encoder = HuggingFaceEncoder(str(tiny_t5))
    expected, words = reference(tiny_t5)
    features = encoder(TEXTS)
    assert (
        encoder.dim == 12
        and features.tokens.shape[2] == 12
        and type(encoder.backbone().model).__name__ == "T5EncoderModel"
    )
    torch.testing.assert_close(features.pooled, expected, rtol=1e-5, atol=1e-6)
    raw = HuggingFaceEncoder(str(tiny_t5), pooling="mean")
    tokens = raw(TEXTS).tokens
    assert raw.dim == 16
    for row, expected_words in enumerate(words):
        torch.testing.assert_close(tokens[row, : len(expected_words)], expected_words, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "cls", "eos"])
def test_pooling(tiny_bert, pooling):
    features = HuggingFaceEncoder(str(tiny_bert), pooling)(TEXTS)
    words = features.mask.sum(1)
    for row, count in enumerate(words.tolist()):
        tokens = features.tokens[row, :count]
        expected = {"mean": tokens.mean(0), "cls": tokens[0], "eos": tokens[-1]}[pooling]
        torch.testing.assert_close(features.pooled[row], expected)


def test_distilbert(tmp_path, tiny_bert):
    from transformers import DistilBertConfig, DistilBertModel

    folder = shutil.copytree(tiny_bert, tmp_path / "distilbert")
    config = DistilBertConfig(vocab_size=40, dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=64)
    DistilBertModel(config).save_pretrained(folder)
    features = HuggingFaceEncoder(str(folder))(TEXTS)
    assert features.pooled.shape == (4, 16) and features.mask.sum(1).tolist() == [9, 2, 5, 64]


def test_a_model_with_an_inseparable_decoder_is_refused(tmp_path, tiny_bert):
    from transformers import BartConfig

    folder = shutil.copytree(tiny_bert, tmp_path / "bart")
    BartConfig(vocab_size=40, d_model=16, encoder_layers=1, decoder_layers=1).save_pretrained(folder)
    with pytest.raises(InputError, match="'bart'"):
        HuggingFaceEncoder(str(folder))(TEXTS)


def test_long_captions_are_cut(tiny_bert):
    features = HuggingFaceEncoder(str(tiny_bert), max_length=5)(TEXTS)
    assert features.mask.sum(1).tolist() == [5, 2, 5, 5]


def test_a_folder_is_named_by_content_and_options(tiny_bert, tmp_path):
    copy = shutil.copytree(tiny_bert, tmp_path / "elsewhere")
    name = HuggingFaceEncoder(str(tiny_bert)).fingerprint
    assert name == HuggingFaceEncoder(str(copy)).fingerprint and name.startswith("huggingface/sha256-")
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    others = [
        HuggingFaceEncoder(str(copy)),
        HuggingFaceEncoder(str(tiny_bert), "cls"),
        HuggingFaceEncoder(str(tiny_bert), max_length=9),
    ]
    assert len({name, *(other.fingerprint for other in others)}) == 4
    assert HuggingFaceEncoder("org/model").fingerprint == "huggingface/org/model/auto/full"


def test_weights_must_be_complete_safetensors(tiny_bert, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_bert, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "layer.1.output" not in k}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(InputError, match="incomplete: .*layer.1.output"):
        HuggingFaceEncoder(str(folder))(TEXTS)
    (folder / "model.safetensors").write_bytes(b"noise")
    with pytest.raises(InputError, match="cannot be read as a text encoder"):
        HuggingFaceEncoder(str(folder))(TEXTS)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"no model\.safetensors.*save_pretrained"):
        HuggingFaceEncoder(str(folder))(TEXTS)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ("[{", "JSON"),
        ([{}, {"type": "x.CNN", "path": "1"}], "'CNN'"),
        ([{}, {"type": "x.Pooling", "path": "1"}], "max"),
    ],
)
def test_an_unknown_head_is_refused(tiny_bert, tmp_path, modules, message):
    folder = shutil.copytree(tiny_bert, tmp_path / "model")
    (folder / "modules.json").write_text(modules if isinstance(modules, str) else json.dumps(modules))
    (folder / "1").mkdir()
    (folder / "1" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(InputError, match=message):
        HuggingFaceEncoder(str(folder))(TEXTS)
    assert HuggingFaceEncoder(str(folder), pooling="mean").dim == 16


def test_without_network_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="'org/no-such-model' is not on this machine .*MiniLMEncoder") as caught:
        HuggingFaceEncoder("org/no-such-model")(TEXTS)
    assert "\n" not in str(caught.value)


def test_bad_options_are_refused(tmp_path):
    with pytest.raises(InputError, match="no model folder"):
        HuggingFaceEncoder(str(tmp_path / "nowhere"))
    with pytest.raises((InputError, TypeError), match="'max'"):  # TypeError where signatures are checked too
        HuggingFaceEncoder(str(tmp_path), pooling="max")
    with pytest.raises(InputError, match="max_length"):
        HuggingFaceEncoder(str(tmp_path), max_length=1)
