import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from task_parts import CHANNELS, CONV_VAE, TinyData, command, one_batch, reward
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from two_parts import free_port, run_two

from realign.batch import MotionTextBatch
from realign.callbacks import draw_recall, read_curve
from realign.data.procedural import procedural_clip
from realign.diffusion import CLEAN_STEP, FlowMatching
from realign.errors import InputError
from realign.guidance.match import check_match
from realign.motion.features import joints_to_features
from realign.nn import ConvVAE, Embedder, FeatureSpace, LatentSpace, MdmDenoiser, MotionSpace, TransformerReward
from realign.tasks import GeneratorTask, RewardTask, load_task, save_pretrained
from realign.tasks.recall import BINS
from realign.text.hashing import HashingEncoder
from realign.training import TrainingCLI

LEVELS = {"clean", *BINS}


def scheduler(kind: type = DDPMScheduler, **options: object) -> DDPMScheduler:
    return kind(**{"num_train_timesteps": 100, "beta_end": 0.15, "clip_sample": False, **options})


def build(space: MotionSpace | None = None, model: dict | None = None, **options: object) -> RewardTask:
    torch.manual_seed(0)
    space = space or FeatureSpace()
    sizes = {"embedding": 16, "hidden": 16, "layers": 3, "heads": 2, "feedforward": 32, "decoder_layers": 1}
    network = TransformerReward(space.width, 8, **{**sizes, "dropout": 0.0, "patch": 4, **(model or {})})  # type: ignore[arg-type]
    parts = {"scheduler": scheduler(), "text_encoder": HashingEncoder(8), "skeleton": "humanml3d", **options}
    task = RewardTask(network, space, **parts)  # type: ignore[arg-type]
    task.normalizer.fit(*TinyData().statistics)
    return task


def generator(space: MotionSpace | None = None, dim: int = 8, scale: float = 0.2, **options: object) -> GeneratorTask:
    space = space or FeatureSpace()
    noise = {"prediction_type": "sample", **options}
    task = GeneratorTask(
        MdmDenoiser(space.width, dim, 16, 1, 2, 16), space, HashingEncoder(dim), scheduler(DDIMScheduler, **noise),
        skeleton="humanml3d",
    )  # fmt: skip
    task.normalizer.fit(*(value[: space.features] for value in TinyData(scale=scale).statistics))
    return task


def latent_space(seed: int) -> LatentSpace:
    torch.manual_seed(seed)
    space = LatentSpace(ConvVAE(CHANNELS, **{k: v for k, v in CONV_VAE["init_args"].items()}))  # type: ignore[arg-type]
    space.load_vae(space.vae, torch.zeros(4), torch.ones(4))
    return space


def rows(batch: MotionTextBatch, chosen: list[int]) -> MotionTextBatch:
    return replace(
        batch, motion=batch.motion[chosen], lengths=batch.lengths[chosen], seeds=batch.seeds[chosen],
        captions=[batch.captions[i] for i in chosen], ids=[batch.ids[i] for i in chosen],
    )  # fmt: skip


@pytest.mark.parametrize("case", ["feature", "latent", "bf16", "contrast alone", "no step, clean only"])
def test_fit_validate_predict_and_back_from_the_checkpoint(tmp_path: Path, vae_checkpoint: Path, case: str) -> None:
    latent = {"class_path": "LatentSpace", "init_args": {"vae": CONV_VAE, "checkpoint": str(vae_checkpoint)}}
    model = {
        "feature": reward(),
        "latent": reward(space=latent),
        "bf16": reward(),
        "contrast alone": reward(model={"decoder_layers": 0}),
        "no step, clean only": reward(model={"step_aware": False}, clean_probability=1.0),
    }[case]
    recall = {"class_path": "realign.callbacks.RecallByNoise", "init_args": {"folder": str(tmp_path / "recall")}}
    options = {"max_epochs": 2, "callbacks": [recall], "precision": "bf16-mixed" if case == "bf16" else "32-true"}
    cli = TrainingCLI.from_args(["fit", *command(tmp_path, model, **options)], run=True)
    metrics = cli.trainer.callback_metrics
    assert {"train/loss", "val/loss", "val/contrastive"} | {f"val/r1_{level}" for level in LEVELS} <= metrics.keys()
    assert all(value.isfinite() for value in metrics.values())
    assert read_curve(tmp_path / "recall/recall_by_noise.csv").keys() == LEVELS
    assert json.loads((tmp_path / "recall/recall_by_noise.json").read_text())["stage"] == "val"
    embedded = cli.trainer.predict(cli.model, cli.datamodule)[0]
    assert embedded.ids == one_batch().ids and embedded.captions == one_batch().captions
    assert torch.allclose(embedded.motion.norm(dim=-1), torch.ones(4), atol=1e-2)

    loaded = load_task(next(tmp_path.rglob("*.ckpt")), RewardTask)
    assert loaded.fingerprint == cli.model.fingerprint and loaded.skeleton == "humanml3d"
    assert loaded.space.checkpoint is None
    exported = load_task(save_pretrained(loaded, tmp_path / "exported"), RewardTask)
    alone = Embedder.load(next(tmp_path.rglob("*.ckpt")))
    assert exported.fingerprint == loaded.fingerprint == alone.fingerprint and alone.skeleton == "humanml3d"
    batch = one_batch()
    tolerance = 2e-2 if case == "bf16" else 1e-6
    for each in (exported, alone):
        assert torch.allclose(each.embed_motions(batch.motion, batch.lengths), embedded.motion, atol=tolerance)
        assert torch.allclose(each.embed_captions(batch.captions), embedded.text, atol=tolerance)


def test_the_fingerprint_changes_with_weights_statistics_and_encoder() -> None:
    task = build()
    seen = {task.fingerprint, build(text_encoder=HashingEncoder(8)).fingerprint}
    assert len(seen) == 1
    seen.add(build(model={"step_aware": False}).fingerprint)
    task.normalizer.std[3] = 2.0
    seen.add(task.fingerprint)
    with torch.no_grad():
        next(task.model.parameters()).view(-1)[0] += 1e-3
    seen.add(task.fingerprint)
    assert len(seen) == 4


def test_noise_is_drawn_per_sample_and_half_of_them_stay_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    task, seen = build(), []
    encode = TransformerReward.encode_motion
    monkeypatch.setattr(TransformerReward, "encode_motion", lambda self, *a: seen.append(a) or encode(self, *a))
    batch = one_batch(8)
    batch = replace(
        batch, motion=batch.motion.repeat(40, 1, 1), lengths=batch.lengths.repeat(40), captions=batch.captions * 40,
        ids=[str(i) for i in range(320)], seeds=torch.arange(320),
    )  # fmt: skip
    task.losses(batch, "train")
    task.losses(rows(batch, [17, 5]), "train")
    (x_t, t, mask), (few, few_t, _) = seen
    assert torch.equal(few_t, t[[17, 5]]) and torch.allclose(few, x_t[[17, 5], : few.shape[1]])
    clean = t == CLEAN_STEP
    motion = task.clean_tokens(batch)[0]
    assert torch.equal(x_t[clean], motion[clean]) and not x_t[~mask].any()
    assert 0.4 < clean.float().mean() < 0.6
    assert t[~clean].min() < 10 and t[~clean].max() > 90
    rest = (x_t - task.path.scheduler.alphas_cumprod[t.clamp(min=0)].sqrt()[:, None, None] * motion)[~clean]
    late = t[~clean] > 80
    assert 0.95 < float(rest[late][mask[~clean][late]].std()) < 1.05


def test_a_reward_trains_on_the_noise_of_a_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    task, batch, seen = build(scheduler=None, path=FlowMatching(3.0), clean_probability=0.5), one_batch(8), []
    encode = TransformerReward.encode_motion
    monkeypatch.setattr(
        TransformerReward, "encode_motion", lambda self, *a, **k: seen.append(a) or encode(self, *a, **k)
    )
    task.losses(batch, "train")["loss"].backward()
    task.observe(batch, BINS)
    (x_t, t, mask), *levels = seen
    motion, sigma = task.clean_tokens(batch)[0], t.clamp(min=0)[:, None, None] / 1000
    assert t.is_floating_point() and (t == CLEAN_STEP).any() and t.max() > 500
    noise = ((x_t - (1 - sigma) * motion) / sigma)[t > 300][mask[t > 300]]
    assert 0.95 < float(noise.std()) < 1.05
    assert torch.equal(x_t[t == CLEAN_STEP], motion[t == CLEAN_STEP])
    middles = torch.stack([t.mean() for _, t, _ in levels])
    assert (middles.diff() > 0).all() and set(task.recall.compute()) == set(BINS)


def test_pairs_show_every_motion_clean_and_noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple] = []
    encode = TransformerReward.encode_motion
    monkeypatch.setattr(TransformerReward, "encode_motion", lambda self, *a: seen.append(a) or encode(self, *a))
    parts = {"model": {"decoder_layers": 0}}
    both, clean, noisy = (
        build(**parts, **option).losses(one_batch(), "train")["contrastive"].item()
        for option in ({"paired": True}, {"clean_probability": 1.0}, {"clean_probability": 0.0})
    )
    (x_t, t, mask), *single = seen
    for place, (alone, step, kept) in zip((slice(4), slice(4, None)), single, strict=True):
        assert torch.equal(x_t[place], alone) and torch.equal(t[place], step) and torch.equal(mask[place], kept)
    assert both == pytest.approx(clean + noisy, rel=1e-5)


@pytest.mark.parametrize("model", [{}, {"decoder_layers": 0}, {"step_aware": False, "patch": 1}])
def test_every_weight_gets_a_gradient(model: dict) -> None:
    task = build(model=model)
    task.losses(one_batch(), "train")["loss"].backward()
    assert all(each.grad is not None for each in task.parameters() if each.requires_grad)


def test_a_reward_learns_to_distinguish_computed_motions() -> None:
    clips = [procedural_clip(number) for number in range(8)]
    features = [joints_to_features(torch.from_numpy(joints[:41])) for joints, _ in clips]
    batch = MotionTextBatch(
        torch.stack(features).float(), torch.full((8,), 40), [caption for _, caption in clips],
        [str(i) for i in range(8)], torch.arange(8),
    )  # fmt: skip
    task = build(model={"hidden": 32, "embedding": 32}, clean_probability=0.7, similarity_threshold=0.999)
    frames = batch.motion.flatten(0, 1)
    task.normalizer.fit(frames.mean(0), frames.std(0).clamp(min=0.05))
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    task.train()
    first = None
    for step in range(60):
        losses = task.losses(replace(batch, seeds=torch.arange(8) + 8 * step), "train")
        first = first or {name: value.item() for name, value in losses.items()}
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    task.eval()
    with torch.no_grad():
        scores = task.embed_captions(batch.captions) @ task.embed_motions(batch.motion, batch.lengths).T
    assert (scores.argmax(1) == torch.arange(8)).float().mean() >= 0.9
    assert losses["reconstruction"].item() < 0.8 * first["reconstruction"]


def test_a_generator_of_the_same_kind_is_accepted() -> None:
    check_match(build(), generator())
    check_match(build(latent_space(0), {"patch": 1}), generator(latent_space(0)))
    check_match(build(), generator(latent_space(0)), through_decoder=True)
    check_match(build(), generator(dim=12))  # each has its own text encoder
    check_match(build(), generator(beta_end=0.02), point="x0")  # at clean motions


def other_skeleton() -> GeneratorTask:
    task = generator()
    task._skeleton = "kit"
    return task


@pytest.mark.parametrize(
    ("task", "other", "decoded", "reason"),
    [
        (lambda: build(latent_space(0)), generator, False, "guides latents through the decoder"),
        (build, lambda: generator(beta_end=0.02), False, "noise schedule"),
        (build, lambda: generator(scale=0.5), False, "Mean and Std"),
        (build, other_skeleton, False, "skeleton"),
        (build, lambda: generator(FeatureSpace(251)), False, "Decoded motions have 251"),
        (lambda: build(latent_space(0)), lambda: generator(latent_space(1)), False, "different autoencoders"),
        (lambda: build(latent_space(0)), lambda: generator(latent_space(0)), True, "Decoded motions have 263"),
    ],
)
def test_a_generator_that_differs_is_refused_with_the_reason(task, other, decoded, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=reason):
        check_match(task(), other(), decoded)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"clean_probability": 1.5}, "clean_probability"),
        ({"temperature": 0.0}, "temperature"),
        ({"text_encoder": HashingEncoder(9)}, "text_dim is 8, but HashingEncoder gives 9"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        build(**options)


def test_the_picture_shows_several_runs_and_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    curve = {"clean": 0.9, "t05": 0.8, "at30": 0.7, "t95": 0.1}
    lower = {level: value / 2 for level, value in curve.items()}
    path = draw_recall(tmp_path / "picture.png", {"step-aware": [curve, lower], "step-blind": [lower]})
    assert path.read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "other.json").write_text('{"loss": 1}')
    with pytest.raises(InputError, match="other.json"):
        read_curve(tmp_path / "other.json")


def shared_batch() -> MotionTextBatch:
    batch = one_batch(8)
    return replace(batch, captions=[*batch.captions[:6], batch.captions[0], batch.captions[1]])


class Losses(torch.nn.Module):
    """Module for DistributedDataParallel; like Lightning, it redirects `forward` to the training step."""

    def __init__(self, task: RewardTask) -> None:
        super().__init__()
        self.task = task

    def forward(self, batch: MotionTextBatch) -> torch.Tensor:
        return self.task.losses(batch, "train")["loss"]


def one_of_two(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    model = Losses(build(contrastive_weight=1.0))
    parallel = DistributedDataParallel(model)
    parallel(rows(shared_batch(), list(range(rank, 8, 2)))).backward()
    gradients = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    torch.save(gradients, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_compute_the_gradient_of_one_with_the_whole_batch(tmp_path: Path) -> None:
    run_two(one_of_two, free_port(), str(tmp_path))
    model = Losses(build(contrastive_weight=1.0))
    model(shared_batch()).backward()
    expected = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            assert (found[name] - gradient).abs().max() <= 1e-5 * max(1.0, float(gradient.abs().max())), name


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.skipif(not distributed.is_available(), reason="this build of torch has no distributed package")
def test_lightning_on_two_processes_trains_as_on_one(tmp_path: Path) -> None:
    plain = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e-2}}  # Adam would amplify rounding errors
    model = reward(model={"dropout": 0.0}, contrastive_weight=1.0, optimizer=plain)
    weights = []
    for processes, size in ((1, 8), (2, 4)):
        folder = tmp_path / str(processes)
        options = {"devices": processes, "strategy": "ddp_fork" if processes > 1 else "auto", "max_epochs": 3}
        data = {"count": 8, "batch_size": size}  # one step an epoch: Lightning shuffles a plain loader
        TrainingCLI.from_args(["fit", *command(folder, model, data, **options)], run=True)
        weights.append(load_task(next(folder.rglob("*.ckpt")), RewardTask).state_dict())
    start = build().state_dict()
    worst = {name: float((weights[1][name].float() - value.float()).abs().max()) for name, value in weights[0].items()}
    assert max(worst.values()) < 1e-5, worst
    assert any(not torch.equal(start[name], value) for name, value in weights[0].items())


class TellingData(TinyData):
    """Data in which "run" and "walk" name the same motion.

    Args:
        count: Number of clips.
        exclude_same_first_caption: As for `MotionDataModule`.
    """

    def __init__(self, count: int = 4, exclude_same_first_caption: bool = True) -> None:
        super().__init__(count)
        self.exclude_same_first_caption = exclude_same_first_caption

    def plain_captions(self) -> dict[str, str]:
        return {"walk": "walk", "run": "walk"}


@pytest.mark.parametrize("told", [True, False])
def test_captions_of_the_same_motion_are_not_negatives_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    seen: list[torch.Tensor] = []
    contrast = RewardTask.contrast
    monkeypatch.setattr(RewardTask, "contrast", lambda self, *a: seen.append(a[2]) or contrast(self, *a))
    data = {"class_path": "test_reward_task.TellingData", "init_args": {"count": 4, "exclude_same_first_caption": told}}
    model = reward(similarity_threshold=1.0)
    TrainingCLI.from_args(["fit", *command(tmp_path, model, data, num_sanity_val_steps=0)], run=True)
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[0, 1] = expected[1, 0] = told  # walk, run, jump, turn left
    assert torch.equal(seen[0], expected)
