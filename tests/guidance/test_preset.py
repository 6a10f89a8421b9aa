"""The published update of ReAlign as a preset: its options, how they are read, and their formulas."""

import argparse
from dataclasses import replace
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from steer_parts import LENGTHS, captions, generator, noise, reward, seeds
from task_parts import TinyData
from torch import Tensor
from torch.nn.functional import cosine_similarity

from realign.cli import main
from realign.commands import evaluate, generate
from realign.commands.guiding import given_guidance
from realign.diffusion import CLEAN_STEP
from realign.diffusion.path import Clean
from realign.errors import InputError
from realign.evaluation.settings import Setting
from realign.guidance import GuidanceConfig, RewardObjective, RewardSteering
from realign.guidance.config import PRESETS
from realign.guidance.reward import RenewedRewardGuidance, latent_noise
from realign.masking import lengths_to_mask
from realign.nn import SPM, Embedder, FeatureSpace
from realign.text.hashing import HashingEncoder

RELEASE = GuidanceConfig(preset="realign-release")
OWN = GuidanceConfig(strength=7.0, interval=4, eta=0.5, norm="clip")


def test_a_preset_sets_options_that_explicit_ones_override() -> None:
    laid = PRESETS["realign-release"]
    assert {name: getattr(RELEASE, name) for name in laid} == laid and RELEASE.preset == "none"
    assert OWN.override({"preset": "realign-release"}) == RELEASE  # whatever was set before
    assert OWN.override({"preset": "none"}) == OWN
    given = {"preset": "realign-release", "update": "score_shift", "point": "x_t", "strength": "50"}
    assert OWN.override(given) == replace(RELEASE, update="score_shift", point="x_t", strength=50.0)
    assert GuidanceConfig.of({"preset": "realign-release", "mu": 2.0}) == replace(RELEASE, mu=2.0)
    with pytest.raises(InputError, match="preset 'release'; choose one of none, realign-release"):
        GuidanceConfig.of({"preset": "release"})
    with pytest.raises(InputError, match="point='x_next' is the sample after the step"):
        GuidanceConfig(point="x_next")


def test_a_preset_is_read_from_yaml_strings_and_flags(capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--guidance", type=GuidanceConfig)
    parsed = parser.parse_object({"guidance": {"preset": "realign-release", "strength": 50.0}})
    assert parser.instantiate_classes(parsed).guidance == replace(RELEASE, strength=50.0)
    setting = Setting.parse("preset=realign-release strength=50 steps=20", own=OWN)
    assert setting.config == replace(RELEASE, strength=50.0)
    assert setting.name == "reward preset=realign-release strength=50.0 steps=20"
    assert Setting.parse("guidance=reward strength=50", own=OWN).name == "reward strength=50.0"
    assert Setting.parse("preset=realign-release", own=OWN).name == "reward preset=realign-release"
    for command, words in ((generate, ["walk"]), (evaluate, ["--data", "x"])):
        commands = argparse.ArgumentParser().add_subparsers()
        command.add_parser(commands)
        (only,) = commands.choices.values()
        options = only.parse_args([*words, "--guidance-preset", "realign-release", "--mu", "2"])
        assert given_guidance(options) == {"preset": "realign-release", "mu": 2.0}
    settings = evaluate.settings_of(options)
    assert [each.config.method for each in settings] == ["none", "reward"]
    assert settings[1].config == replace(RELEASE, mu=2.0)
    with pytest.raises(SystemExit):
        main(["generate", "--help"])
    assert "depends on the batch it shares" in " ".join(capsys.readouterr().out.split())
    assert main(["generate", "walk", "--guidance", "none", "--guidance-preset", "realign-release"]) == 2
    assert "--guidance-preset has no effect with --guidance none" in capsys.readouterr().err


def steering(config: GuidanceConfig = RELEASE, latent: bool = False, layers: int = 3) -> RewardSteering:
    return RewardSteering(RewardObjective(reward(latent, decoder_layers=layers, patch=1), config=config))


@pytest.mark.parametrize("latent", [False, True])
def test_a_step_adds_the_gradient_of_the_mean_over_the_batch_at_the_new_sample(
    latent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, asked, drawn = [0, 1, 2], [], {}
    task, method = generator(latent, steps=4), steering(latent=latent)
    model = method.objective.reward.model
    guidance = method.guidance(task, captions(rows), LENGTHS[rows], seeds=seeds(*rows))

    def remembered(numbers: Tensor, what: str, t: Tensor, width: int) -> Tensor:
        drawn[what] = latent_noise(numbers, what, t, width)
        asked.append((what, int(t[0])))
        return drawn[what]

    monkeypatch.setattr("realign.guidance.reward.latent_noise", remembered)
    mask = task.space.token_mask(lengths_to_mask(LENGTHS[rows]))
    solver = task.sampler().solver()
    steps = guidance.over(solver, "sample")
    x, after = (torch.randn(*mask.shape, task.space.width, generator=torch.Generator().manual_seed(n)) for n in (1, 2))
    text = method.objective.reward.text_encoder(captions(rows))
    for call in solver.evaluations:
        t = torch.full((3,), int(call.t))
        assert torch.equal(steps.output(call, x, x, t, mask), x)
        found = steps.sample(call, after)
        x_next = after.masked_fill(~mask[..., None], 0).requires_grad_()
        caption, motion = model.encode_text(text), model.encode_motion(x_next, t, mask)
        assert caption.logvar is not None and motion.logvar is not None
        one = caption.mean + caption.logvar.exp().sqrt() * drawn["caption"]
        other = motion.mean + motion.logvar.exp().sqrt() * drawn["motion"]
        (gradient,) = torch.autograd.grad(cosine_similarity(one, other).mean(), x_next)
        torch.testing.assert_close(found, after + 100 * gradient)
    wanted = [(what, int(call.t)) for call in solver.evaluations for what in ("caption", "motion")]
    assert asked == wanted


def test_the_gradient_is_divided_by_the_batch_size_and_draws_use_own_seeds() -> None:
    task = generator(steps=3)

    def first(rows: list[int], strength: float) -> Tensor:
        method = steering(replace(RELEASE, strength=strength))
        return method.sample(task, captions(rows), LENGTHS[rows], seeds(*rows))[0, : LENGTHS[rows[0]]]

    torch.testing.assert_close(first([1, 5, 3, 4], 4.0), first([1], 1.0), atol=1e-5, rtol=1e-4)
    assert torch.equal(first([1], 1.0), first([1], 1.0))
    assert not torch.allclose(first([1, 5], 1.0), first([1], 1.0), atol=1e-5)


def test_a_reward_without_variances_or_noise_is_refused() -> None:
    with pytest.raises(InputError, match="learned by contrast alone"):
        steering(layers=0).check(generator())
    method = steering()
    method.objective.reward.path = Clean()
    with pytest.raises(InputError, match="never seen noise, but guidance at the points x_t and x_next"):
        method.check(generator())


def spm(**modes: bool) -> Embedder:
    torch.manual_seed(4)
    model = SPM(263, 8, hidden=16, layers=3, heads=2, feedforward=16, **modes)
    made = Embedder(model, FeatureSpace(), HashingEncoder(8), "humanml3d", noise())
    made.normalizer.fit(*TinyData().statistics)
    return made.eval()


@pytest.mark.parametrize("t", [CLEAN_STEP, 60])
def test_captions_with_a_timestep_are_read_at_that_of_the_motion_but_not_by_the_release(t: int) -> None:
    task, made = generator(), spm(text_time=True)
    x, steps = torch.randn(2, 24, 263, generator=torch.Generator().manual_seed(1)), torch.full((2,), t)
    mask, text = lengths_to_mask(LENGTHS[:2]), made.text_encoder(captions([0, 1]))
    for config, told in (
        (GuidanceConfig.plain(), steps),
        (replace(RELEASE, embeddings="mean"), steps),
        (RELEASE, None),
    ):
        guidance: Any = RewardSteering(RewardObjective(made, config=config)).guidance(
            task, captions([0, 1]), LENGTHS[:2], seeds=seeds(0, 1)
        )
        assert isinstance(guidance, RenewedRewardGuidance)
        one, other = made.model.encode_text(text, told), made.model.encode_motion(x, steps, mask)
        zs = one.mean, other.mean
        if told is None:
            zs = tuple(each.draw(latent_noise(seeds(0, 1), what, steps, 16)) for each, what in
                       ((one, "caption"), (other, "motion")))  # fmt: skip
        torch.testing.assert_close(guidance.reward(x, steps, mask), cosine_similarity(*zs))


def test_noise_of_embeddings_belongs_to_a_seed_a_timestep_and_a_side() -> None:
    t = torch.tensor([5, 5, 6, -1])
    drawn = latent_noise(seeds(3, 4, 3, 3), "motion", t, 2000)
    assert abs(float(drawn.mean())) < 0.05 and abs(float(drawn.std()) - 1) < 0.05
    correlation = torch.corrcoef(torch.cat([drawn, latent_noise(seeds(3), "caption", t[:1], 2000)])) - torch.eye(5)
    assert correlation.abs().max() < 0.1
    assert torch.equal(drawn[2:3], latent_noise(seeds(3), "motion", torch.tensor([6.0]), 2000))
