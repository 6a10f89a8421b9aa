"""The published update of ReAlign: the preset against guided steps and a guided sampling run of the original."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from official_parts import Draws, golden, read_spec, write_statistics
from reward_parts import features, imported, text_of, variant_of
from torch import Tensor

from realign.batch import TextFeatures
from realign.checkpoint.official.importing import build, read_official
from realign.diffusion.prediction import Level
from realign.diffusion.solver import Evaluation
from realign.guidance import GuidanceConfig, RewardObjective, RewardSteering
from realign.guidance.gradient import GuidedSteps
from realign.masking import lengths_to_mask
from realign.nn import SPM, Diffusion, Embedder
from realign.text.hashing import HashingEncoder

Write = Callable[[str, str], list[Path]]
BASE = "mld_v1"
RELEASE = GuidanceConfig(preset="realign-release")


class Given(HashingEncoder):
    """Reads captions 0, 1, ... as the arrays have them; every other caption as the empty one of the arrays."""

    def __init__(self, text: TextFeatures, empty: TextFeatures | None = None) -> None:
        super().__init__(text.tokens.shape[2])
        self.text, self.empty = text, empty

    def forward(self, texts: list[str]) -> TextFeatures:
        rows = [self.text[[int(each)]] if each else self.empty for each in texts]
        return TextFeatures.cat([row for row in rows if row is not None])


def one_word(vectors: Tensor) -> TextFeatures:
    """Pooled vectors of captions, as MLD reads them."""
    return TextFeatures(vectors, vectors.new_ones(len(vectors), 1, dtype=torch.bool), vectors[:, 0])


@pytest.fixture(scope="module")
def pair(published: Write, tmp_path_factory: pytest.TempPathFactory) -> tuple[Embedder, Diffusion]:
    """The imported reward and the imported generator of the golden runs, with the statistics of one data set."""
    if BASE not in read_spec("motionlcm")["variants"]:
        pytest.skip(f"spec_motionlcm.json has no {BASE}")
    folder, name, arrays = tmp_path_factory.mktemp("release"), variant_of("spm"), golden("spm")
    reward = imported("spm", name, published("spm", name)[0], folder)
    stats = write_statistics(folder / "stats", features("spm", name, "skel_embedding.weight"))
    found = read_official("motionlcm", published("motionlcm", BASE)[0], stats=stats)
    generator: Any = build(found)
    reward.text_encoder = Given(text_of(arrays))
    cond, uncond = (one_word(arrays[f"sampling/text_{each}"]) for each in ("cond", "uncond"))
    generator.text_encoder = Given(cond, uncond)
    return reward, generator.requires_grad_(False)


def steering(reward: Embedder, mode: str = "M1T0", **options: Any) -> RewardSteering:
    """The preset, with the reward in a mode."""
    assert isinstance(reward.model, SPM)
    reward.model.motion_time, reward.model.timed_captions = mode[1] == "1", mode[3] == "1"
    return RewardSteering(RewardObjective(reward, config=replace(RELEASE, **options)))


def captions() -> list[str]:
    return [str(row) for row in range(len(golden("spm")["lengths"]))]


def inject(monkeypatch: pytest.MonkeyPatch, noise: Callable[[str], Tensor]) -> None:
    """Draw embeddings of captions or motions with given noise."""
    monkeypatch.setattr("realign.guidance.reward.latent_noise", lambda seeds, what, t, width: noise(what))


@torch.no_grad()
def test_one_step_equals_the_original(pair: tuple[Embedder, Diffusion], monkeypatch: pytest.MonkeyPatch) -> None:
    (reward, generator), arrays = pair, golden("spm")
    lengths, x = arrays["lengths"], arrays["guidance/latents_in"]
    mask = generator.space.token_mask(lengths_to_mask(lengths))
    t, level = arrays.number("guidance/timestep"), Level(torch.tensor(1.0), torch.tensor(0.5))
    strength = float(arrays["guidance/lambda_t2m"])
    for key in arrays.keys("guidance/"):
        found = re.fullmatch("guidance/latents_out(_eps0)?(?:_(M[01]T[01]))?|guidance/step_over_lambda", key)
        if found is None:
            continue
        factor = 0 if found[1] else 1
        given = {"caption": factor * arrays["eps_text"][0], "motion": factor * arrays["eps_motion"][0]}
        inject(monkeypatch, given.__getitem__)
        way = steering(reward, found[2] or "M1T0", strength=strength)
        guidance = way.guidance(generator, captions(), lengths, seeds=torch.arange(len(x)))
        steps = GuidedSteps(guidance, generator.sampler().solver(), "epsilon")
        call = Evaluation(t, level, level, 0)
        times = torch.full((len(x),), t)
        assert torch.equal(steps.output(call, x, x, times, mask), x)
        after = steps.sample(call, x)
        arrays.compare(key, (after - x) / strength if key.endswith("lambda") else after)
    for key in arrays.keys("guidance/decoded"):
        frames = int(key.rpartition("first")[2])
        arrays.compare(key, generator.space.decode(x, lengths_to_mask(lengths))[:, :frames])


def test_complete_guided_sampling_equals_the_original(
    pair: tuple[Embedder, Diffusion], monkeypatch: pytest.MonkeyPatch
) -> None:
    (reward, generator), arrays, after = pair, golden("spm"), dict[int, Tensor]()
    lengths, sample = arrays["lengths"], GuidedSteps.sample
    mask = generator.space.token_mask(lengths_to_mask(lengths))
    noise = Draws(arrays.number("sampling/noise_seed"), (*mask.shape, generator.space.width))
    inject(monkeypatch, lambda what: noise()[:, 0])  # the caption's before the motion's, after the start

    def watched(self: GuidedSteps, call: Evaluation, x_next: Tensor) -> Tensor:
        after[call.step + 1] = sample(self, call, x_next)
        return after[call.step + 1]

    monkeypatch.setattr(GuidedSteps, "sample", watched)
    way = steering(reward, strength=float(arrays["guidance/lambda_t2m"]))
    guidance = way.guidance(generator, captions(), lengths, seeds=torch.arange(len(lengths)))
    predict = generator.predictor(generator.encode_text(captions()), mask)
    found = generator.sampler().sample(predict, noise.shape, mask, guidance, draw=noise)  # type: ignore[arg-type]
    for key in arrays.keys("sampling/after_step_"):
        arrays.compare(key, after[int(key.rpartition("_")[2])])
    arrays.compare("sampling/latents_out", found)
    assert noise.drawn == arrays.number("sampling/n_draws")
