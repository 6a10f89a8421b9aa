"""Every configuration builds and computes a loss and its gradient; the tiny ones train, in the order they need."""

import csv
from pathlib import Path

import pytest
import torch
from lightning import LightningModule

from realign.batch import MotionTextBatch
from realign.cli import build, main
from realign.configuration import read_config
from realign.diffusion import CLEAN_STEP
from realign.guidance.reward import RewardGuidance
from realign.nn.reward import RewardModel
from realign.nn.spaces import LatentSpace
from realign.tasks import save_pretrained

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name != "base")
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


def full_size(path: Path) -> LightningModule:
    """The task of a configuration; the real text encoders are downloads or slow to load, and tested on their own."""
    options = read_config(path)["model"]["init_args"]
    args = ["--config", str(path), f"--model.init_args.skeleton={'kit' if 'kit' in path.stem else 'humanml3d'}"]
    for part in {"text_encoder", "sentence_encoder"} & options.keys():
        if options[part] is None:
            continue
        encoder = options[part]["init_args"]["encoder"]["class_path"]
        width = 384 if encoder.endswith("MiniLMEncoder") else 768
        args.append(f'--model.init_args.{part}={{"class_path": "realign.text.HashingEncoder", '
                    f'"init_args": {{"dim": {width}}}}}')  # fmt: skip
    return build(args).model


@pytest.mark.parametrize("path", [path for path in FULL if path not in KIT], ids=name)
def test_a_full_size_configuration_builds_and_computes_gradients(path: Path) -> None:
    task = full_size(path)
    space = getattr(task, "space", None)
    if isinstance(space, LatentSpace):
        space.adopt(space.vae, torch.zeros(space.width), torch.ones(space.width))
    features = len(task.normalizer.mean)
    task.normalizer.fit(torch.zeros(features), torch.ones(features))
    losses = task.losses(some_batch(features), "check")
    losses["loss"].backward()
    gradients = [each.grad for each in task.parameters() if each.grad is not None]
    assert torch.isfinite(losses["loss"]) and gradients
    assert all(torch.isfinite(each).all() for each in gradients)


@pytest.mark.parametrize("path", KIT, ids=name)
def test_the_twin_for_kit_of_a_full_size_configuration_has_its_features(path: Path) -> None:
    with torch.device("meta"):  # shapes without numbers: what computes is that for HumanML3D
        task = full_size(path)
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
def test_the_ablations_that_a_reward_names_are_what_they_say(path: Path) -> None:
    (line,) = [line for line in path.read_text().splitlines() if line.startswith("# Ablations: ")]
    flags = [flag.split() for flag in line.removeprefix("# Ablations: ").rstrip(".").split(", ")]
    built = []
    for words in ([], *flags):
        task = build(["--config", str(path), *words]).model
        noise_free, alone = task.clean_probability == 1, task.weights.keys() == {"contrastive"}
        assert alone == (task.model.decoder is None) == (task.model.motion_encoder.logvar is None)
        built.append((task.model.step is None, noise_free, alone))
    plain, blind, clean, contrastive = (False,) * 3, (True, False, False), (False, True, False), (False, False, True)
    assert built == [plain, blind, clean, contrastive]


def test_the_reward_that_a_flow_names_meets_its_noise() -> None:
    flow = ROOT / "configs/generator/flow_mocap.yaml"
    about = " ".join(line.strip("# \n") for line in flow.read_text().splitlines() if line.startswith("#"))
    words = about.partition("A reward for it: realign fit ")[2].split()
    reward, generator = build(words).model, build(["--config", str(flow)]).model
    assert reward.path.fingerprint == generator.path.fingerprint == "flow-1000"
    assert reward.space.width == generator.space.width


@pytest.fixture(scope="module")
def ablated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the ablations find what they name, in tiny: both rewards, their indexes and an evaluator."""
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
            noise = "--model.scheduler.init_args.beta_schedule=squaredcos_cap_v2"
            # the tiny reward's callbacks name another folder; the ablation's own file names the one it means
            place = [] if laid else [f"--trainer.callbacks=[{{class_path: ModelCheckpoint, init_args: "
                                     f"{{dirpath: runs/{name}, filename: last}}}}]"]  # fmt: skip
            assert main(["fit", *configs, data, noise, *place, "--trainer.max_epochs=1", *quiet]) == 0
            words = ["--checkpoint", f"runs/{name}/last.ckpt", "--data", "data", "-o", f"runs/{name}/index"]
            assert main(["index", "build", *words]) == 0
    return folder


@pytest.mark.parametrize("path", ABLATION, ids=name)
def test_an_ablation_runs_as_it_stands_laid_over_a_generator(
    path: Path, ablated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ablated)
    words = ["--config", str(ROOT / "configs/tiny/generator_mdm.yaml"), "--config", str(path)]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    data = [f"--data.init_args.folder={ablated / 'data'}", "--trainer.limit_test_batches=1", "--model.steps=4"]
    asked: list[int] = []
    embed, gradient = RewardModel.embed_motion, RewardGuidance.gradient
    monkeypatch.setattr(
        RewardGuidance, "gradient", lambda *args: (asked.append(None), gradient(*args), asked.append(None))[1]
    )

    def record(self: RewardModel, x: torch.Tensor, t: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        asked.extend(t.tolist() if asked.count(None) % 2 else [])  # within a gradient: judges ask about clean motions
        return embed(self, x, t, mask)

    monkeypatch.setattr(RewardModel, "embed_motion", record)
    assert main(["test", *words, *data, *quiet]) == 0
    timesteps = {t for t in asked if t is not None}
    assert CLEAN_STEP not in timesteps, "a step token can matter at noisy samples only"
    assert bool(timesteps) == (path.stem != "none") and (not timesteps or max(timesteps) > 50 > min(timesteps))
    with open(next(ablated.glob(f"runs/ablation_{path.stem}/*/metrics.csv")), newline="") as file:
        (found,) = csv.DictReader(file)
    measures = ("reward_text", "r1_by_judge", "mm_dist_by_judge", "fid_by_judge", "foot_skating")
    rows = [[float(found[f"test_{way}/{measure}"]) for measure in measures] for way in ("unguided", "guided")]
    assert (rows[0] == rows[1]) == (path.stem == "none")


def test_the_ablation_is_every_part_of_the_reward_step_aware_and_step_blind() -> None:
    found = {}
    for path in ABLATION:
        options = read_config(path)["trainer"]["callbacks"][0]["init_args"]
        blind = "blind" in options["reward"]
        assert (options.get("index") or "").removesuffix("/index") in ("", options["reward"].removesuffix("/last.ckpt"))
        found[path.stem] = (bool(options["mu"]), bool(options["eta"]), blind)
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
        )  # judges make no motions to look at
    for stem in ("generator_mld", "generator_mdm", "generator_flow"):
        arguments = ["generate", "a person walks", "--checkpoint", f"runs/tiny_{stem}/last.ckpt", "-o", f"{stem}.png"]
        assert main(arguments) == 0
        assert (tmp_path / f"{stem}.png").is_file()


def test_first_captions_make_no_pair_a_negative_on_mocap_alone() -> None:
    told = {}
    for path in (path for path in FULL if path.parent.name in ("evaluator", "reward", "retriever")):
        told[name(path)] = read_config(path)["data"]["init_args"]["exclude_same_first_caption"]
    assert len(told) == 16 and all(value == each.endswith("mocap") for each, value in told.items())
