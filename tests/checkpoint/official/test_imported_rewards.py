"""Imported rewards and retrievers in every command, with generators that they were not made for."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluate_parts import make_shelf
from reward_parts import tiny_published
from steer_parts import LENGTHS, captions, generator, seeds

from realign.checkpoint import load_model
from realign.cli import main
from realign.errors import InputError
from realign.evaluation.results import Results
from realign.guidance import GuidanceConfig, RewardObjective, RewardSteering
from realign.nn import Diffusion, Embedder, JointEmbedding
from realign.tasks import RetrieverTask, RewardTask, load_task

RELEASE = GuidanceConfig(preset="realign-release")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared set, a generator, and imported rewards with the statistics of the set (spm) and others (tmr)."""
    folder = make_shelf(tmp_path_factory.mktemp("imported") / "shelf")
    text = tiny_text_model(folder / "text")
    own = load_model(folder / "evaluator", JointEmbedding).normalizer  # type: ignore[type-abstract]
    for kind, scale in (("spm", 1.0), ("tmr", 0.7)):
        stats = folder / f"stats_{kind}"
        stats.mkdir()
        np.save(stats / "Mean.npy", own.mean.numpy())
        np.save(stats / "Std.npy", own.std.numpy() * scale)
        words = [str(tiny_published(kind, folder / "published", text_dim=16)), "--stats", str(stats)]
        assert main(["import", kind, *words, "--text-encoder", str(text), "-o", str(folder / kind)]) == 0
    return folder


def tiny_text_model(folder: Path) -> Path:
    """A text model in the format of transformers."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "person", "walks", "jumps", "waves", "##s"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=64, **sizes)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("kind", "task"), [("spm", RewardTask), ("tmr", RetrieverTask)])
def test_the_folder_is_a_task_to_train_on_and_a_model_to_embed_with(shelf: Path, kind: str, task: type) -> None:
    trained, model = load_task(shelf / kind, task), load_model(shelf / kind, JointEmbedding)  # type: ignore[type-abstract]
    assert isinstance(model, Embedder) and not model.training and model.fingerprint == trained.fingerprint
    assert model.path.noisy == (kind == "spm") and model.skeleton == "humanml3d"
    x, lengths = torch.randn(2, 30, 263), torch.tensor([30, 20])
    assert torch.equal(model.embed_motions(x, lengths), trained.embed_motions(x, lengths))
    assert torch.equal(model.embed_captions(["a person walks"]), trained.embed_captions(["a person walks"]))


def test_imported_models_search_and_evaluate(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(shelf / "data"), "--device", "cpu"]
    index = ["--index", str(tmp_path / "index"), "--checkpoint", str(shelf / "tmr")]
    assert main(["index", "build", *index[2:], *data, "--split", "val", "-o", str(tmp_path / "index")]) == 0
    capsys.readouterr()
    assert main(["search", "a person walks", *index, "--device", "cpu", "-k", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
    words = ["evaluate", "--generator", str(shelf / "generator"), *data, "--evaluator", f"tmr={shelf / 'tmr'}"]
    words += ["--reward", str(shelf / "spm"), "--replications", "1", "--steps", "1", "-o", str(tmp_path / "r.json")]
    assert main([*words, "--guidance", "none", "reward", "--limit", "32"]) == 0
    assert Results.load(tmp_path / "r.json").evaluators == ["tmr"]
    made = ["generate", "a person walks", "--seconds", "1", "--checkpoint", str(shelf / "generator"), "--steps", "2"]
    made += ["--reward", str(shelf / "spm"), "--device", "cpu", "-o", str(tmp_path / "x.npy")]
    assert main([*made, "--guidance", "best-of", "--candidates", "2"]) == 0
    assert main([*made, "--guidance-preset", "realign-release"]) == 2
    assert "noise schedule 'vp-1000" in capsys.readouterr().err


def guided(shelf: Path, kind: str, maker: Diffusion, config: GuidanceConfig, strength: float = 50.0) -> torch.Tensor:
    """How far guidance by an imported reward moves motions."""
    reward: Any = load_model(shelf / kind, JointEmbedding)  # type: ignore[type-abstract]
    method = RewardSteering(RewardObjective(reward.requires_grad_(False), config=config))
    rows = [0, 1]
    plain = maker.sample(captions(rows), LENGTHS[rows], seeds(*rows))
    return method.sample(maker, captions(rows), LENGTHS[rows], seeds(*rows)) - plain


@pytest.mark.parametrize("latent", [False, True])
def test_pairs_that_fit_are_guided_and_others_are_refused_with_the_reason(shelf: Path, latent: bool) -> None:
    maker = generator(latent, steps=3)
    for kind in ("spm", "tmr"):  # at clean motions, with any noise and statistics
        change = guided(shelf, kind, maker, GuidanceConfig(strength=50.0))
        assert change.isfinite().all() and change.abs().amax((1, 2)).gt(1e-5).all()
    with pytest.raises(InputError, match=r"never seen noise, but guidance at the points x_t and x_next"):
        guided(shelf, "tmr", maker, RELEASE)
    with pytest.raises(InputError, match=r"noise schedule 'vp-1000\S* but the generator with 'vp-100-"):
        guided(shelf, "spm", maker, RELEASE)
    maker.path = load_model(shelf / "spm", JointEmbedding).path  # type: ignore[type-abstract]
    maker.sampling_scheduler = "ddim"
    if latent:  # decoded motions are normalised again
        assert guided(shelf, "spm", maker, RELEASE).abs().amax() > 1e-6
    else:
        with pytest.raises(InputError, match="the same noise is of another size in each; guide at the point x0"):
            guided(shelf, "spm", maker, RELEASE)
        reward = load_model(shelf / "spm", JointEmbedding)  # type: ignore[type-abstract]
        maker.normalizer.load_state_dict(reward.normalizer.state_dict())
        assert guided(shelf, "spm", maker, RELEASE).abs().amax() > 1e-6
    maker._skeleton = "kit"  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="skeleton 'humanml3d', but the generator makes 'kit'"):
        guided(shelf, "spm", maker, GuidanceConfig())


def test_motionrft_is_the_same_class_with_other_features(shelf: Path, tmp_path: Path) -> None:
    file = tiny_published("spm", tmp_path, width=135, text_dim=16)
    file = file.rename(file.with_name("evaluator.pth"))
    stats = tmp_path / "stats"
    stats.mkdir()
    np.save(stats / "Mean.npy", np.zeros(135, np.float32))
    np.save(stats / "Std.npy", np.ones(135, np.float32))
    words = ["import", "spm", str(file), "--stats", str(stats), "--text-encoder", str(shelf / "text")]
    assert main([*words, "-o", str(tmp_path / "out")]) == 2
    assert main([*words, "--mode", "M0T0", "-o", str(tmp_path / "out")]) == 0
    model = load_model(tmp_path / "out", JointEmbedding)  # type: ignore[type-abstract]
    assert model.embed_motions(torch.randn(1, 9, 135), torch.tensor([9])).shape == (1, 16)
    with pytest.raises(InputError, match="skeleton 'motionrft'"):
        RewardSteering(RewardObjective(model)).check(generator())


def spoiled(content: dict[str, Any], case: str) -> dict[str, Any]:
    """A file of weights with one fault."""
    state = dict(content["state_dict"])
    if case == "lacks":
        del state["dist_text_layer.bias"]
    elif case == "too many":
        state["decoder.norm.more"] = torch.ones(1)
    elif case == "shape":
        state["final_layer.bias"] = torch.ones(5)
    elif case == "two norms":
        state["text_encoder.norm.bias"] = state["text_encoder.norm.bias"] + 1
    elif case == "nan":
        state["final_layer.bias"] = state["final_layer.bias"] * torch.nan
    elif case == "width":
        state["skel_embedding.weight"] = torch.ones(16, 100)
    return {"state_dict": state, "clip": {}} if case != "none" else {"epoch": 3}


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("lacks", "it lacks dist_text_layer.bias; give the published file"),
        ("too many", "it holds decoder.norm.more too many"),
        ("shape", "final_layer.bias has another shape"),
        ("two norms", "motion_encoder.norm.bias and text_encoder.norm.bias differ, although they are one weight"),
        ("nan", "NaN or infinite values in final_layer.bias"),
        ("width", "makes 100 features per frame, but motions of HumanML3D have 263"),
        ("none", "holds no weights"),
        ("cut", "damaged or cut short"),
        ("other", "it lacks skel_embedding.weight; give the published file, or import this one as tmr"),
        ("mode", "has no mode"),
        ("no statistics", "holds no statistics of its motions; give the folder"),
        ("kit", r"has shape \(251,\), but 263 finite values are needed"),
    ],
)
def test_a_file_that_is_not_the_published_one_is_refused_in_one_sentence(
    shelf: Path, tmp_path: Path, case: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (source,) = (shelf / "published/spm").iterdir()
    file, stats = tmp_path / source.name, shelf / "stats_spm"
    if case in ("cut", "no statistics", "kit"):
        file.write_bytes(source.read_bytes()[: 5000 if case == "cut" else None])
    elif case == "other":
        shutil.copy(shelf / "published/tmr/last.ckpt", file)
    elif case == "mode":
        file = Path(shutil.copy(source, tmp_path / "evaluator.pth"))
    else:
        torch.save(spoiled(torch.load(source, weights_only=True), case), file)
    if case == "kit":
        stats = tmp_path / "kit"
        stats.mkdir()
        for name in ("Mean", "Std"):
            np.save(stats / f"{name}.npy", np.ones(251, np.float32))
    words = ["import", "spm", str(file), "-o", str(tmp_path / "out")]
    assert main(words if case == "no statistics" else [*words, "--stats", str(stats)]) == 2
    told = capsys.readouterr().err
    assert re.search(reason, told) and len(told.splitlines()) == 1, told
    assert not (tmp_path / "out").exists()
