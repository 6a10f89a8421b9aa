from dataclasses import replace

import pytest
import torch
from steer_parts import LENGTHS, PLACEMENTS, captions, generator, motion_index, noise, reward, seeds

from realign.batch import TextFeatures
from realign.diffusion import CLEAN_STEP, VP, FlowMatching
from realign.errors import InputError
from realign.guidance import RewardGuidance, RewardObjective, RewardSteering
from realign.guidance.config import GuidanceConfig
from realign.masking import lengths_to_mask
from realign.nn import Denoiser
from realign.tasks import GeneratorTask

STRONG = GuidanceConfig.plain(norm="normalize")
ROWS = list(range(8))


def steering(placement: str, config: GuidanceConfig = STRONG, mu: float = 1.0, eta: float = 0.5) -> RewardSteering:
    task = reward(PLACEMENTS[placement][0])
    config = replace(config, mu=mu, eta=eta, anchors=2, through_decoder=placement == "decoder")
    return RewardSteering(RewardObjective(task, motion_index(task), config))


def sample(
    task: GeneratorTask,
    method: RewardSteering | None,
    rows: list[int] = ROWS,
    lengths: torch.Tensor = LENGTHS,
    **options: object,
) -> torch.Tensor:
    draws, texts, lengths = seeds(*rows), captions(rows), lengths[rows]
    if method is None:
        return task.sample(texts, lengths, draws, **options)  # type: ignore[arg-type]
    return method.sample(task, texts, lengths, draws, [str(row) for row in rows], **options)


def some_tokens(task: GeneratorTask, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    mask = task.space.token_mask(lengths_to_mask(LENGTHS[rows]))
    x = torch.randn(*mask.shape, task.space.width, generator=torch.Generator().manual_seed(5))
    return x.masked_fill(~mask[..., None], 0), mask


@pytest.mark.parametrize("t", [CLEAN_STEP, 7, 99])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_gradient_is_that_of_finite_differences(placement: str, t: int) -> None:
    rows, method, task = [0, 1, 4], steering(placement), generator(PLACEMENTS[placement][1])
    guidance = method.guidance(task, captions(rows), LENGTHS[rows])
    for part in (task, method.objective.reward):
        part.double()
    x, mask = some_tokens(task, rows)
    x, steps, nudge = x.double(), torch.full((3,), t), 1e-5
    gradient = guidance.gradient(x, steps, mask)
    assert gradient.dtype == torch.float64 and gradient.abs().amax((1, 2)).gt(1e-7).all()
    for row, token, channel in [(0, 0, 0), (0, 5, 2), (1, 2, 3), (2, int(mask[2].sum()) - 1, 1)]:
        change = torch.zeros_like(x)
        change[row, token, channel] = nudge
        with torch.no_grad():
            rise = guidance.reward(x + change, steps, mask) - guidance.reward(x - change, steps, mask)
        assert rise[[i for i in range(3) if i != row]].abs().max() == 0  # other samples have no gradient
        assert gradient[row, token, channel].item() == pytest.approx(
            rise[row].item() / (2 * nudge), rel=1e-4, abs=1e-10
        )
    assert not gradient[~mask].any()


# not STRONG: such a shift at nearly pure noise makes an untrained generator amplify rounding errors
@pytest.mark.parametrize("options", [{"strength": 300.0}, {"norm": "normalize", "profile": "signal"}])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_guided_motion_is_the_same_alone_and_among_32_of_mixed_lengths(placement: str, options: dict) -> None:
    task, method = generator(PLACEMENTS[placement][1]), steering(placement, GuidanceConfig.plain(**options))
    rows = list(range(32))
    lengths = torch.tensor([12 + 7 * row % 13 for row in rows])  # every length from 12 to 24
    together = sample(task, method, rows, lengths)
    assert (together - sample(task, None, rows, lengths)).abs().amax((1, 2)).gt(1e-3).all()
    for row in (1, 4, 12, 31):
        alone = sample(task, method, [row], lengths)
        torch.testing.assert_close(together[row, : lengths[row]], alone[0], atol=2e-5, rtol=0)
        assert not together[row, lengths[row] :].any()


class Gaussian(Denoiser):
    """The exact generator of standard normal data: the posterior mean of x_0 is sqrt(abar) x_t."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.text_dim = width, 8

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, mask: torch.Tensor, text: TextFeatures) -> torch.Tensor:
        return VP(noise()).alpha(t) * x_t


@pytest.mark.parametrize("point", ["x_t", "x0"])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_guidance_raises_its_reward(placement: str, point: str) -> None:
    task = generator(PLACEMENTS[placement][1], steps=10, guidance_scale=1.0)
    task.denoiser = Gaussian(task.space.width)
    guidance = steering(placement, replace(STRONG, point=point)).guidance(task, captions(ROWS), LENGTHS)
    mask = task.space.token_mask(lengths_to_mask(LENGTHS))
    predict = task.predictor(task.encode_text(captions(ROWS)), mask)
    scores = []
    for method in (None, guidance):
        x = task.sampler().sample(predict, (*mask.shape, task.space.width), mask, method, seeds(*ROWS))
        with torch.no_grad():
            scores.append(guidance.reward(x, torch.full((8,), CLEAN_STEP), mask))
    difference = scores[1] - scores[0]
    assert (difference > 0).all() and difference.mean() > 0.02


class GaussianFlow(Gaussian):
    """The exact velocity of standard normal data."""

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, mask: torch.Tensor, text: TextFeatures) -> torch.Tensor:
        sigma = t[:, None, None] / 1000
        return (2 * sigma - 1) / ((1 - sigma) ** 2 + sigma**2) * x_t


@pytest.mark.parametrize("scheduler", ["euler", "heun"])
@pytest.mark.parametrize("point", ["x_t", "x0"])
def test_a_reward_trained_on_a_flow_guides_a_flow(point: str, scheduler: str) -> None:
    # the profile limits a normalised gradient at nearly pure noise
    options = replace(STRONG, point=point, profile="signal")
    task, method = generator(steps=10, guidance_scale=1.0), steering("feature", options)
    task.path = FlowMatching()
    if point == "x_t":
        with pytest.raises(InputError, match="noise schedule 'vp-100.*generator with 'flow-1000'"):
            sample(task, method)
    method.objective.reward.path, task.denoiser, task.sampling_scheduler = FlowMatching(), GaussianFlow(263), scheduler
    target = method.objective.target(captions(ROWS), [str(row) for row in ROWS])
    plain, guided = (method.objective.score(sample(task, each), LENGTHS, target) for each in (None, method))
    assert (guided > plain).all() and (guided - plain).mean() > 0.02


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_zero_strength_or_weights_equal_no_guidance_bit_for_bit(placement: str) -> None:
    task = generator(PLACEMENTS[placement][1])
    plain = sample(task, None)
    assert torch.equal(sample(task, steering(placement, GuidanceConfig.plain(strength=0.0))), plain)
    assert torch.equal(sample(task, steering(placement, mu=0.0, eta=0.0)), plain)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_guidance_is_the_same_without_autograd_and_in_float32_under_autocast(placement: str, context: type) -> None:
    task, method = generator(PLACEMENTS[placement][1]), steering(placement)
    x, mask = some_tokens(task, [0, 1])
    t = torch.tensor([10, 10])
    expected = method.guidance(task, captions([0, 1]), LENGTHS[:2]).gradient(x, t, mask)
    with context(), torch.autocast("cpu", torch.bfloat16):
        found = method.guidance(task, captions([0, 1]), LENGTHS[:2]).gradient(x.clone(), t.clone(), mask.clone())
    assert torch.equal(found, expected) and found.dtype == torch.float32
    with context():
        inside = sample(task, method, [0, 1])
    assert torch.equal(inside, sample(task, method, [0, 1]))
    assert all(each.grad is None for part in (task, method.objective.reward) for each in part.parameters())


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_parts_made_under_inference_mode_can_guide(placement: str) -> None:
    with torch.inference_mode():
        task, method = generator(PLACEMENTS[placement][1]), steering(placement)
        assert next(method.objective.reward.parameters()).is_inference()
        found = sample(task, method, [0, 1])
    expected = sample(generator(PLACEMENTS[placement][1]), steering(placement), [0, 1])
    torch.testing.assert_close(found, expected)


def test_captions_and_anchors_are_computed_once_per_sampling() -> None:
    task, method, seen = generator(steps=7), steering("feature"), []
    method.objective.reward.text_encoder.register_forward_pre_hook(lambda module, args: seen.extend(args[0]))
    task.text_encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    index = method.objective.index
    search = index.search
    index.search = lambda text, k: seen.append(len(text)) or search(text, k)
    method.sample(task, ["walk", "run", "walk"], LENGTHS[:3], seeds(0, 1, 2))
    assert seen == ["walk", "run", 3, ["walk", "run"], [""]]  # for reward, anchors, generator and its free prediction


def test_sampling_changes_neither_generator_nor_reward_nor_global_randomness() -> None:
    task, method = generator(), steering("feature")
    parts = (task, method.objective.reward)
    before = [{name: value.clone() for name, value in part.state_dict().items()} for part in parts]
    torch.manual_seed(11)
    state = torch.get_rng_state()
    sample(task, method)
    assert torch.equal(torch.get_rng_state(), state)
    for part, old in zip(parts, before, strict=True):
        assert all(torch.equal(value, old[name]) for name, value in part.state_dict().items())
    assert not any(part.training for part in parts)


def test_bind_is_the_same_guidance_from_its_parts() -> None:
    method = steering("feature")
    task, rows = method.objective.reward, [2, 5, 1]
    own = [str(row) for row in rows]
    bound = RewardGuidance.bind(task, captions(rows), method.objective.index, method.config, own)
    maker = generator()
    expected = method.guidance(maker, captions(rows), LENGTHS[rows], own)
    x, mask = some_tokens(maker, rows)
    t = torch.tensor([3, 50, CLEAN_STEP])
    assert torch.equal(bound.gradient(x, t, mask), expected.gradient(x, t, mask)) and bound.config is method.config
    plain = RewardGuidance.bind(task, captions(rows))
    with torch.no_grad():
        torch.testing.assert_close(plain.reward(x, t, mask), task.model(x, t, mask, task.encode_text(captions(rows))))
