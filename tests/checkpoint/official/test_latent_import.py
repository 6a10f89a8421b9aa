"""Folders of imported MLD and MotionLCM in every command and as the start of a reward's training; and bad files."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from latent_parts import small, write_small
from official_parts import write_statistics
from task_parts import CAPTIONS, one_batch

from realign.checkpoint import load_model, read_saved, rebuild
from realign.checkpoint.official.importing import build, import_official, read_official
from realign.cli import main
from realign.errors import InputError
from realign.guidance import GuidanceConfig, RewardObjective, RewardSteering
from realign.guidance.match import check_match
from realign.nn import Diffusion, FeatureSpace, MotionSpace, TransformerReward
from realign.tasks import GeneratorTask, RewardTask, VAETask, load_task
from realign.text.hashing import HashingEncoder

KINDS = {"mld": "mld", "mld_v1": "motionlcm", "mldpp": "motionlcm", "lcm_v1": "motionlcm", "lcm_v2": "motionlcm"}
PUBLISHED_TEXT = {
    "mld": """class_path: realign.text.OpenClipEncoder
        init_args:
          name: ViT-L-14-quickgelu
          pretrained: openai
""",
    "motionlcm": """class_path: realign.text.HuggingFaceEncoder
        init_args:
          name_or_path: sentence-transformers/sentence-t5-large
""",
}
LIGHT_TEXT = "class_path: realign.text.HashingEncoder\n        init_args: {dim: 8}\n"
SEEDS, LENGTHS = torch.tensor([3, 4]), torch.tensor([30, 24])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of captions are kept in a folder of the test's own."""
    monkeypatch.setenv("REALIGN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """folder(kind): a small model imported by the command, with captions hashed in place of its frozen encoder."""
    root, made = tmp_path_factory.mktemp("imported"), dict[str, Path]()

    def get(kind: str) -> Path:
        if kind not in made:
            file, out = write_small(root / f"{kind}.ckpt", kind), root / kind
            assert main(["import", KINDS[kind], str(file), "--stats", str(root / "stats"), "-o", str(out)]) == 0
            config = (out / "config.yaml").read_text()
            assert PUBLISHED_TEXT[KINDS[kind]] in config
            (out / "config.yaml").write_text(config.replace(PUBLISHED_TEXT[KINDS[kind]], LIGHT_TEXT))
            made[kind] = out
        return made[kind]

    return get


@pytest.mark.parametrize("kind", KINDS)
def test_an_imported_folder_generates_from_the_command_line(
    folder: Callable[[str], Path], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", "a person walks", "--seconds", "1.5", "--checkpoint", str(folder(kind)), "--device", "cpu"]
    few = [["--steps", "1"], ["--steps", "2", "--guidance-scale", "3"], ["--scheduler", "ddim", "--steps", "3"]]
    many = [["--steps", "3"], ["--scheduler", "lcm", "--steps", "2"]]
    for extra in few if kind.startswith("lcm") else many:
        assert main([*words, *extra, "-o", str(tmp_path / "x.npy")]) == 0
    if kind == "lcm_v2":
        assert main([*words, "--steps", "11", "-o", str(tmp_path / "x.npy")]) == 2
        assert "Cannot sample in 11 steps; choose 1 to 10" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_samples_do_not_depend_on_their_batch(folder: Callable[[str], Path], kind: str) -> None:
    generator = load_model(folder(kind), Diffusion)
    steps = 2 if kind.startswith("lcm") else 5
    together = generator.sample(["a walk", "a jump"], LENGTHS, SEEDS, steps=steps)
    alone = generator.sample(["a jump"], LENGTHS[1:], SEEDS[1:], steps=steps)
    assert together.shape == (2, 30, 263) and not together[1, 24:].any() and together.isfinite().all()
    torch.testing.assert_close(together[1:, :24], alone, atol=1e-4, rtol=1e-4)


def test_guidance_scales_follow_the_number_of_steps(folder: Callable[[str], Path]) -> None:
    second, first = (load_model(folder(kind), Diffusion) for kind in ("lcm_v2", "lcm_v1"))

    def sample(model: Diffusion, **options: Any) -> torch.Tensor:
        return model.sample(["a walk"], LENGTHS[:1], SEEDS[:1], **options)

    assert second.steps == first.steps == 1
    for model, steps, scale in ((second, 1, 8.0), (second, 2, 12.5), (second, 4, 13.5), (first, 4, 7.5)):
        assert torch.equal(sample(model, steps=steps), sample(model, steps=steps, guidance_scale=scale))
        assert not torch.equal(sample(model, steps=steps), sample(model, steps=steps, guidance_scale=scale + 1))
    assert torch.equal(sample(second, steps=3), sample(second, steps=3, guidance_scale=8.0))


def reward(space: MotionSpace, **options: int) -> RewardTask:
    """A small reward in a space, with the noise of MLD."""
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
    sizes = {"embedding": 8, "hidden": 16, "layers": 3, "heads": 2, "feedforward": 16, "decoder_layers": 0, **options}
    torch.manual_seed(0)
    model = TransformerReward(space.width, 8, **sizes)
    return RewardTask(model, space, HashingEncoder(8), DDPMScheduler(1000, **betas), skeleton="humanml3d")


@pytest.mark.parametrize("kind", ["mld", "lcm_v2"])
@pytest.mark.parametrize("source", ["generator", "autoencoder"])
def test_a_reward_trained_in_the_imported_space_guides_the_generator(
    folder: Callable[[str], Path], kind: str, source: str, tmp_path: Path
) -> None:
    generator, place = load_task(folder(kind), GeneratorTask), folder(kind)
    if source == "autoencoder":  # in a file of its own
        file, place = write_small(tmp_path / "vae.ckpt", kind, autoencoder=True), tmp_path / "vae"
        import_official(KINDS[kind], file, place, stats=tmp_path / "stats")
        assert isinstance(load_task(place), VAETask)
    fresh = rebuild(read_saved(folder(kind)), torch.nn.Module, GeneratorTask).space
    fresh.checkpoint = str(place)
    task = reward(fresh)
    task.start("fit")
    check_match(task, generator)  # latents, noise and statistics are the same
    loss = task.losses(one_batch(4), "train")["loss"]
    loss.backward()
    assert loss.isfinite() and all(each.grad is None for each in task.space.parameters())
    for point in ("x_t", "x0"):
        guides(generator, task.eval(), point=point)


@pytest.mark.parametrize("kind", ["mld", "lcm_v2"])
def test_a_reward_on_features_guides_it_through_the_decoder(folder: Callable[[str], Path], kind: str) -> None:
    generator, task = load_model(folder(kind), Diffusion), reward(FeatureSpace(), patch=4)
    task.normalizer.load_state_dict(generator.normalizer.state_dict())
    guides(generator, task.eval(), through_decoder=True)


def guides(generator: Diffusion, task: RewardTask, **options: Any) -> None:
    """Guidance changes the samples for every number of steps."""
    config = GuidanceConfig(start=0.0, interval=1, strength=5.0, **options)
    steering = RewardSteering(RewardObjective(task.requires_grad_(False), None, config))
    plain = generator.sample(CAPTIONS[:2], LENGTHS, SEEDS, steps=2)
    guided = steering.sample(generator, CAPTIONS[:2], LENGTHS, SEEDS, steps=2)
    assert guided.isfinite().all() and not torch.allclose(plain, guided)


def without(*names: str, kind: str = "mld") -> dict[str, torch.Tensor]:
    return {name: each for name, each in small(kind).items() if name not in names}


MDM = {"input_process.poseEmbedding.weight": torch.ones(2, 2)}
WRONG: dict[str, tuple[str, Any, str]] = {
    "MotionLCM as MLD": ("mld", small("lcm_v1"), "lacks denoiser.mem_pos.pe; .*import this one as motionlcm, which it"),
    "MLD++ as MLD": ("mld", small("mldpp"), "lacks denoiser.mem_pos.pe; .* or import this one as motionlcm"),
    "MLD as MotionLCM": ("motionlcm", small(), "holds denoiser.mem_pos.pe too many; .* or import this one as mld"),
    "MDM": ("mld", MDM, "it lacks vae.global_motion_token; give the published file, or import this one as mdm"),
    "MDM for MotionLCM": ("motionlcm", MDM, "it lacks vae.global_motion_token; .* or import this one as mdm"),
    "an autoencoder cut": ("mld", without("vae.final_layer.bias"), "it lacks vae.final_layer.bias; give"),
    "a layer of the denoiser cut": (
        "mld", without("denoiser.encoder.output_blocks.0.linear1.bias"),
        "it lacks denoiser.encoder.output_blocks.0.linear1.bias",
    ),
    "a weight more": ("mld", {**small(), "vae.what": torch.ones(1)}, "it holds vae.what too many"),
    "half of the second version": (
        "motionlcm", without("denoiser.latent_pre.weight", kind="mldpp"),
        "it lacks denoiser.latent_pre.weight; give the published file",
    ),
    "the decoder's positions": (
        "mld", {**small(), "vae.query_pos_decoder.pe": torch.zeros(39, 1, 16)},
        "vae.query_pos_decoder.pe has another shape",
    ),
    "a table without its axis": (
        "mld", {**small(), "denoiser.query_pos.pe": torch.zeros(40, 16)}, "denoiser.query_pos.pe has another shape",
    ),
    "other features": ("mld", small(features=100), "makes 100 features per frame, but motions of HumanML3D have 263"),
    "KIT-ML motions": ("mld", small(features=251), r"Mean.npy has shape \(263,\), but 251 finite values are needed"),
    "a number that is none": (
        "motionlcm", {**small("mldpp"), "vae.latent_pre.bias": torch.full((6,), torch.nan)},
        "holds NaN or infinite values in vae.latent_pre.bias",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_faults_are_reported_in_one_sentence(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    kind, state, message = WRONG[name]
    torch.save({"state_dict": state}, tmp_path / "x.ckpt")
    stats = write_statistics(tmp_path / "stats", 263)
    words = ["import", kind, str(tmp_path / "x.ckpt"), "--stats", str(stats), "-o", str(tmp_path / "out")]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert re.search(message, told) and len(told.splitlines()) == 1, told
    assert not (tmp_path / "out").exists()


def test_missing_statistics_are_reported(tmp_path: Path) -> None:
    for kind in KINDS:
        with pytest.raises(InputError, match="holds no statistics of its motions; give .* by --stats"):
            read_official(KINDS[kind], write_small(tmp_path / "x.ckpt", kind))


def test_text_encoders_are_read_from_the_given_path(tmp_path: Path) -> None:
    for kind, option in (("mld", "pretrained"), ("mldpp", "name_or_path")):
        file = write_small(tmp_path / "x.ckpt", kind)
        found = read_official(KINDS[kind], file, stats=tmp_path / "stats", text_encoder="/some/place")
        assert found.config["init_args"]["text_encoder"]["init_args"]["encoder"]["init_args"][option] == "/some/place"
        build(found)
