"""Every configuration builds and computes a loss and its gradient; the tiny ones train, each after its bases."""

import csv
import json
import re
from contextlib import nullcontext
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule

from realign.batch import MotionTextBatch
from realign.cli import build, main
from realign.configuration import read_config
from realign.diffusion import CLEAN_STEP
from realign.errors import InputError
from realign.guidance.match import check_match
from realign.guidance.reward import RewardGuidance
from realign.nn.reward import TransformerReward
from realign.nn.spaces import LatentSpace
from realign.tasks import save_pretrained
from realign.text import HuggingFaceEncoder, TextEncoder

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name not in ("base", "paper"))
BLIND = ROOT / "configs/ablation/reward_blind.yaml"  # laid over a reward's configuration
ABLATION = [path for path in CONFIGS if path.parent.name == "ablation" and path != BLIND]  # over a generator's
FULL = [path for path in CONFIGS if path.parent.name not in ("tiny", "ablation")]
KIT = [path for path in FULL if path.stem.endswith("kit")]
TINY_ORDER = ("vae", "generator_mld", "generator_mdm", "generator_flow", "reward_feature", "reward_latent",
              "retriever", "evaluator_contrastive", "evaluator_guo")  # fmt: skip


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def some_batch(features: int) -> MotionTextBatch:
    motion = torch.randn(3, 48, features, generator=torch.Generator().manual_seed(0))
    motion[1, 40:] = 0
    return MotionTextBatch(motion, torch.tensor([48, 40, 48]), ["walk", "run", "bow"], ["a", "b", "c"], torch.arange(3))


HUB = {
    ("sentence-transformers/sentence-t5-large", "mean"): 1024,
    ("distilbert-base-uncased", "cls"): 768,
    ("sentence-transformers/all-mpnet-base-v2", "auto"): 768,
}
"""Widths of models on the hub, which is not asked."""


def encoder(options: dict[str, Any]) -> TextEncoder:
    """The text encoder of a configuration, which has a width without weights."""
    module, _, kind = options["class_path"].rpartition(".")
    arguments = {
        key: encoder(value) if isinstance(value, dict) and "class_path" in value else value
        for key, value in options.get("init_args", {}).items()
    }
    made: TextEncoder = getattr(import_module(module), kind)(**arguments)
    if isinstance(made, HuggingFaceEncoder):
        made.__dict__["_dim"] = HUB[made.name_or_path, made.pooling]
    return made


def real_width(options: dict[str, Any]) -> int:
    return _width(json.dumps(options))


@cache
def _width(options: str) -> int:
    return encoder(json.loads(options)).dim


def full_size(path: Path) -> LightningModule:
    """The task of a configuration, with text encoders replaced by others of the same widths."""
    options = read_config(path)["model"]["init_args"]
    args = ["--config", str(path), f"--model.init_args.skeleton={'kit' if 'kit' in path.stem else 'humanml3d'}"]
    for part in {"text_encoder", "sentence_encoder"} & options.keys():
        if options[part] is not None:
            hashing = {"class_path": "realign.text.HashingEncoder", "init_args": {"dim": real_width(options[part])}}
            args.append(f"--model.init_args.{part}={json.dumps(hashing)}")
    return build(args).model


@cache
def shapes(path: Path) -> LightningModule:
    """The task of a configuration with shapes only, except for values that a comparison of two tasks reads."""
    with torch.device("meta"):
        task = full_size(path)
    for part in (getattr(task, "space", None), task.normalizer):  # equal in trained tasks
        for value in part.to_empty(device="cpu").state_dict().values() if part is not None else ():
            value.zero_()
    return task


@pytest.mark.parametrize("path", [path for path in FULL if path not in KIT], ids=name)
def test_a_full_size_configuration_builds_and_computes_gradients(path: Path) -> None:
    task = full_size(path)
    space = getattr(task, "space", None)
    if isinstance(space, LatentSpace):
        space.load_vae(space.vae, torch.zeros(space.width), torch.ones(space.width))
    features = len(task.normalizer.mean)
    task.normalizer.fit(torch.zeros(features), torch.ones(features))
    losses = task.losses(some_batch(features), "check")
    losses["loss"].backward()
    gradients = [each.grad for each in task.parameters() if each.grad is not None]
    assert torch.isfinite(losses["loss"]) and gradients
    assert all(torch.isfinite(each).all() for each in gradients)


@pytest.mark.parametrize("path", KIT, ids=name)
def test_the_kit_version_of_a_configuration_has_its_features(path: Path) -> None:
    task = shapes(path)  # the computation is that of HumanML3D
    sizes = {size for value in task.state_dict().values() for size in value.shape}
    assert len(task.normalizer.mean) == 251
    assert not [size for size in sizes if size and (size % 263 == 0 or size % 259 == 0)]  # 259: without contacts


@pytest.mark.parametrize("path", sorted((ROOT / "configs/retriever").glob("*.yaml")), ids=name)
def test_retrievers_are_tested_on_every_motion(path: Path) -> None:
    config = read_config(path)
    assert config["data"]["init_args"]["whole"] is True
    asked = config["model"]["init_args"].get("identical", False)
    assert asked == ("mocap" in path.stem), "TMR counts no identical captions; those of mocap repeat"


@pytest.mark.parametrize("path", sorted((ROOT / "configs/reward").glob("*_mocap.yaml")), ids=name)
def test_ablations_of_rewards_change_what_their_names_say(path: Path) -> None:
    (line,) = [line for line in path.read_text().splitlines() if line.startswith("# Ablations: ")]
    flags = [flag.split() for flag in line.removeprefix("# Ablations: ").rstrip(".").split(", ")]
    built = []
    for words in ([], *flags):
        task = build(["--config", str(path), *words]).model
        noise_free, alone = task.clean_probability == 1, task.model.decoder is None
        assert alone == (task.model.motion_encoder.logvar is None)  # contrast is the only loss
        built.append((task.model.time_embedding is None, noise_free, alone))
    plain, blind, clean, contrastive = (False,) * 3, (True, False, False), (False, True, False), (False, False, True)
    assert built == [plain, blind, clean, contrastive]


@pytest.mark.parametrize("path", [path for path in CONFIGS if path != BLIND and path not in ABLATION], ids=name)
def test_networks_take_the_width_that_the_real_text_encoder_gives(path: Path) -> None:
    options = read_config(path)["model"]["init_args"]
    networks = [options[part]["init_args"] for part in ("denoiser", "model") if part in options]
    assert bool(networks) == ("text_encoder" in options)
    for network in networks:
        assert network["text_dim"] == real_width(options["text_encoder"])


def configs_of(part: str, data: str) -> dict[str, Path]:
    """Configurations of rewards or generators for a data set, by their kind."""
    if data == "tiny":
        return {path.stem.removeprefix(f"{part}_"): path for path in (ROOT / "configs/tiny").glob(f"{part}_*.yaml")}
    return {path.stem.removesuffix(f"_{data}"): path for path in (ROOT / "configs" / part).glob(f"*_{data}.yaml")}


@pytest.mark.parametrize("data", ["humanml3d", "kit", "mocap", "tiny"])
def test_each_reward_fits_the_generator_of_its_kind_and_no_other(data: str) -> None:
    rewards, generators = configs_of("reward", data), configs_of("generator", data)
    partners = {kind: {"feature": "mdm", "latent": "mld"}.get(kind, kind) for kind in rewards}
    assert data == "tiny" or set(partners.values()) == generators.keys()
    tasks = {kind: shapes(path) for kind, path in generators.items()}
    for kind, path in rewards.items():
        reward = shapes(path)
        for other, generator in tasks.items():
            with nullcontext() if other == partners[kind] else pytest.raises(InputError):
                check_match(reward, generator, point="x_t")
        assert reward.space.checkpoint == tasks[partners[kind]].space.checkpoint
        ours, theirs = read_config(path)["data"], read_config(generators[partners[kind]])["data"]
        assert ours["class_path"] == theirs["class_path"]
        assert [each.get("init_args", {}).get("data") for each in (ours, theirs)].count(f"prepared/{data}") in (0, 2)


def test_starting_weights_of_a_configuration_come_from_another_that_fits() -> None:
    names = {f"{path.parent.name}_{path.stem}": path for path in CONFIGS}
    continued = 0
    for path in (path for path in CONFIGS if path.parent.name != "ablation"):
        options = read_config(path)["model"]["init_args"]
        space, own = options.get("space", {}).get("init_args", {}), options.get("checkpoint")
        if space.get("checkpoint", "").startswith("imported/"):
            assert path.parent.name == "imported", "tests/checkpoint/official compares it with what is imported"
        elif "checkpoint" in space:
            maker = read_config(names[re.fullmatch(r"runs/(\w+)/last.ckpt", space["checkpoint"])[1]])
            assert maker["model"]["init_args"]["vae"] == space["vae"], f"{path} has another autoencoder"
        if own is not None:
            maker = names[re.fullmatch(r"runs/(\w+)/last.ckpt", own)[1]]
            ours, theirs = (shapes(each).model.state_dict() for each in (path, maker))
            assert {key: value.shape for key, value in ours.items()} == {
                key: value.shape for key, value in theirs.items()
            }
            continued += 1
    assert continued == 3  # the rewards on mocap


def published(stem: str) -> tuple[dict[str, Any], dict[str, Any], LightningModule]:
    """Options of a recipe, of its data, and its task."""
    path = ROOT / f"configs/recipe/{stem}.yaml"
    config = read_config(path)
    # ancestral steps are computed when they are built, not on shapes alone
    return config, config["data"]["init_args"], full_size(path) if stem.startswith("mdm") else shapes(path)


def _layers(task: LightningModule) -> int:
    return len(task.model.motion_encoder.transformer.layers)


def test_recipes_state_the_published_hyper_parameters() -> None:
    vae, data, task = published("vae_mld_humanml3d")
    assert (vae["trainer"]["max_epochs"], data["global_batch_size"]) == (6000, 128)
    assert (task.velocity_weight, task.joint_weight, task.kl_weight) == (0, 1, 1e-4)
    mld, data, task = published("mld_humanml3d")
    assert (mld["trainer"]["max_epochs"], data["global_batch_size"], task.guidance_scale) == (3000, 64, 7.5)
    mdm, data, task = published("mdm_humanml3d")
    assert (mdm["trainer"]["max_steps"], data["global_batch_size"], task.guidance_scale) == (500_000, 64, 2.5)
    assert (task.steps, task.denoiser.text_dim, task.space.frames) == (1000, 512, 196)
    tmr, data, task = published("tmr_humanml3d")
    assert (tmr["trainer"]["max_epochs"], data["global_batch_size"], _layers(task)) == (500, 32, 6)
    reward, data, task = published("realign_humanml3d")
    assert (reward["trainer"]["max_epochs"], data["global_batch_size"], task.clean_probability) == (100, 512, 0.5)
    assert task.path.fingerprint == published("mld_humanml3d")[2].path.fingerprint
    for config in (vae, mld, mdm, tmr, reward):
        options = config["model"]["init_args"]
        assert options["optimizer"]["init_args"] == {"lr": 1e-4, "weight_decay": 0}
        assert (options["lr_scheduler"] is None) == (config is not reward)
        assert not any("EMA" in str(each) for each in config["trainer"]["callbacks"])


@pytest.fixture(scope="module")
def ablated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny versions of the files that ablations name: both rewards, their indexes and an evaluator."""
    folder = tmp_path_factory.mktemp("ablated")
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    data = f"--data.init_args.folder={folder / 'data'}"
    cli = build(["--config", str(ROOT / "configs/tiny/evaluator_contrastive.yaml"), data])
    cli.model.normalizer.fit(*cli.datamodule.statistics)
    cli.model.hparams["skeleton"] = "humanml3d"
    save_pretrained(cli.model, folder / "realign/pretrained/evaluator")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, laid in (("reward_feature_mocap", []), ("reward_mocap_blind", [BLIND])):
            configs = [
                word for path in [ROOT / "configs/tiny/reward_feature.yaml", *laid] for word in ("--config", str(path))
            ]
            # the tiny reward's callbacks name another folder than the ablation
            place = [] if laid else [f"--trainer.callbacks=[{{class_path: ModelCheckpoint, init_args: "
                                     f"{{dirpath: runs/{name}, filename: last}}}}]"]  # fmt: skip
            assert main(["fit", *configs, data, *place, "--trainer.max_epochs=1", *quiet]) == 0
            words = ["--checkpoint", f"runs/{name}/last.ckpt", "--data", "data", "-o", f"runs/{name}/index"]
            assert main(["index", "build", *words]) == 0
    return folder


@pytest.mark.parametrize("path", ABLATION, ids=name)
def test_an_ablation_runs_over_a_generator(path: Path, ablated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ablated)
    words = ["--config", str(ROOT / "configs/tiny/generator_mdm.yaml"), "--config", str(path)]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    data = [f"--data.init_args.folder={ablated / 'data'}", "--trainer.limit_test_batches=1", "--model.steps=4"]
    asked: list[int] = []
    embed, gradient = TransformerReward.embed_motion, RewardGuidance.gradient
    monkeypatch.setattr(
        RewardGuidance, "gradient", lambda *args: (asked.append(None), gradient(*args), asked.append(None))[1]
    )

    def record(self: TransformerReward, x: torch.Tensor, t: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        asked.extend(t.tolist() if asked.count(None) % 2 else [])  # within a gradient: evaluators embed clean motions
        return embed(self, x, t, mask)

    monkeypatch.setattr(TransformerReward, "embed_motion", record)
    monkeypatch.setattr("realign.callbacks.reward_guided_sampling.show", lambda *_: None)  # drawing takes longest
    assert main(["test", *words, *data, *quiet]) == 0
    timesteps = {t for t in asked if t is not None}
    assert CLEAN_STEP not in timesteps, "a step token can matter at noisy samples only"
    assert bool(timesteps) == (path.stem != "none") and (not timesteps or max(timesteps) > 50 > min(timesteps))
    with open(next(ablated.glob(f"runs/ablation_{path.stem}/*/metrics.csv")), newline="") as file:
        (found,) = csv.DictReader(file)
    measures = ("reward_text", "r1_by_evaluator", "mm_dist_by_evaluator", "fid_by_evaluator", "foot_skating")
    rows = [[float(found[f"test_{variant}/{measure}"]) for measure in measures] for variant in ("unguided", "guided")]
    assert (rows[0] == rows[1]) == (path.stem == "none")


def test_the_ablation_covers_every_part_of_the_reward_step_aware_and_step_blind() -> None:
    found = {}
    for path in ABLATION:
        options = read_config(path)["trainer"]["callbacks"][0]["init_args"]
        blind = "blind" in options["reward"]
        assert (options.get("index") or "").removesuffix("/index") in ("", options["reward"].removesuffix("/last.ckpt"))
        found[path.stem] = (bool(options["guidance"]["mu"]), bool(options["guidance"]["eta"]), blind)
    parts = {"text": (True, False), "motion": (False, True), "both": (True, True)}
    expected = {f"{name}{tail}": (*each, bool(tail)) for name, each in parts.items() for tail in ("", "_blind")}
    assert found == expected | {"none": (False, False, False)}
    cli = build(["--config", str(ROOT / "configs/reward/feature_mocap.yaml"), "--config", str(BLIND)])
    assert not cli.model.model.step_aware and cli.model.model.patch == 4
    assert cli.model.clean_probability == 1 and not cli.model.paired and cli.model.checkpoint is None


def test_no_tiny_configuration_is_left_out() -> None:
    assert sorted(path.stem for path in CONFIGS if path.parent.name == "tiny") == sorted(TINY_ORDER)


def test_the_tiny_configurations_train_and_generate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REALIGN_CACHE", str(tmp_path / "cache"))
    for stem in TINY_ORDER:
        quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
        assert main(["fit", "--config", str(ROOT / f"configs/tiny/{stem}.yaml"), *quiet]) == 0, capsys.readouterr().err
        run = tmp_path / "runs" / f"tiny_{stem}"
        assert (run / "last.ckpt").is_file()
        assert list(run.glob("version_0/samples/*.gif")) or stem.startswith(
            ("re", "ev")
        )  # evaluators do not make motions
    for stem in ("generator_mld", "generator_mdm", "generator_flow"):
        arguments = ["generate", "a person walks", "--checkpoint", f"runs/tiny_{stem}/last.ckpt", "-o", f"{stem}.png"]
        assert main(arguments) == 0
        assert (tmp_path / f"{stem}.png").is_file()


def test_equal_first_captions_exclude_negatives_on_mocap_only() -> None:
    told = {}
    for path in (path for path in FULL if path.parent.name in ("evaluator", "reward", "retriever")):
        told[name(path)] = read_config(path)["data"]["init_args"]["exclude_same_first_caption"]
    assert len(told) == 17 and all(value == each.endswith("mocap") for each, value in told.items())
