from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from task_parts import TinyData, command, feature_generator, latent_generator, one_batch
from torch import Tensor

from realign.batch import TextFeatures
from realign.diffusion import FlowMatching
from realign.errors import InputError
from realign.losses import GeometricLoss
from realign.masking import masked_loss
from realign.motion.features import features_to_joints
from realign.motion.skeleton import HUMANML3D
from realign.nn import ConvVAE, Denoiser, FeatureSpace, LatentSpace, MdmDenoiser, MldDenoiser
from realign.seeding import noise_like_mask, uniform
from realign.tasks import GeneratorTask
from realign.text.hashing import HashingEncoder
from realign.training import TrainingCLI


def build(prediction: str = "sample", dropout: float = 0.0, **options: object) -> GeneratorTask:
    torch.manual_seed(0)
    denoiser = MdmDenoiser(263, 8, 32, 2, 2, 64, dropout)
    noise = {"num_train_timesteps": 100, "beta_start": 1e-3, "beta_end": 0.15}
    if prediction == "flow_prediction":
        options = {"path": FlowMatching(), **options}
    else:
        scheduler = DDPMScheduler(**noise, clip_sample=False, prediction_type=prediction)
        options = {"scheduler": scheduler, "sampling_scheduler": "ddim", **options}
    task = GeneratorTask(denoiser, FeatureSpace(), HashingEncoder(8), steps=5, skeleton="humanml3d", **options)
    task.normalizer.fit(*TinyData().statistics)
    return task


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("kind", ["latent", "feature"])
def test_fit_validate_and_predict(tmp_path: Path, vae_checkpoint: Path, kind: str, precision: str) -> None:
    model = latent_generator(vae_checkpoint) if kind == "latent" else feature_generator()
    cli = TrainingCLI.from_args(["fit", *command(tmp_path, model, max_epochs=2, precision=precision)], run=True)
    metrics = cli.trainer.callback_metrics
    assert all(metrics[name].isfinite() for name in ("train/loss", "val/loss"))
    cli.trainer.validate(cli.model, cli.datamodule, verbose=False)
    out = cli.trainer.predict(cli.model, cli.datamodule)
    assert out[0].shape == one_batch().motion.shape and out[0].isfinite().all()
    assert not out[0][~one_batch().mask].any()


def test_losses_do_not_depend_on_the_batch() -> None:
    task, batch = build().eval(), one_batch(4)
    rows = [
        replace(
            batch, motion=batch.motion[i : i + 1, : batch.lengths[i]], lengths=batch.lengths[i : i + 1],
            captions=batch.captions[i : i + 1], ids=batch.ids[i : i + 1], seeds=batch.seeds[i : i + 1],
        )
        for i in range(4)
    ]  # fmt: skip
    for purpose in ("train", "val"):
        alone = torch.stack([task.losses(row, purpose)["loss"] for row in rows]).mean()
        torch.testing.assert_close(task.losses(batch, purpose)["loss"], alone)
    assert torch.equal(task.losses(batch, "val")["loss"], task.losses(batch, "val")["loss"])


def test_text_dropout_replaces_captions_by_the_empty_one() -> None:
    task, batch = build(text_dropout=1.0).eval(), one_batch(4)
    empty = replace(batch, captions=[""] * 4)
    assert torch.equal(task.losses(batch, "train")["loss"], task.losses(empty, "train")["loss"])
    assert not torch.equal(task.losses(batch, "val")["loss"], task.losses(empty, "val")["loss"])


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_classifier_free_guidance_is_the_published_combination(scale: float) -> None:
    task = build().eval()
    x, mask = torch.randn(2, 12, 263), torch.ones(2, 12, dtype=torch.bool)
    text, t = task.encode_text(["walk", "run"]), torch.tensor([5, 80])
    conditional = task.denoiser(x, t, mask, text)
    free = task.denoiser(x, t, mask, task.encode_text(["", ""]))
    expected = free + scale * (conditional - free)
    torch.testing.assert_close(task.predictor(text, mask, scale)(x, t), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scheduler", [None, "ddpm", "dpm", "unipc", "euler", "heun"])
def test_a_sample_does_not_depend_on_its_batch(scheduler: str | None) -> None:
    task = build("flow_prediction" if scheduler in ("euler", "heun") else "sample").eval()
    captions, lengths = ["walk", "run", "walk"], torch.tensor([16, 24, 20])
    out = task.sample(captions, lengths, torch.arange(3), scheduler=scheduler)
    single = task.sample(["walk"], lengths[2:], torch.arange(2, 3), scheduler=scheduler)
    assert out.shape == (3, 24, 263) and not out[2, 20:].any()
    torch.testing.assert_close(out[2, :20], single[0], atol=1e-4, rtol=1e-4)
    features = task.encode_text(captions)
    torch.testing.assert_close(task.sample(features, lengths, torch.arange(3), scheduler=scheduler), out)


def test_latents_are_decoded_in_float32_whatever_surrounds_sampling() -> None:
    torch.manual_seed(0)
    space = LatentSpace(ConvVAE(width=4, hidden=8, dilations=[1]))
    space.fitted.fill_(True)
    denoiser, scheduler = MldDenoiser(4, 8, 16, 3, 2, 32, 0.0), DDPMScheduler(clip_sample=False)
    task = GeneratorTask(
        denoiser, space, HashingEncoder(8), scheduler, sampling_scheduler="ddim", steps=4, skeleton="humanml3d"
    ).eval()  # fmt: skip
    task.normalizer.fit(*TinyData().statistics)
    lengths, seen = torch.tensor([20, 12]), []
    decode = space.decode
    space.decode = lambda x, mask: seen.append((x, mask)) or decode(x, mask)  # type: ignore[method-assign]
    plain = task.sample(["walk", "run"], lengths, torch.arange(2))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = task.sample(["walk", "run"], lengths, torch.arange(2))
    assert mixed.dtype == torch.float32 and not torch.equal(plain, mixed)
    with torch.no_grad():
        expected = [task.normalizer.denormalize(decode(x, mask), mask) for x, mask in seen]
    assert torch.equal(plain, expected[0]) and torch.equal(mixed, expected[1])


def test_each_caption_is_encoded_once() -> None:
    task, seen = build(), []
    task.text_encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    features = task.encode_text(["walk", "run", "walk"])
    assert seen == [["walk", "run"]]
    assert torch.equal(features.pooled[0], features.pooled[2])


def test_options_of_sampling_reach_the_sampler() -> None:
    task = build()
    assert task.sampler().steps == 5 and isinstance(task.sampler().solver().scheduler, DDIMScheduler)
    assert task.sampler(steps=7).steps == 7
    dpm = DPMSolverMultistepScheduler.from_config(task.path.scheduler.config)
    assert task.sampler(dpm).scheduler is dpm
    with pytest.raises(InputError, match="same betas and prediction type"):
        task.sampler(DDIMScheduler(num_train_timesteps=100, clip_sample=False, prediction_type="sample"))
    with pytest.raises(InputError, match="'euler' cannot sample a diffusion; choose one of ddim"):
        task.sampler("euler")
    flow = build("flow_prediction")
    assert [flow.sampler(name).scheduler for name in ("euler", "heun", None)] == ["euler", "heun", None]
    with pytest.raises(InputError, match="'ddim' cannot sample a flow"):
        flow.sampler("ddim")


def test_the_noise_is_given_as_scheduler_or_path() -> None:
    parts = (MdmDenoiser(263, 8, 16, 1, 2, 16), FeatureSpace(), HashingEncoder(8))
    scheduler = DDPMScheduler(clip_sample=False)
    with pytest.raises(InputError, match="Neither of scheduler and path are given"):
        GeneratorTask(*parts)
    with pytest.raises(InputError, match="Both of scheduler and path are given"):
        GeneratorTask(*parts, scheduler, FlowMatching())


def test_parts_that_do_not_fit_are_refused() -> None:
    parts = {"text_encoder": HashingEncoder(8), "scheduler": DDPMScheduler(num_train_timesteps=100, clip_sample=False)}
    with pytest.raises(InputError, match="denoiser's width is 20, but FeatureSpace gives 263; set it to 263"):
        GeneratorTask(MdmDenoiser(20, 8, 16, 1, 2, 16), FeatureSpace(), **parts)
    with pytest.raises(InputError, match="denoiser's text_dim is 9, but HashingEncoder gives 8"):
        GeneratorTask(MdmDenoiser(263, 9, 16, 1, 2, 16), FeatureSpace(), **parts)
    with pytest.raises(InputError, match="text_dropout is a fraction between 0 and 1, but is 1.5"):
        GeneratorTask(MdmDenoiser(263, 8, 16, 1, 2, 16), FeatureSpace(), **parts, text_dropout=1.5)


def test_a_latent_space_without_weights_is_refused(tmp_path: Path, vae_checkpoint: Path) -> None:
    with pytest.raises(InputError, match="LatentSpace has no trained autoencoder"):
        TrainingCLI.from_args(["fit", *command(tmp_path, latent_generator(None))], run=True)
    other = {"class_path": "ConvVAE", "init_args": {"width": 4, "hidden": 16, "dilations": [1]}}
    with pytest.raises(InputError, match="does not fit the configured ConvVAE"):
        TrainingCLI.from_args(["fit", *command(tmp_path, latent_generator(vae_checkpoint, other))], run=True)


class Silent(Denoiser):
    """Always predicts zero."""

    width, text_dim = 263, 8

    def forward(self, x_t: Tensor, t: Tensor, mask: Tensor, text: TextFeatures) -> Tensor:
        return torch.zeros_like(x_t)


KINDS = ["sample", "epsilon", "v_prediction", "flow_prediction"]


@pytest.mark.parametrize("prediction", KINDS)
def test_the_loss_is_that_of_the_prediction_type(prediction: str) -> None:
    task, batch = build(prediction), one_batch(8)
    task.denoiser = Silent()
    motion, mask = task.normalize(batch)
    power = masked_loss(motion.square(), mask).item()
    loss = torch.stack([task.losses(replace(batch, seeds=batch.seeds // 2 + i), "val")["loss"] for i in range(20)])
    low, high = min(1.0, power), max(1.0, power)
    expected = {"sample": (power,) * 2, "epsilon": (1.0,) * 2, "v_prediction": (low, high),
                "flow_prediction": (1 + power,) * 2}[prediction]  # fmt: skip
    assert expected[0] - 0.02 <= loss.mean().item() <= expected[1] + 0.02


class Linear(Denoiser):
    """A simple function of sample and timestep."""

    width, text_dim = 263, 8

    def forward(self, x_t: Tensor, t: Tensor, mask: Tensor, text: TextFeatures) -> Tensor:
        return 0.3 * x_t + t[:, None, None] / 100


@pytest.mark.parametrize("prediction", KINDS)
def test_losses_are_those_of_plain_formulas(prediction: str) -> None:
    task, batch = build(prediction), one_batch(8)
    task.denoiser = Linear()
    motion, mask = task.normalize(batch)
    noise = noise_like_mask(batch.seeds, "generator val noise", mask, 263)
    abars = torch.cumprod(1 - torch.linspace(1e-3, 0.15, 100, dtype=torch.float64), 0)
    losses = []
    for row, u in enumerate(uniform(batch.seeds, "generator val timestep").tolist()):
        x, e = (each[row, : batch.lengths[row]].double() for each in (motion, noise))
        if prediction == "flow_prediction":
            t, alpha, sigma, target = 1000 * u, 1 - u, u, e - x
        else:
            t = int(100 * u)
            alpha, sigma = float(abars[t]) ** 0.5, float(1 - abars[t]) ** 0.5
            target = {"sample": x, "epsilon": e, "v_prediction": alpha * e - sigma * x}[prediction]
        losses.append((0.3 * (alpha * x + sigma * e) + t / 100 - target).square().mean())
    torch.testing.assert_close(
        task.losses(batch, "val")["loss"].double(), torch.stack(losses).mean(), rtol=1e-6, atol=0
    )


def test_velocity_and_timestep_weights() -> None:
    batch, limit = one_batch(8), 5.0
    task = build("sample", velocity_weight=2.0, snr_limit=limit)
    task.denoiser = Silent()  # the error is the motion itself
    motion, mask = task.normalize(batch)
    losses = task.losses(batch, "val")
    t = (100 * uniform(batch.seeds, "generator val timestep")).long()
    abar = task.path.scheduler.alphas_cumprod[t]
    weights = (abar / (1 - abar)).clamp(1, limit)
    assert weights.min() == 1 and weights.max() == limit and len(set(weights.tolist())) > 2
    rows = zip(weights, motion, batch.lengths.tolist(), strict=True)
    errors = [
        (w * row[:length].square().mean(), w * row[:length].diff(dim=0).square().mean()) for w, row, length in rows
    ]
    prediction, velocity = (torch.stack(each).mean() for each in zip(*errors, strict=True))
    torch.testing.assert_close(losses["prediction"], prediction)
    torch.testing.assert_close(losses["velocity"], velocity)
    torch.testing.assert_close(losses["loss"], prediction + 2 * velocity)


def test_geometric_losses_are_those_of_the_predicted_motion() -> None:
    batch, geometric = one_batch(8), GeometricLoss(joints=1.0, bones=2.0, feet=0.5)
    task = build("v_prediction", geometric=geometric)
    task.denoiser = Silent()
    motion, mask = task.normalize(batch)
    noise = noise_like_mask(batch.seeds, "generator val noise", mask, 263)
    t = (100 * uniform(batch.seeds, "generator val timestep")).long()
    abar = task.path.scheduler.alphas_cumprod[t][:, None, None]
    clean = abar * motion + (abar * (1 - abar)).sqrt() * noise  # alpha x_t, the velocity being zero
    made, real = (features_to_joints(task.normalizer.denormalize(x, mask)) for x in (clean, motion))
    expected = geometric(made, real, mask, HUMANML3D.parents, HUMANML3D.feet, HUMANML3D.fps)
    losses = task.losses(batch, "val")
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses["loss"], losses["prediction"] + expected["geometric"], rtol=1e-4, atol=1e-5)


def test_geometric_losses_of_epsilon_are_refused() -> None:
    with pytest.raises(InputError, match="geometric None for the prediction type epsilon"):
        build("epsilon", geometric=GeometricLoss())


@pytest.mark.parametrize(("prediction", "weight"), [("sample", -1.0), ("epsilon", 1.0)])
def test_a_bad_velocity_weight_is_refused(prediction: str, weight: float) -> None:
    with pytest.raises(InputError, match=f"velocity_weight is at least 0.*but is {weight} with {prediction}"):
        build(prediction, velocity_weight=weight)


@pytest.mark.parametrize(("prediction", "limit"), [("sample", 0.5), ("v_prediction", 5.0), ("epsilon", 2.0)])
def test_a_bad_weight_limit_is_refused(prediction: str, limit: float) -> None:
    with pytest.raises(InputError, match=f"snr_limit is at least 1.*but is {limit} with {prediction}"):
        build(prediction, snr_limit=limit)


def test_memorises_eight_motions() -> None:
    task, batch = build(text_dropout=0.0), one_batch(8)
    optimizer = torch.optim.Adam(task.parameters(), 5e-3)
    for step in range(120):
        optimizer.zero_grad()
        task.losses(replace(batch, seeds=batch.seeds // 2 + step), "val")["loss"].backward()
        optimizer.step()
    made = task.eval().sample(batch.captions, batch.lengths, batch.seeds, guidance_scale=1.0)
    error = (made[:, None] - batch.motion[None]).abs()[:, :, :12].mean((2, 3))  # the shortest has 12 frames
    assert error.diagonal().mean() < 0.5 * error.mean()
    assert (error.argmin(1) == torch.arange(8)).all()  # each caption gives its own motion
