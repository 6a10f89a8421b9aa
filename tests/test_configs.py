"""Every configuration builds and computes a loss and its gradient; the tiny ones train, in the order they need."""

from pathlib import Path

import pytest
import torch
import yaml

from realign.batch import MotionTextBatch
from realign.callbacks import RewardGuidedSampling
from realign.cli import build, main
from realign.nn.spaces import LatentSpace

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
ABLATION = sorted((ROOT / "configs/ablation").glob("*.yaml"))  # laid over a generator's configuration
FULL = [path for path in CONFIGS if path.parent.name != "tiny" and path not in ABLATION]
TINY_ORDER = ("vae", "generator_mld", "generator_mdm", "reward_feature", "reward_latent", "retriever",
              "evaluator_contrastive", "evaluator_guo")  # fmt: skip


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def some_batch(features: int) -> MotionTextBatch:
    motion = torch.randn(3, 48, features, generator=torch.Generator().manual_seed(0))
    motion[1, 40:] = 0
    return MotionTextBatch(motion, torch.tensor([48, 40, 48]), ["walk", "run", "bow"], ["a", "b", "c"], torch.arange(3))


@pytest.mark.parametrize("path", FULL, ids=name)
def test_a_full_size_configuration_builds_and_computes_gradients(path: Path) -> None:
    options = yaml.safe_load(path.read_text())["model"]["init_args"]
    args = ["--config", str(path), f"--model.init_args.skeleton={'kit' if 'kit' in path.stem else 'humanml3d'}"]
    for part in {"text_encoder", "sentence_encoder"} & options.keys():
        # the real one is a download or half a minute of loading, and tested on its own
        encoder = options[part]["init_args"]["encoder"]["class_path"]
        width = 384 if encoder.endswith("MiniLMEncoder") else 768
        args.append(f'--model.init_args.{part}={{"class_path": "realign.text.HashingEncoder", '
                    f'"init_args": {{"dim": {width}}}}}')  # fmt: skip
    task = build(args).model
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


def test_the_ablation_lays_every_part_of_the_reward_over_a_generator() -> None:
    built = {}
    for path in ABLATION:
        cli = build(["--config", str(ROOT / "configs/tiny/generator_mdm.yaml"), "--config", str(path)])
        (callback,) = [each for each in cli.trainer.callbacks if isinstance(each, RewardGuidedSampling)]
        text, motion, strength = callback.objective["mu"], callback.objective["eta"], callback.options.strength
        built[path.stem] = (bool(text and strength), bool(motion and strength), "blind" in callback.reward)
        assert (callback.index is not None) == bool(motion)
    parts = {"text": (True, False), "motion": (False, True), "both": (True, True)}
    expected = {f"{name}{tail}": (*each, bool(tail)) for name, each in parts.items() for tail in ("", "_blind")}
    assert built == expected | {"none": (False, False, False)}


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
    for stem in ("generator_mld", "generator_mdm"):
        arguments = ["generate", "a person walks", "--checkpoint", f"runs/tiny_{stem}/last.ckpt", "-o", f"{stem}.png"]
        assert main(arguments) == 0
        assert (tmp_path / f"{stem}.png").is_file()
