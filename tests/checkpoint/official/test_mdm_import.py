"""Published MDM: every stored output of the original program, and bad files."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import DDIMScheduler
from official_parts import Draws, Golden, golden, read_spec, write_statistics
from torch import Tensor

from realign.batch import TextFeatures
from realign.checkpoint import load_model
from realign.checkpoint.official.importing import build, read_official
from realign.cli import main
from realign.diffusion.ancestral import AncestralSolver
from realign.errors import InputError
from realign.masking import lengths_to_mask
from realign.nn import Diffusion

SAMPLED = re.compile(r"(respaced_)?(p_sample|ddim)(\d+)(_of_(\d+)|_last(\d+))?")


@pytest.fixture(scope="module")
def reference() -> Golden:
    return golden("mdm")


@pytest.fixture(scope="module")
def load(published, tmp_path_factory):
    """load(variant, **args): the imported generator, its args.json changed so."""
    folder, kept = tmp_path_factory.mktemp("mdm"), {}

    def make(name: str, **changes: Any) -> Diffusion:
        key = f"{name} {changes}"
        if key not in kept:
            variant = read_spec("mdm")["variants"][name]
            (path,) = published("mdm", name)
            args = folder / f"{len(kept)}.json"
            args.write_text(json.dumps({**variant["args"], **changes}))
            features = 251 if variant["args"]["dataset"] == "kit" else 263
            stats = write_statistics(folder / str(features), features)
            kept[key] = build(read_official("mdm", path, args=args, stats=stats))
        return kept[key]

    return make


def variant_of(group: str) -> str:
    """The variant of a group of keys: the first one for ``enc``, else the shortest name that contains it."""
    names = list(read_spec("mdm")["variants"])
    return names[0] if group == "enc" else min((name for name in names if group in name), key=len)


def turned(x: Tensor) -> Tensor:
    """(B, C, 1, F), the original's order, to (B, F, C), and back."""
    return x.squeeze(2).mT if x.dim() == 4 else x.mT[:, :, None]


def text_of(reference: Golden, group: str) -> TextFeatures:
    if f"{group}/text_embed" in reference:
        pooled = reference[f"{group}/text_embed"][0]
        return TextFeatures(pooled[:, None], torch.ones(len(pooled), 1, dtype=torch.bool), pooled)
    tokens, padded = reference[f"{group}/tokens"].transpose(0, 1), reference[f"{group}/pad_mask_true_is_pad"]
    return TextFeatures(tokens, ~padded, tokens[:, 0])


def call_groups() -> list[str]:
    return sorted({key.partition("/")[0] for key in golden("mdm").keys(part="/out_")})


def sampling_groups() -> list[str]:
    return sorted({key.partition("/")[0] for key in golden("mdm").keys(part="/noise_seed")})


def test_every_call_of_the_denoiser_equals_the_original(reference: Golden, load) -> None:
    for group in call_groups():
        generator = load(variant_of(group))
        for key in reference.keys(f"{group}/out_"):
            check_call(reference, generator, group, key)


def check_call(reference: Golden, generator: Diffusion, group: str, key: str) -> None:
    name = key.rpartition("/")[2]
    x, text = turned(reference[f"{group}/x"]), text_of(reference, group)
    t = torch.full((len(x),), reference.number(f"{group}/timestep") if f"{group}/timestep" in reference else 0)
    if found := re.search(r"_t(\d+)", name):
        t = torch.full((len(x),), int(found[1]))
    if "mixed" in name:
        t = reference[f"{group}/mixed_timesteps"]
    masked = "masked" in name
    mask = lengths_to_mask(reference[f"{group}/lengths"], x.shape[1]) if masked else torch.ones(x.shape[:2]).bool()
    with torch.no_grad():
        if found := re.search(r"cfg([\d.]+)", name):
            out = generator.predictor(text, mask, float(found[1]))(x, t)
        else:
            text = generator.encode_text([""])[[0] * len(x)] if "uncond" in name else text
            out = generator.denoiser(x, t, mask, text)
    if found := re.search(r"sample(\d+)", name):
        row = int(found[1])
        out = out[row : row + 1, : int(reference[f"{group}/lengths"][row]) if masked else None]
    if found := re.search(r"first(\d+)", name):
        out = out[:, : int(found[1])]
    out = turned(out)
    reference.compare(key, out if reference[key].dim() == 4 else out[0])


def test_complete_sampling_equals_the_original(reference: Golden, load) -> None:
    for group in sampling_groups():
        check_sampling(reference, load, group)


def check_sampling(reference: Golden, load, group: str) -> None:
    respaced, method, steps, _, of, last = SAMPLED.fullmatch(group).groups()
    generator = load(variant_of("enc"), diffusion_steps=int(of or steps))
    shape = reference[f"{group}/out"].shape
    draws = Draws(reference.number(f"{group}/noise_seed"), shape, turned)
    text, mask = text_of(reference, "enc")[: shape[0]], torch.ones(shape[0], shape[-1]).bool()
    predict = generator.predictor(text, mask)
    scheduler = None
    if method == "ddim":
        options = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample", "clip_sample": False}
        scheduler = DDIMScheduler(generator.path.timesteps, **options)
    sampler = generator.sampler(scheduler, int(steps))
    if f"{group}/timestep_map" in reference:
        visited = [call.t for call in sampler.solver().evaluations]
        assert visited == reference[f"{group}/timestep_map"].flip(0).tolist()
    if last:
        out = the_last(generator, int(last), draws, predict)
    else:
        out = sampler.sample(predict, (*mask.shape, generator.space.width), mask, draw=draws)
    reference.compare(f"{group}/out", turned(out))
    if f"{group}/n_draws" in reference and method == "p_sample":
        assert (
            draws.drawn == reference.number(f"{group}/n_draws") - 1
        )  # the original also draws noise for its last step


@torch.no_grad()
def the_last(generator: Diffusion, last: int, draws: Draws, predict) -> Tensor:
    """Only the last steps, from a motion with the noise of the first of them."""
    solver = generator.sampler().solver()
    noise, motion = draws(), draws()
    first = len(solver.evaluations) - last
    t = torch.full((len(motion),), solver.evaluations[first].t)
    x = generator.path.interpolate(motion, noise, t)
    for index in range(first, len(solver.evaluations)):
        t = torch.full((len(x),), solver.evaluations[index].t)
        x = solver.step(index, predict(x, t), x, draws)
    return x


def test_schedules_equal_the_original(reference: Golden, load) -> None:
    for steps in sorted({int(key.split("/")[1]) for key in reference.keys("sched/")}):
        generator = load(variant_of("enc"), diffusion_steps=steps)
        solver = generator.sampler().solver()
        assert isinstance(solver, AncestralSolver) and [call.t for call in solver.evaluations] == [*range(steps)][::-1]
        abar = [call.level.alpha**2 for call in solver.evaluations][::-1]
        moments = solver.moments[::-1]
        variances = [moments[1][2], *(each[2] for each in moments[1:])]
        found: Mapping[str, Any] = {
            "betas": generator.path.scheduler.betas,
            "alphas_cumprod": abar,
            "posterior_mean_coef1": [each[0] for each in moments],
            "posterior_mean_coef2": [each[1] for each in moments],
            "posterior_log_variance_clipped": torch.tensor(variances, dtype=torch.float64).log(),
        }
        for key in reference.keys(f"sched/{steps}/"):
            reference.compare(key, torch.as_tensor(found[key.rpartition("/")[2]], dtype=torch.float64))


def test_every_stored_array_is_compared(reference: Golden) -> None:
    known = ("x", "text_embed", "tokens", "pad_mask_true_is_pad", "lengths", "timestep", "timesteps", "mixed_timesteps",
             "noise_seed", "n_draws", "timestep_map", "out")  # fmt: skip
    for key in reference.arrays:
        group, _, name = key.partition("/")
        assert group == "sched" or name in known or name.startswith("out_"), key
        assert name != "out" or group in sampling_groups()


def tiny(arch: str = "trans_enc", text_dim: int = 512, features: int = 263) -> dict[str, Tensor]:
    """A small model under the published names, which are those of torch's layers."""
    layer = torch.nn.TransformerDecoderLayer if arch == "trans_dec" else torch.nn.TransformerEncoderLayer
    stack = "seqTransDecoder" if arch == "trans_dec" else "seqTransEncoder"
    torch.manual_seed(0)
    parts = {
        "input_process.poseEmbedding": torch.nn.Linear(features, 16),
        "output_process.poseFinal": torch.nn.Linear(16, features),
        "embed_text": torch.nn.Linear(text_dim, 16),
        "embed_timestep.time_embed.0": torch.nn.Linear(16, 16),
        "embed_timestep.time_embed.2": torch.nn.Linear(16, 16),
        **{f"{stack}.layers.{number}": layer(16, 4, 24) for number in range(2)},
    }
    table = torch.zeros(30, 1, 16)
    state = {"sequence_pos_encoder.pe": table, "embed_timestep.sequence_pos_encoder.pe": table}
    for part, module in parts.items():
        state |= {f"{part}.{name}": each for name, each in module.state_dict().items()}
    return state


def write_tiny(folder: Path, content: Any = None, name: str = "model.pt", **args: Any) -> Path:
    """A folder of model, args.json and statistics; the path of the model."""
    write_statistics(folder, 263)
    (folder / "args.json").write_text(json.dumps({"dataset": "humanml", "diffusion_steps": 5, **args}))
    torch.save(tiny() if content is None else content, folder / name)
    return folder / name


def test_an_imported_folder_generates_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mdm"
    assert main(["import", "mdm", str(write_tiny(tmp_path / "published")), "-o", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: MDM generator of humanml3d, encoder, 5 steps\n"
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "model.safetensors"}
    generator = load_model(folder, Diffusion)
    assert generator.text_encoder.fingerprint == "open_clip/ViT-B-32-quickgelu/openai/22/zero-without-text"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    light = {"class_path": "realign.text.HashingEncoder", "init_args": {"dim": 512}}  # CLIP's weights are missing
    config["init_args"]["text_encoder"]["init_args"]["encoder"]["init_args"]["encoder"] = light
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    out = str(tmp_path / "motion.npy")
    for extra in ([], ["--scheduler", "ddim", "--steps", "2"], ["--guidance-scale", "1"]):
        words = ["generate", "a person walks", "--seconds", "2", "--checkpoint", str(folder), "-o", out, *extra]
        assert main([*words, "--device", "cpu"]) == 0


def test_samples_do_not_depend_on_their_batch_and_are_cut_to_length(tmp_path: Path) -> None:
    generator = build(read_official("mdm", write_tiny(tmp_path)))
    assert isinstance(generator, Diffusion) and generator.space.frames == 196
    lengths, seeds = torch.tensor([40, 196]), torch.tensor([3, 4])
    together = generator.sample(["a walk", "a jump"], lengths, seeds)
    alone = generator.sample(["a walk"], lengths[:1], seeds[:1])
    assert together.shape == (2, 196, 263) and alone.shape == (1, 40, 263) and not together[0, 40:].any()
    torch.testing.assert_close(together[0, :40], alone[0], atol=1e-4, rtol=1e-4)
    longer = generator.sample(["a walk"], torch.tensor([60]), seeds[:1])
    torch.testing.assert_close(longer[0, :40], alone[0], atol=1e-4, rtol=1e-4)  # all of 196 frames were denoised
    with pytest.raises(InputError, match="A motion of 200 frames exceeds the 196"):
        generator.sample(["a walk"], torch.tensor([200]), seeds[:1])


def test_averaged_weights_are_used_if_the_options_say_so(tmp_path: Path) -> None:
    raw = tiny("trans_dec", 768)
    content = {"model": raw, "model_avg": {name: each + 1 for name, each in raw.items()}}
    options = {"arch": "trans_dec", "text_encoder_type": "bert", "mask_frames": True}
    for use, added in ((True, 1), (False, 0)):
        found = read_official("mdm", write_tiny(tmp_path, content, use_ema=use, **options))
        assert torch.equal(found.state["denoiser.out_proj.bias"], raw["output_process.poseFinal.bias"] + added)
        generator = build(found)
        assert isinstance(generator, Diffusion) and generator.space.frames is None  # padded frames are masked
        assert generator.denoiser.conditioning == "tokens"
    flat = read_official("mdm", write_tiny(tmp_path, raw, use_ema=True, **options))  # accepted, too
    assert torch.equal(flat.state["denoiser.out_proj.bias"], raw["output_process.poseFinal.bias"])


def changed(**weights: Tensor | None) -> dict[str, Tensor]:
    """The small model with weights in place of others; None leaves one out."""
    state = tiny() | {name: each for name, each in weights.items() if each is not None}
    return {name: each for name, each in state.items() if name not in weights or weights[name] is not None}


MOTIONDIFFUSE = {"encoder": {"temporal_decoder_blocks.0.sa_block.query.weight": torch.ones(2, 2)}, "ep": 1}
WRONG = {
    "a weight missing": (changed(**{"embed_text.bias": None}), {}, "it lacks embed_text.bias; give the published file"),
    "a weight more": (changed(what=torch.ones(1)), {}, "it holds what too many"),
    "many more": (changed(**dict.fromkeys("abcd", torch.ones(1))), {}, r"4 names \(a, b, c, ...\) too"),
    "another shape": (changed(**{"embed_text.bias": torch.ones(3)}), {}, "embed_text.bias has another shape"),
    "NaN": (changed(**{"embed_text.bias": torch.full((16,), torch.nan)}), {}, "NaN or infinite values in embed"),
    "another program": (MOTIONDIFFUSE, {}, "or import this one as motiondiffuse, which it looks like"),
    "no weights": ({"epoch": 3}, {}, "holds no weights but epoch"),
    "a list": ([1, 2], {}, "holds no weights but nothing"),
    "the other architecture": (tiny("trans_dec"), {}, "lacks seqTransEncoder.layers.0.linear1.weight"),
    "another data set": (tiny(), {"dataset": "kit"}, "makes motions of humanml3d, but its args.json names .* 'kit'"),
    "no data set": (tiny(), {"dataset": "humanact12"}, "'humanact12'"),
    "an action model": (tiny(), {"unconstrained": True}, "only text-to-motion models"),
    "another schedule": (tiny(), {"noise_schedule": "sigmoid"}, "'sigmoid', but only cosine or linear"),
    "no steps": (tiny(), {"diffusion_steps": 0}, "diffusion_steps=0"),
    "an option of another type": (tiny(), {"diffusion_steps": "many"}, "'many', which has no meaning"),
    "a word for a number": (tiny(), {"cond_mask_prob": "some"}, "cond_mask_prob='some', which has no meaning"),
    "KIT-ML features": (tiny(features=251), {"dataset": "kit"}, r"Mean.npy has shape \(263,\), but 251"),
    "other features": (tiny(features=100), {}, "makes 100 features per frame"),
}


@pytest.mark.parametrize("name", WRONG)
def test_faults_are_reported_in_one_sentence(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    content, args, message = WRONG[name]
    path = write_tiny(tmp_path, content, **args)
    with pytest.raises(InputError, match=message):
        build(read_official("mdm", path))
    assert main(["import", "mdm", str(path), "-o", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1 and not (tmp_path / "out").exists()


MISSING = [("args.json", "by --args"), ("Std.npy", "by --stats"), ("model.pt", "no file")]


@pytest.mark.parametrize(("name", "message"), MISSING)
def test_a_missing_file_is_reported(tmp_path: Path, name: str, message: str) -> None:
    path = write_tiny(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"There is .*{name}.*{message}" if name != "model.pt" else message):
        read_official("mdm", path)
