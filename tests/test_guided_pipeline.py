"""Guidance through the pipeline and the command line, with untrained parts that belong together."""

from pathlib import Path

import numpy as np
import pytest

from realign.cli import build, main
from realign.diffusion.guidance import GuidanceOptions
from realign.errors import InputError
from realign.index import MotionIndex, MotionItem
from realign.pipeline import TextToMotion
from realign.tasks.checkpoint import load_task, save_pretrained

ROOT = Path(__file__).parents[1]
STRONG = GuidanceOptions(norm="normalize")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a generator, a reward of its space and noise, and an index of three motions by that reward."""
    folder = tmp_path_factory.mktemp("shelf")
    for name, config in (("generator", "generator_mdm"), ("reward", "reward_feature")):
        options = ["--config", str(ROOT / f"configs/tiny/{config}.yaml"), f"--data.init_args.folder={folder / 'data'}"]
        if name == "reward":
            options.append("--model.scheduler.init_args.beta_schedule=squaredcos_cap_v2")
        cli = build(options)
        cli.model.normalizer.fit(*cli.datamodule.statistics)
        cli.model.hparams["skeleton"] = "humanml3d"
        save_pretrained(cli.model, folder / name)
    task = load_task(folder / "reward")
    texts = ["a person walks", "a person runs", "a person bows"]
    items = [MotionItem(text) for text in texts]
    MotionIndex.build(task.embed_captions(texts), items, fingerprint=task.fingerprint).save(folder / "index")
    return folder


@pytest.fixture(scope="module")
def model(shelf: Path) -> TextToMotion:
    return TextToMotion.from_pretrained(shelf / "generator", device="cpu")


@pytest.mark.parametrize("way", ["reward", "best-of"])
def test_guided_motions_differ_and_do_not_depend_on_their_batch(model: TextToMotion, shelf: Path, way: str) -> None:
    texts, options = ["walk", "run"], {"mu": 2.0, "eta": 0.5, "options": STRONG}
    guidance = model.load_guidance(way, shelf / "reward", shelf / "index", **options)
    guided = model.generate(texts, seconds=2, samples=4, guidance=guidance)
    plain = model.generate(texts, seconds=2, samples=4)
    assert any(not np.allclose(one.joints, other.joints, atol=1e-3) for one, other in zip(guided, plain, strict=True))
    for one, other in zip(guided[4:], model.generate(["run"], seconds=2, samples=4, guidance=guidance), strict=True):
        np.testing.assert_allclose(one.joints, other.joints, atol=1e-4)


def test_no_weights_and_one_candidate_are_the_unguided_motion(model: TextToMotion, shelf: Path) -> None:
    plain = model.generate(["walk"], seconds=2)[0].joints
    for way, options in (("reward", {"mu": 0.0}), ("best-of", {"candidates": 1})):
        guidance = model.load_guidance(way, shelf / "reward", **options)
        np.testing.assert_array_equal(model.generate(["walk"], seconds=2, guidance=guidance)[0].joints, plain)


def test_a_reward_of_other_noise_is_refused(shelf: Path, model: TextToMotion, tmp_path: Path) -> None:
    cli = build(
        ["--config", str(ROOT / "configs/tiny/reward_feature.yaml"), f"--data.init_args.folder={shelf / 'data'}"]
    )
    cli.model.normalizer.fit(*cli.datamodule.statistics)
    cli.model.hparams["skeleton"] = "humanml3d"
    with pytest.raises(InputError, match="noise schedule"):
        model.load_guidance("reward", save_pretrained(cli.model, tmp_path / "other"))


def test_the_command_writes_guided_motions(shelf: Path, tmp_path: Path) -> None:
    words = ["generate", "a person walks", "--seconds", "1", "--checkpoint", str(shelf / "generator")]
    reward = ["--reward", str(shelf / "reward"), "--index", str(shelf / "index"), "--eta", "20", "--mu", "50"]
    runs = {"none": [], "reward": reward, "best-of": [*reward, "--candidates", "8"]}
    for name, options in runs.items():
        assert main([*words, "--guidance", name, *options, "-o", str(tmp_path / f"{name}.npy")]) == 0
    assert not np.array_equal(np.load(tmp_path / "none.npy"), np.load(tmp_path / "reward.npy"))
