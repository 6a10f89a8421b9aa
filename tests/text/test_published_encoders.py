"""Captions as the published models read them: the classes of transformers give the same, from the hub's layouts."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import NamedTuple

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from realign.errors import InputError
from realign.text import HuggingFaceEncoder, OpenClipEncoder
from realign.text.clip_files import read_text_tower

TEXTS = ["a person walks forward and turns left", "", "A  person JUMPS!", "walk " * 100]
TIGHT = {"rtol": 1e-5, "atol": 1e-6}


class Hub(NamedTuple):
    folder: str
    model: nn.Module
    tokenizer: object


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A small CLIP in the layout of openai/clip-vit-large-patch14, with the tokenizer of the original."""
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizerFast

    folder = tmp_path_factory.mktemp("clip-vit")
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "projection_dim": 24}
    text = {"hidden_size": 16, "vocab_size": 49408, "eos_token_id": 2, "hidden_act": "quick_gelu", **sizes}
    vision = {"hidden_size": 16, "image_size": 16, "patch_size": 16, **sizes}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)  # freshly made ones hide what an activation or a mask does
    model.save_pretrained(folder)
    words = open_clip.get_tokenizer("ViT-L-14")
    marks = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    (folder / "vocab.json").write_text(json.dumps({marks.get(word, word): n for word, n in words.encoder.items()}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, words.bpe_ranks)))
    tokenizer = CLIPTokenizerFast.from_pretrained(folder)
    config = {"embed_dim": 24, "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 16}}
    for name, heads in (("tiny-hub", 2), ("tiny-hub-4", 4)):
        path = folder / f"{name}.json"
        path.write_text(json.dumps({**config, "text_cfg": {"width": 16, "heads": heads, "layers": 2}}))
        open_clip.add_model_config(path)
    return Hub(str(folder), model, tokenizer)


def padded(texts, context=77):
    """Tokens as OpenAI's program makes them: cut at the context with the end kept, then zeros up to 77."""
    ids = open_clip.get_tokenizer("ViT-L-14")(texts, context_length=context)
    return nn.functional.pad(ids, (0, 77 - context))


def test_mld_reads_the_projected_sentence(hub):
    ids = hub.tokenizer(TEXTS, padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = hub.model.text_projection(hub.model.text_model(input_ids=ids).pooler_output)
    encoder = OpenClipEncoder("tiny-hub", hub.folder)
    torch.testing.assert_close(encoder(TEXTS).pooled, expected, **TIGHT)
    assert encoder(TEXTS).pooled.norm(dim=1).sub(1).abs().min() > 0.1  # not normalised


def test_mdm_reads_20_words(hub):
    with torch.no_grad():
        expected = hub.model.text_projection(hub.model.text_model(input_ids=padded(TEXTS, 22)).pooler_output)
    torch.testing.assert_close(OpenClipEncoder("tiny-hub", hub.folder, max_tokens=22)(TEXTS).pooled, expected, **TIGHT)


def test_motiondiffuse_reads_every_place_before_the_projection(hub):
    with torch.no_grad():
        expected = hub.model.text_model(input_ids=padded(TEXTS)).last_hidden_state
    features = OpenClipEncoder("tiny-hub", hub.folder, words="hidden")(TEXTS)
    assert features.tokens.shape == (4, 77, 16) and features.mask.all()
    torch.testing.assert_close(features.tokens, expected, **TIGHT)


def test_pickled_weights_of_a_folder_are_read_as_tensors(hub, tmp_path):
    state = load_file(f"{hub.folder}/model.safetensors")
    (tmp_path / "config.json").write_text(Path(hub.folder, "config.json").read_text())
    torch.save(state, tmp_path / "pytorch_model.bin")
    folder, other = OpenClipEncoder("tiny-hub", str(tmp_path)), OpenClipEncoder("tiny-hub", hub.folder)
    torch.testing.assert_close(folder(TEXTS).pooled, other(TEXTS).pooled, rtol=0, atol=0)
    assert folder.fingerprint.startswith("open_clip/tiny-hub/sha256-") and folder.fingerprint != other.fingerprint


def test_the_activation_is_that_of_the_folder(hub, tmp_path):
    config = json.loads(Path(hub.folder, "config.json").read_text())
    config["text_config"]["hidden_act"] = "gelu"
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(load_file(f"{hub.folder}/model.safetensors"), tmp_path / "model.safetensors")
    plain, quick = (OpenClipEncoder("tiny-hub", str(each))(TEXTS).pooled for each in (tmp_path, hub.folder))
    assert not torch.allclose(plain, quick, atol=1e-3)


@pytest.mark.parametrize("fault", ["no config", "no weights", "lacks a weight", "noise", "heads", "size"])
def test_a_folder_that_does_not_fit_is_refused(hub, tmp_path, fault):
    state = load_file(f"{hub.folder}/model.safetensors")
    if fault == "lacks a weight":
        del state["text_model.encoder.layers.1.mlp.fc2.bias"]
    if fault == "size":
        state["text_projection.weight"] = torch.zeros(8, 16)
    if fault != "no config":
        (tmp_path / "config.json").write_text(Path(hub.folder, "config.json").read_text())
    if fault != "no weights":
        save_file(state, tmp_path / "model.safetensors")
    if fault == "noise":
        (tmp_path / "model.safetensors").write_bytes(b"noise" * 9)
    told = {"lacks a weight": "lacks 'encoder.layers.1.mlp.fc2.bias'", "noise": "holds no CLIP", "size": "projection"}
    told |= {"heads": "the number of heads", "no config": "lacks config.json", "no weights": "lacks config.json or"}
    with pytest.raises(InputError, match=told[fault]) as caught:
        OpenClipEncoder("tiny-hub-4" if fault == "heads" else "tiny-hub", str(tmp_path))(TEXTS)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


class Part(nn.Module):
    """A module that holds weights and passes on what it is given, as much as TorchScript stores."""

    def forward(self, x):
        return x


def openai_file(state, path):
    """Weights in the form of OpenAI's ViT-B-32.pt: a TorchScript archive in half precision."""
    root = Part()
    for name, value in state.items():
        *folders, last = name.split(".")
        at = root
        for each in folders:
            if not hasattr(at, each):
                at.add_module(each, Part())
            at = getattr(at, each)
        at.register_parameter(last, nn.Parameter(value.half()))
    torch.jit.save(torch.jit.trace(root, torch.zeros(1)), str(path))


@pytest.fixture(scope="module")
def script(hub, tmp_path_factory):
    """The weights of `hub` in that form, with a vision tower."""
    path = tmp_path_factory.mktemp("openai") / "ViT-B-32.pt"
    tower = read_text_tower(Path(hub.folder))
    openai_file({**tower.state, "visual.proj": torch.zeros(2, 2), "logit_scale": torch.zeros(1)}, path)
    return path


def test_the_files_of_openai_are_read_without_running_them(hub, script):
    half = {
        name: value.half().float() for name, value in hub.model.state_dict().items() if value.dtype.is_floating_point
    }
    hub.model.load_state_dict({**hub.model.state_dict(), **half})
    with torch.no_grad():
        expected = hub.model.text_projection(hub.model.text_model(input_ids=padded(TEXTS)).pooler_output)
    torch.testing.assert_close(OpenClipEncoder("tiny-hub", str(script))(TEXTS).pooled, expected, **TIGHT)


@pytest.mark.parametrize("fault", ["code", "cut", "another model"])
def test_bad_files_of_openai_are_refused(script, tmp_path, fault, capsys):
    path = tmp_path / "ViT-B-32.pt"
    with zipfile.ZipFile(script) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if fault == "code" and name.endswith("data.pkl"):
                content = b"cbuiltins\nprint\n(S'code ran'\ntR."
            if fault == "cut" and name.endswith("data/0"):
                content = content[:7]
            target.writestr(name, content)
    if fault == "another model":
        openai_file({"visual.proj": torch.zeros(2, 2)}, path)
    told = {
        "code": "asks for builtins.print",
        "cut": "damaged or cut",
        "another model": "another model than 'tiny-hub'",
    }
    with pytest.raises(InputError, match=told[fault]):
        OpenClipEncoder("tiny-hub", str(path))(TEXTS)
    assert "code ran" not in capsys.readouterr().out


def test_spm_and_motionlcm_read_sentence_t5_by_words_and_as_one_vector(tiny_t5):
    from transformers import AutoTokenizer, T5EncoderModel

    batch = AutoTokenizer.from_pretrained(tiny_t5)(TEXTS[:3], padding=True, return_tensors="pt")
    with torch.no_grad():
        words = T5EncoderModel.from_pretrained(tiny_t5).eval()(**batch).last_hidden_state
    mask = batch.attention_mask[:, :, None]
    dense = load_file(tiny_t5 / "2_Dense" / "model.safetensors")["linear.weight"]
    sentence = nn.functional.normalize(torch.tanh(((words * mask).sum(1) / mask.sum(1)) @ dense.T), dim=1)
    by_words = HuggingFaceEncoder(str(tiny_t5), pooling="mean")(TEXTS[:3])
    torch.testing.assert_close(by_words.tokens, words * mask, **TIGHT)
    assert torch.equal(by_words.mask, batch.attention_mask.bool())  # the end counts as a word
    torch.testing.assert_close(HuggingFaceEncoder(str(tiny_t5))(TEXTS[:3]).pooled, sentence, **TIGHT)


def test_a_dense_layer_of_an_old_repository_is_read_as_tensors(tiny_t5, tmp_path):
    folder = shutil.copytree(tiny_t5, tmp_path / "old")
    weights = folder / "2_Dense" / "model.safetensors"
    torch.save(load_file(weights), folder / "2_Dense" / "pytorch_model.bin")
    weights.unlink()
    found, expected = (HuggingFaceEncoder(str(each))(TEXTS).pooled for each in (folder, tiny_t5))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"noise")
    with pytest.raises(InputError, match="damaged, or holds more than tensors"):
        HuggingFaceEncoder(str(folder))(TEXTS)


def test_tmr_reads_words_of_distilbert_with_its_marks(tiny_bert, tmp_path):
    from transformers import AutoTokenizer, DistilBertConfig, DistilBertForMaskedLM

    folder = shutil.copytree(tiny_bert, tmp_path / "distilbert")
    config = DistilBertConfig(vocab_size=40, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=64)
    whole = DistilBertForMaskedLM(config).eval()  # what the hub holds, with names that begin otherwise and a head
    whole.save_pretrained(folder)
    batch = AutoTokenizer.from_pretrained(folder)(TEXTS[:3], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = whole.distilbert(batch.input_ids, batch.attention_mask).last_hidden_state
    features = HuggingFaceEncoder(str(folder), pooling="cls")(TEXTS[:3])
    torch.testing.assert_close(features.tokens, expected * batch.attention_mask[:, :, None], **TIGHT)
    assert features.mask.sum(1).tolist() == [9, 2, 5 + 1]  # [CLS] and [SEP] included


def test_a_missing_encoder_says_what_to_download(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    told = {
        OpenClipEncoder("ViT-B-32-quickgelu", cache_dir=str(tmp_path)): (
            "open_clip_model.safetensors from huggingface.co/timm/vit_base_patch32_clip_224.openai"
        ),
        HuggingFaceEncoder("sentence-transformers/no-t5"): "huggingface.co/sentence-transformers/no-t5",
    }
    for encoder, what in told.items():
        with pytest.raises(InputError, match=f"download|fetch.*{what}.*--text-encoder") as caught:
            encoder(TEXTS)
        assert what in str(caught.value) and "\n" not in str(caught.value)
