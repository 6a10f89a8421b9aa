from pathlib import Path

import pytest
import torch
from steer_parts import LENGTHS, captions, generator, motion_index, noise, reward, seeds
from task_parts import TinyData, command
from task_parts import reward as reward_config

from realign.diffusion import CLEAN_STEP, VP
from realign.errors import InputError
from realign.guidance import BestOfN, RewardObjective, RewardSteering, load_steering
from realign.guidance.config import GuidanceConfig
from realign.guidance.reward import RewardGuidance
from realign.masking import lengths_to_mask
from realign.nn import FeatureSpace
from realign.seeding import derive
from realign.tasks import GeneratorTask, load_task, save_pretrained
from realign.training import TrainingCLI

ROWS = list(range(4))


def best_of(candidates: int, latent: bool = False) -> BestOfN:
    task = reward(latent)
    return BestOfN(RewardObjective(task, motion_index(task), GuidanceConfig(eta=0.5, candidates=candidates)))


def take(method: BestOfN, task: GeneratorTask, rows: list[int] = ROWS) -> torch.Tensor:
    return method.sample(task, captions(rows), LENGTHS[rows], seeds(*rows))


@pytest.mark.parametrize("latent", [False, True])
def test_the_best_of_one_is_the_unguided_motion_and_the_best_of_three_the_best_of_three(latent: bool) -> None:
    task, method = generator(latent), best_of(3, latent)
    draws = [seeds(*ROWS), *(derive(seeds(*ROWS), f"candidate {number}") for number in (1, 2))]
    motions = [task.sample(captions(ROWS), LENGTHS[ROWS], each) for each in draws]
    assert torch.equal(take(best_of(1, latent), task), motions[0])
    target = method.objective.target(captions(ROWS))
    scores = torch.stack([method.objective.score(motion, LENGTHS[ROWS], target) for motion in motions])
    expected = torch.stack([motions[int(best)][row] for row, best in enumerate(scores.argmax(0))])
    assert torch.equal(take(method, task), expected) and len(scores.argmax(0).unique()) > 1


def test_a_motion_with_nan_reward_is_never_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    task, method = generator(), best_of(3)
    score, asked = method.objective.score, []

    def broken(motion: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        asked.append(motion)
        return torch.full(motion.shape[:1], torch.nan) if len(asked) == 1 else score(motion, *others)

    monkeypatch.setattr(method.objective, "score", broken)
    found = take(method, task)
    assert all(any(torch.equal(row, made[k]) for made in asked[1:]) for k, row in enumerate(found))


def test_the_best_motion_does_not_depend_on_its_batch() -> None:
    task, method = generator(), best_of(3)
    together = take(method, task)
    for row in ROWS:
        torch.testing.assert_close(together[row, : LENGTHS[row]], take(method, task, [row])[0], atol=1e-4, rtol=0)


def other_noise() -> GeneratorTask:
    task = generator()
    task.path = VP(type(noise())(num_train_timesteps=100, beta_end=0.02, clip_sample=False))
    return task


def other_skeleton() -> GeneratorTask:
    task = generator()
    task._skeleton = "kit"
    return task


def other_statistics() -> GeneratorTask:
    task = generator()
    task.normalizer.fit(*TinyData(scale=0.5).statistics)
    return task


@pytest.mark.parametrize(
    ("method", "task", "reason"),
    [
        (RewardSteering, other_noise, "noise schedule"),
        (RewardSteering, other_statistics, "Mean and Std"),
        (RewardSteering, other_skeleton, "skeleton"),
        (BestOfN, other_skeleton, "skeleton"),
    ],
)
def test_a_generator_that_does_not_fit_the_reward_is_refused(method, task, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=reason):
        method(RewardObjective(reward(), config=GuidanceConfig(point="x_t"))).sample(
            task(), ["walk"], LENGTHS[:1], seeds(0)
        )


def test_a_reward_on_features_always_guides_latents_through_the_decoder() -> None:
    def guided(**options: bool) -> torch.Tensor:
        config = GuidanceConfig(strength=20.0, point="x_t", **options)
        method = RewardSteering(RewardObjective(reward(), config=config))
        return method.sample(generator(True), captions(ROWS), LENGTHS[ROWS], seeds(*ROWS))

    plain = generator(True).sample(captions(ROWS), LENGTHS[ROWS], seeds(*ROWS))
    assert torch.equal(guided(), guided(through_decoder=True)) and not torch.equal(guided(), plain)
    method = RewardSteering(RewardObjective(reward(True), config=GuidanceConfig()))
    with pytest.raises(InputError, match="one of motion features"):
        method.check(generator())


def test_a_reward_with_other_statistics_reads_clean_motions_normalised_anew() -> None:
    method = RewardSteering(RewardObjective(reward(), config=GuidanceConfig(strength=20.0)))
    for latent, scale in ((False, 0.5), (True, 0.5)):
        task, same = generator(latent), generator(latent)
        task.normalizer.fit(*TinyData(scale=scale).statistics)
        method.check(task)
        guidance = method.guidance(task, captions(ROWS), LENGTHS[ROWS])
        mask = task.space.token_mask(lengths_to_mask(LENGTHS[ROWS]))
        x = torch.randn(*mask.shape, task.space.width, generator=torch.Generator().manual_seed(2))
        t, frames = torch.full((4,), CLEAN_STEP), lengths_to_mask(LENGTHS[ROWS])
        raw = task.normalizer.denormalize(task.space.decode(x, frames), frames)
        expected = method.objective.score(raw, LENGTHS[ROWS], method.objective.target(captions(ROWS)))
        torch.testing.assert_close(guidance.reward(x, t, mask), expected)
        assert not torch.allclose(method.guidance(same, captions(ROWS), LENGTHS[ROWS]).reward(x, t, mask), expected)


def test_a_steering_comes_back_from_files(tmp_path: Path) -> None:
    TrainingCLI.from_args(["fit", *command(tmp_path, reward_config())], run=True)
    checkpoint = next(tmp_path.rglob("*.ckpt"))
    motion_index(load_task(checkpoint)).save(tmp_path / "index")  # type: ignore[arg-type]
    config = GuidanceConfig(mu=0.5, eta=0.25, strength=2.0)
    with torch.inference_mode():  # weights must not become inference tensors
        method = load_steering(checkpoint, tmp_path / "index", config)
    assert isinstance(method, RewardSteering) and method.config is config and len(method.objective.index or []) == 8
    assert not any(each.requires_grad or each.is_inference() for each in method.objective.reward.parameters())
    several = load_steering(checkpoint, config=GuidanceConfig(method="best-of", candidates=3))
    assert isinstance(several, BestOfN) and several.config.candidates == 3
    with pytest.raises(InputError, match="no checkpoint at"):
        load_steering(tmp_path / "nowhere.ckpt")
    with pytest.raises(InputError, match="steers nothing; choose reward or best-of"):
        load_steering(checkpoint, config=GuidanceConfig(method="none"))


@pytest.mark.parametrize("kind", ["RewardTask", "RetrieverTask"])
def test_a_reward_of_another_text_encoder_and_noise_guides_at_clean_samples(tmp_path: Path, kind: str) -> None:
    other = {"class_path": "realign.text.hashing.HashingEncoder", "init_args": {"dim": 12}}
    config = reward_config(kind, model={"text_dim": 12, "dropout": 0.0}, text_encoder=other)
    trained = TrainingCLI.from_args(command(tmp_path, config), run=False).model
    trained.normalizer.fit(*TinyData().statistics)
    trained.hparams["skeleton"] = "humanml3d"
    folder = save_pretrained(trained, tmp_path / "reward")
    task, draws = generator(), captions(ROWS)
    plain = task.sample(draws, LENGTHS[ROWS], seeds(*ROWS))
    method = load_steering(folder, config=GuidanceConfig(start=0.0, interval=1))
    guided = method.sample(task, draws, LENGTHS[ROWS], seeds(*ROWS))
    assert not torch.allclose(guided, plain, atol=1e-3)
    target = method.objective.target(draws)
    difference = method.objective.score(guided, LENGTHS[ROWS], target) - method.objective.score(
        plain, LENGTHS[ROWS], target
    )
    assert difference.mean() > 0
    noisy = load_steering(folder, config=GuidanceConfig(point="x_t"))
    reason = "has never seen noise.*point x0" if kind == "RetrieverTask" else "noise schedule.*point x0"
    with pytest.raises(InputError, match=reason):
        noisy.sample(task, draws, LENGTHS[ROWS], seeds(*ROWS))


@pytest.mark.parametrize("point", ["x_t", "x0"])
def test_a_reward_ignores_frames_after_the_motion(point: str) -> None:
    """The generator denoises 196 frames for any length; frames after the motion must not be rewarded."""
    task = generator()
    task.space = FeatureSpace(frames=40)
    method = RewardSteering(RewardObjective(reward(), None, GuidanceConfig(point=point)))
    method.check(task)
    guidance = method.guidance(task, captions(ROWS), LENGTHS[ROWS])
    mask, t = torch.ones(4, 40).bool(), torch.full((4,), 10)
    x = torch.randn(4, 40, 263, generator=torch.Generator().manual_seed(0))
    frames = lengths_to_mask(LENGTHS[ROWS])
    short = x[:, : frames.shape[1]] * frames[..., None]
    plain = RewardGuidance(method.objective.reward.model, guidance.guidance.target, method.config)
    torch.testing.assert_close(guidance.reward(x, t, mask), plain.reward(short, t, frames), atol=1e-4, rtol=1e-4)
    guided = method.sample(task, captions(ROWS), LENGTHS[ROWS], seeds(*ROWS))
    free = task.sample(captions(ROWS), LENGTHS[ROWS], seeds(*ROWS))
    assert guided.shape == free.shape == (4, int(LENGTHS[ROWS].max()), 263)
    assert guided.isfinite().all() and not torch.allclose(guided, free)
    target = method.objective.target(captions(ROWS))
    assert (
        method.objective.score(guided, LENGTHS[ROWS], target).mean()
        > method.objective.score(free, LENGTHS[ROWS], target).mean()
    )
