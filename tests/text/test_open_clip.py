import json
import pickle

import open_clip
import pytest
import torch

from realign.errors import InputError
from realign.hub import from_hub
from realign.text import OpenClipEncoder

TEXTS = ["a person walks forward and turns left", "", "a person jumps", "walk " * 100]
WIDTHS = {"width": 16, "heads": 2, "layers": 2}
VISION = {"image_size": 16, "layers": 1, "width": 64, "patch_size": 16}
TOWERS = {
    "plain": {"text_cfg": {**WIDTHS, "context_length": 77}},
    "eos": {"text_cfg": {**WIDTHS, "context_length": 77, "pool_type": "eos", "eos_id": 49407}},
    "quick": {"text_cfg": {**WIDTHS, "context_length": 77}, "quick_gelu": True},
    "custom": {"text_cfg": {**WIDTHS, "context_length": 77, "proj_bias": True}, "custom_text": True},
    "two-way": {"text_cfg": {**WIDTHS, "context_length": 77, "no_causal_mask": True}, "custom_text": True},
    "last": {
        "text_cfg": {**WIDTHS, "context_length": 32, "no_causal_mask": True, "pool_type": "last", "proj_type": "none"},
        "custom_text": True,
        "embed_dim": 16,
    },
    "coca": {
        "text_cfg": {**WIDTHS, "context_length": 76, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**WIDTHS, "context_length": 76},
        "vision_cfg": {**VISION, "attentional_pool": True, "attn_pooler_heads": 8, "output_tokens": True},
        "custom_text": True,
    },
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Tiny models of every kind, their weights on disk."""
    folder = tmp_path_factory.mktemp("clip")
    files = {}
    for kind, config in TOWERS.items():
        path = folder / f"tiny-{kind}.json"
        path.write_text(json.dumps({"embed_dim": 24, "vision_cfg": VISION, **config}))
        open_clip.add_model_config(path)
        model = open_clip.create_model(f"tiny-{kind}").eval()
        files[kind] = (model, folder / f"{kind}.pt")
        torch.save(model.state_dict(), files[kind][1])
    return files


@pytest.mark.parametrize("kind", TOWERS)
def test_sentence_equals_encode_text(models, kind):
    model, file = models[kind]
    encoder = OpenClipEncoder(f"tiny-{kind}", str(file))
    features = encoder(TEXTS)
    ids = open_clip.get_tokenizer(f"tiny-{kind}")(TEXTS)
    with torch.no_grad():
        options = {"normalize": False} if kind == "coca" else {}
        torch.testing.assert_close(features.pooled, model.encode_text(ids, **options), rtol=1e-5, atol=1e-6)
    assert features.tokens.shape == (4, ids.shape[1], encoder.dim)
    assert features.mask.sum(1).tolist() == (ids != 0).sum(1).tolist()
    if kind not in ("last", "coca"):  # where the end-of-text token is the sentence
        ends = features.mask.sum(1) - 1
        torch.testing.assert_close(features.tokens[torch.arange(4), ends], features.pooled, rtol=0, atol=0)


def test_words_up_to_end_of_text_only(models):
    features = OpenClipEncoder("tiny-plain", str(models["plain"][1]))(TEXTS[:3])
    assert features.mask.sum(1).tolist() == [9, 2, 5]
    assert features.tokens.shape[1] == 9


def test_only_the_text_tower_is_kept(models):
    backbone = OpenClipEncoder("tiny-plain", str(models["plain"][1])).backbone()
    names = {name for name, _ in backbone.named_parameters()}
    assert names and not any("visual" in name or "logit" in name for name in names)


def test_weights_of_a_file_are_named_by_content(models, tmp_path):
    from safetensors.torch import save_model

    model, file = models["plain"]
    copy = tmp_path / "renamed.pt"
    copy.write_bytes(file.read_bytes())
    names = {OpenClipEncoder("tiny-plain", str(path)).fingerprint for path in (file, copy)}
    assert len(names) == 1 and names.pop().startswith("open_clip/tiny-plain/sha256-")
    save_model(model, str(tmp_path / "safe.safetensors"))
    safe = OpenClipEncoder("tiny-plain", str(tmp_path / "safe.safetensors"))
    torch.testing.assert_close(safe(TEXTS).pooled, OpenClipEncoder("tiny-plain", str(file))(TEXTS).pooled)


def test_random_weights_are_the_same_each_time(models):
    first, second = OpenClipEncoder("tiny-plain", None), OpenClipEncoder("tiny-plain", None)
    state = torch.get_rng_state()
    assert torch.equal(first(TEXTS).pooled, second(TEXTS).pooled)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.fingerprint == "open_clip/tiny-plain/random"


def test_a_tag_selects_its_activation(models, monkeypatch):
    """ViT-L-14 with the tag openai must run with QuickGELU, although its configuration says GELU."""
    _, file = models["plain"]
    encoder = OpenClipEncoder("tiny-plain", str(file))
    quick = OpenClipEncoder("tiny-quick", str(file))(TEXTS).pooled
    assert not torch.allclose(encoder(TEXTS).pooled, quick, atol=1e-4)
    tag = {"file": str(file), "quick_gelu": True}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag_name: tag)
    monkeypatch.setattr("realign.text.open_clip._cached", lambda hub, cache_dir: str(file))
    tagged = OpenClipEncoder("tiny-plain", "openai")
    torch.testing.assert_close(tagged(TEXTS).pooled, quick, rtol=0, atol=0)
    assert tagged.fingerprint == "open_clip/tiny-plain/openai"


def test_the_default_is_known_without_weights():
    encoder = OpenClipEncoder()
    assert encoder.dim == 768 and encoder.fingerprint == "open_clip/ViT-L-14/openai" and not encoder.is_built


def test_unknown_names_get_suggestions():
    with pytest.raises(InputError, match="no model 'vit-l14'; close to it: ViT-L-14,"):
        OpenClipEncoder("vit-l14")
    with pytest.raises(InputError, match="neither a file nor a pretrained tag of 'ViT-L-14'; close to it: openai"):
        OpenClipEncoder("ViT-L-14", "opnai")
    with pytest.raises(InputError, match="no pretrained tags, so give a file"):
        OpenClipEncoder("ViT-S-32", "openai")


def test_without_network_the_file_to_download_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    encoder = OpenClipEncoder(cache_dir=str(tmp_path))
    with pytest.raises(InputError, match=r"safetensors from .*name=ViT-L-14-quickgelu, pretrained=/path/to") as caught:
        encoder(TEXTS)
    assert "\n" not in str(caught.value)


def test_a_failed_download_is_one_sentence(monkeypatch):
    def load(local):
        raise OSError("not here" if local else "connection reset by peer\nand more")

    monkeypatch.setattr("realign.hub._reachable", lambda host: True)
    with pytest.raises(
        InputError, match=r"^The file could not be downloaded \(connection reset by peer\); try again.$"
    ):
        from_hub(load, "The file", "try again")


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


@pytest.mark.parametrize("content", ["pickled code", "noise", "of another model", "incomplete"])
def test_bad_files_are_refused(models, tmp_path, content, capsys):
    path = tmp_path / "weights.pt"
    states = {
        "of another model": {"weight": torch.zeros(2)},
        "incomplete": {k: v for k, v in models["plain"][0].state_dict().items() if k != "ln_final.weight"},
    }
    if content in states:
        torch.save(states[content], path)
    else:
        path.write_bytes(pickle.dumps(Evil()) if content == "pickled code" else b"noise" * 10)
    with pytest.raises(InputError, match=r"weights\.pt") as caught:
        OpenClipEncoder("tiny-plain", str(path))(TEXTS)
    assert "\n" not in str(caught.value) and "code ran" not in capsys.readouterr().out


def test_weights_of_another_shape_are_refused(models, tmp_path):
    state = models["plain"][0].state_dict()
    torch.save({**state, "ln_final.weight": torch.zeros(3)}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="no weights for 'tiny-plain'"):
        OpenClipEncoder("tiny-plain", str(tmp_path / "weights.pt"))(TEXTS)


def test_tower_from_hugging_face(tiny_bert, tmp_path):
    text = {"hf_model_name": str(tiny_bert), "hf_tokenizer_name": str(tiny_bert), "hf_pooler_type": "mean_pooler"}
    config = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": {**text, "context_length": 12, "hf_proj_type": "mlp"}}
    (tmp_path / "tiny-hf.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-hf.json")
    model = open_clip.create_model("tiny-hf", pretrained_text=False).eval()
    torch.save(model.state_dict(), tmp_path / "hf.pt")
    features = OpenClipEncoder("tiny-hf", str(tmp_path / "hf.pt"))(TEXTS)
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer("tiny-hf")(TEXTS))
    torch.testing.assert_close(features.pooled, expected, rtol=1e-5, atol=1e-6)
    assert features.tokens.shape == (4, 12, 24) and features.mask.sum(1).tolist() == [9, 2, 5, 12]


def test_captions_are_cut_where_asked_with_the_end_of_text_kept(models):
    model, file = models["plain"]
    encoder = OpenClipEncoder("tiny-plain", str(file), max_tokens=22)
    ids = open_clip.get_tokenizer("tiny-plain")(TEXTS, context_length=22)
    padded = torch.zeros(4, 77, dtype=ids.dtype)
    padded[:, :22] = ids
    with torch.no_grad():
        torch.testing.assert_close(encoder(TEXTS).pooled, model.encode_text(padded), rtol=1e-5, atol=1e-6)
    assert encoder.token_limit().tokens == 22 and encoder.fingerprint.endswith("/22")
    assert encoder.fingerprint != OpenClipEncoder("tiny-plain", str(file)).fingerprint
    for count in (2, 78):
        with pytest.raises(InputError, match=f"between 3 and the 77 .* but is {count}"):
            OpenClipEncoder("tiny-plain", str(file), max_tokens=count)


def test_hidden_words_fill_the_context_and_the_end_of_text_is_the_sentence(models):
    model, file = models["plain"]
    encoder = OpenClipEncoder("tiny-plain", str(file), words="hidden")
    ids = open_clip.get_tokenizer("tiny-plain")(TEXTS)
    with torch.no_grad():  # as MotionDiffuse runs the parts of CLIP
        x = model.token_embedding(ids) + model.positional_embedding
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask))
    features = encoder(TEXTS)
    assert encoder.dim == 16 and features.tokens.shape == (4, 77, 16) and features.mask.all()
    torch.testing.assert_close(features.tokens, x, rtol=1e-5, atol=1e-6)
    assert torch.equal(features.pooled, features.tokens[torch.arange(4), ids.argmax(1)])
    with pytest.raises(InputError, match="projected or hidden, not 'raw'"):
        OpenClipEncoder("tiny-plain", str(file), words="raw")
