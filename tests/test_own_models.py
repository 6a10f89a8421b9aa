"""Models of users, each in one class, work in evaluation, training and guidance like those of the package."""

import shutil
from pathlib import Path

import pytest
import torch
from evaluate_parts import ROOT, make_shelf
from own_parts import MaskedTokens, PooledReward

import realign.nn
import realign.tasks
from realign.batch import MotionTextBatch
from realign.checkpoint import load_model, save_pretrained
from realign.cli import main
from realign.diffusion import FlowMatching
from realign.errors import InputError, Renamed
from realign.evaluation.clips import EvaluationClips
from realign.evaluation.evaluation import Evaluation
from realign.evaluation.models import load_evaluator
from realign.evaluation.results import Results
from realign.evaluation.settings import Setting
from realign.guidance import load_steering
from realign.interfaces import TextToMotionModel
from realign.nn import Diffusion, Embedder, FeatureSpace, TransformerReward
from realign.tasks import RewardTask, load_task
from realign.text.hashing import HashingEncoder

BEST, STEERED = Setting.parse("guidance=best-of candidates=3"), Setting.parse("guidance=reward")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of evaluations, with a masked-token generator and a pooled reward in folders."""
    folder = make_shelf(tmp_path_factory.mktemp("own"))
    encoder = {"class_path": "realign.text.HashingEncoder", "init_args": {"dim": 8}}
    config = {"class_path": "own_parts.MaskedTokens", "init_args": {"text_encoder": encoder}}
    save_pretrained(masked_tokens(), folder / "masked", config)
    config = ["--config", str(ROOT / "configs/tiny/reward_feature.yaml"), "--model.model=own_parts.PooledReward"]
    options = [f"--data.init_args.folder={folder / 'data'}", "--data.init_args.clips=216", "--model.model.text_dim=32"]
    quiet = ["--trainer.max_epochs=2", "--trainer.logger=false", f"--trainer.default_root_dir={folder / 'fit'}"]
    assert main(["fit", *config, *options, *quiet, "--model.model.pull=0.1", "--trainer.callbacks=null"]) == 0
    checkpoint = next((folder / "fit").rglob("*.ckpt"))
    assert main(["export", str(checkpoint), "-o", str(folder / "pooled"), "--trust-code"]) == 0
    return folder


def masked_tokens() -> MaskedTokens:
    torch.manual_seed(0)
    return MaskedTokens(HashingEncoder(8)).eval()


def evaluation(shelf: Path, reward: str = "reward") -> Evaluation:
    guide = Embedder.load(shelf / reward, trust_code=True)
    clips, evaluator = EvaluationClips(shelf / "data"), load_evaluator(shelf / "evaluator")
    return Evaluation(masked_tokens(), clips, {"evaluator": evaluator}, reward=guide)


def test_a_generator_that_is_not_a_diffusion_is_evaluated_and_used_in_best_of_n(shelf: Path) -> None:
    rows = evaluation(shelf).run([Setting(steps=2), BEST], replications=1, time_captions=1).rows
    assert all(row.estimate("R@1", "evaluator") is not None for row in rows)
    assert rows[2].estimate("reward").mean > rows[1].estimate("reward").mean
    assert rows[1].speed["text_p50_s"] > 0


def test_options_that_a_generator_lacks_are_refused_before_measuring(shelf: Path) -> None:
    with pytest.raises(InputError, match=r"steers a diffusion, but the generator is a MaskedTokens; .* \(best-of\)"):
        evaluation(shelf).run([STEERED])
    with pytest.raises(InputError, match="A MaskedTokens takes no guidance_scale, but got 2.0; leave it out"):
        evaluation(shelf).run([Setting(guidance_scale=2.0)])


def test_a_motion_depends_on_its_own_seed_alone() -> None:
    model, lengths, seeds = masked_tokens(), torch.tensor([20, 38, 40]), torch.tensor([3, 4, 5])
    together = model.sample(["walk", "run", "kick"], lengths, seeds)
    alone = model.sample(["run"], lengths[1:2], seeds[1:2])
    assert torch.allclose(alone[0], together[1, :38], atol=1e-6) and not together[0, 20:].any()


def test_commands_load_it_from_a_folder_with_trust_code(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = ["--generator", str(shelf / "masked"), "--reward", str(shelf / "reward")]
    rest = ["--data", str(shelf / "data"), "--evaluator", str(shelf / "evaluator"), "--replications=1", "--device=cpu"]
    words = ["evaluate", *parts, *rest, "--guidance", "none", "best-of", "-o", str(tmp_path / "results.json")]
    assert main(words) == 2 and "add --trust-code" in capsys.readouterr().err
    assert main([*words, "--trust-code"]) == 0
    assert [row.name for row in Results.load(tmp_path / "results.json").rows] == ["real", "unguided", "best-of"]
    words = ["generate", "a person walks", "--seconds=2", "--device=cpu", "--checkpoint", str(shelf / "masked")]
    assert main([*words, "--trust-code", "-o", str(tmp_path / "motion.npy")]) == 0
    capsys.readouterr()
    steered = [*words, "--trust-code", "--guidance", "reward", "--reward", str(shelf / "reward")]
    assert main(steered) == 2 and "MaskedTokens" in capsys.readouterr().err


def test_an_own_reward_trains_selects_and_guides(shelf: Path) -> None:
    reward = Embedder.load(shelf / "pooled", trust_code=True)
    assert isinstance(reward.model, PooledReward)
    steering = load_steering(reward.requires_grad_(False))
    generator = load_model(shelf / "generator", TextToMotionModel)
    assert isinstance(generator, Diffusion)
    captions, lengths, seeds = ["a person walks", "a person jumps"], torch.tensor([40, 32]), torch.tensor([1, 2])
    plain = generator.sample(captions, lengths, seeds, steps=10)
    guided = steering.sample(generator, captions, lengths, seeds, steps=10)
    target = steering.objective.target(captions)
    scores = [steering.objective.score(motion, lengths, target) for motion in (plain, guided)]
    assert (scores[1] > scores[0]).all()
    rows = evaluation(shelf, "pooled").run([Setting(steps=2), BEST], replications=1).rows
    assert rows[2].estimate("reward").mean > rows[1].estimate("reward").mean


def test_an_own_loss_has_weight_one() -> None:
    torch.manual_seed(0)
    parts = {"path": FlowMatching(), "skeleton": "humanml3d", "contrastive_weight": 0.5, "paired": True}
    task = RewardTask(PooledReward(263, 8, pull=3.0), FeatureSpace(), HashingEncoder(8), **parts)
    task.normalizer.fit(torch.zeros(263), torch.ones(263))
    motion, captions = torch.randn(4, 24, 263), ["walk", "run", "jump", "kick"]
    batch = MotionTextBatch(motion, torch.tensor([24, 20, 16, 12]), captions, list("abcd"), torch.arange(4))
    found = task.losses(batch, "train")
    assert found.keys() == {"contrastive", "pull", "loss"} and found["pull"] > 0
    assert torch.allclose(found["loss"], 0.5 * found["contrastive"] + found["pull"])


def test_old_names_still_work(shelf: Path, tmp_path: Path) -> None:
    shutil.copytree(shelf / "reward", tmp_path / "reward")
    text = (tmp_path / "reward/config.yaml").read_text()
    assert "realign.nn.TransformerReward" in text
    for name in ("RewardModel", "reward.RewardModel"):
        (tmp_path / "reward/config.yaml").write_text(text.replace("nn.TransformerReward", f"nn.{name}"))
        assert Embedder.load(tmp_path / "reward").fingerprint == Embedder.load(shelf / "reward").fingerprint
        assert load_task(tmp_path / "reward", RewardTask).model.signature.startswith("reward-")
    with pytest.warns(Renamed, match="TransformerReward"):
        assert realign.nn.RewardModel is TransformerReward
    with pytest.warns(Renamed, match="RewardTask"):
        assert realign.tasks.EmbeddingTask is RewardTask
