"""Published MotionDiffuse: every stored output of the original program, and bad files."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from official_parts import Draws, Golden, golden, read_spec, write_statistics
from torch import Tensor, nn

from realign.batch import TextFeatures
from realign.checkpoint import load_model
from realign.checkpoint.official.importing import build, read_official
from realign.cli import main
from realign.diffusion.ancestral import AncestralSolver
from realign.errors import InputError
from realign.masking import lengths_to_mask
from realign.nn import Diffusion

CHAIN = re.compile(r"chain_(top|last)(\d+)|p_sample_step(\d+)_t(\d+)")


def parts() -> dict[str, Golden]:
    """The arrays of each variant that any are stored of; those of another than the first stand under its name."""
    whole = golden("motiondiffuse")
    first, *others = read_spec("motiondiffuse")["variants"]
    named = {name: whole.under(name) for name in others if whole.keys(f"{name}/")}
    return {first: whole.without(others), **named}


@pytest.fixture(scope="module")
def load(published, tmp_path_factory):
    kept: dict[str, Diffusion] = {}

    def make(name: str) -> Diffusion:
        if name not in kept:
            (path,) = published("motiondiffuse", name)
            features = next(row["shape"][0] for row in file_of(name) if row["key"] == "out.weight")
            meta = write_statistics(tmp_path_factory.mktemp("meta"), features, ("mean.npy", "std.npy"))
            kept[name] = build(read_official("motiondiffuse", path, meta=meta))
        return kept[name]

    return make


def file_of(name: str) -> list[dict[str, Any]]:
    return read_spec("motiondiffuse")["variants"][name]["files"][0]["tensors"]


def text_of(reference: Golden) -> TextFeatures:
    tokens = reference["clip_tokens"]
    end = tokens[torch.arange(len(tokens)), reference["eot_index"]]
    return TextFeatures(tokens, torch.ones(tokens.shape[:2]).bool(), end)


def test_text_and_every_call_equal_the_original(load) -> None:
    for name, reference in parts().items():
        check_calls(reference, load(name))


@torch.no_grad()
def check_calls(reference: Golden, generator: Diffusion) -> None:
    text, x, lengths = text_of(reference), reference["x"], reference["lengths"]
    caption, words = generator.denoiser.read_text(text)
    for key, found in (("text/xf_proj", caption), ("text/xf_out", words)):
        if key in reference:
            reference.compare(key, found)
    for key in reference.keys("out_"):
        t, first = (re.search(pattern, key) for pattern in (r"_t(\d+)", r"_first(\d+)"))
        rows = x.shape[1] if first is None else int(first[1])
        seen, frames = text, lengths
        if "no_padding" in key:
            frames = torch.full_like(lengths, x.shape[1])  # every frame counts as one of the motion
        if "swapped" in key:
            seen = text[list(range(len(x)))[::-1]]
        mask = lengths_to_mask(frames, x.shape[1])
        out = generator.denoiser(x, torch.full((len(x),), int(t[1])), mask, seen)
        reference.compare(key, out[:, :rows])


def test_chains_of_steps_equal_the_original(load) -> None:
    for name, reference in parts().items():
        check_chains(reference, load(name))


@torch.no_grad()
def check_chains(reference: Golden, generator: Diffusion) -> None:
    text, solver = text_of(reference), generator.sampler().solver()
    groups = sorted({key.partition("/")[0] for key in reference.keys(part="/noise_seed")})
    for group in groups:
        end, count, _, single = CHAIN.fullmatch(group).groups()
        wanted = "sample" if single else "out"
        shape = reference[f"{group}/{wanted}"].shape
        lengths = reference[f"{group}/lengths"] if f"{group}/lengths" in reference else chain_lengths(reference)
        steps = len(solver.evaluations)
        first = steps - 1 - int(single) if single else 0 if end == "top" else steps - int(count)
        draws = Draws(reference.number(f"{group}/noise_seed"), shape)
        x, predict = draws(), generator.predictor(text[: shape[0]], lengths_to_mask(lengths, shape[1]))
        for index in range(first, first + (1 if single else int(count))):
            t = torch.full(shape[:1], solver.evaluations[index].t)
            x = solver.step(index, predict(x, t), x, draws)
        reference.compare(f"{group}/{wanted}", x)
        at_the_end = first + (1 if single else int(count)) == steps
        assert draws.drawn == reference.number(f"{group}/n_draws") - at_the_end  # the original also draws noise there


def chain_lengths(reference: Golden) -> Tensor:
    """Lengths of single steps: those of the chains."""
    return reference[reference.keys("chain_", "/lengths")[0]]


def test_the_schedule_equals_the_original(load) -> None:
    name, reference = next(iter(parts().items()))
    generator = load(name)
    solver = generator.sampler().solver()
    assert isinstance(solver, AncestralSolver)
    moments = solver.moments[::-1]
    variances = torch.tensor([moments[1][2], *(each[2] for each in moments[1:])], dtype=torch.float64)
    found = {"betas": generator.path.scheduler.betas.double(), "posterior_log_variance_clipped": variances.log()}
    for key in reference.keys("sched/"):
        reference.compare(key, found[key.rpartition("/")[2].rpartition("_")[0]])


def test_every_stored_array_is_compared() -> None:
    inputs = ("x", "lengths", "clip_tokens", "eot_index", "timesteps", "text/xf_proj", "text/xf_out")
    for key in [key for reference in parts().values() for key in reference.arrays]:
        group, _, name = key.rpartition("/")
        chain = CHAIN.fullmatch(group) and name in ("noise_seed", "lengths", "n_draws", "out", "sample")
        assert key in inputs or key.startswith(("out_", "sched/")) or chain, key


def tiny(features: int = 263, embedding: int = 24) -> dict[str, Tensor]:
    """A small network under the published names, with a part of CLIP."""
    torch.manual_seed(0)

    def branch(name: str, memory: int | None) -> dict[str, nn.Module]:
        source = memory or 16
        return {
            f"{name}.norm": nn.LayerNorm(16),
            **({f"{name}.text_norm": nn.LayerNorm(memory)} if memory else {}),
            f"{name}.query": nn.Linear(16, 16),
            f"{name}.key": nn.Linear(source, 16),
            f"{name}.value": nn.Linear(source, 16),
            **style(name),
        }

    def style(name: str) -> dict[str, nn.Module]:
        return {
            f"{name}.proj_out.emb_layers.1": nn.Linear(embedding, 32),
            f"{name}.proj_out.norm": nn.LayerNorm(16),
            f"{name}.proj_out.out_layers.2": nn.Linear(16, 16),
        }

    parts: dict[str, nn.Module] = {
        "text_pre_proj": nn.Linear(512, 8),
        "textTransEncoder.layers.0": nn.TransformerEncoderLayer(8, 4, 12),
        "text_ln": nn.LayerNorm(8),
        "text_proj.0": nn.Linear(8, embedding),
        "joint_embed": nn.Linear(features, 16),
        "time_embed.0": nn.Linear(16, embedding),
        "time_embed.2": nn.Linear(embedding, embedding),
        "out": nn.Linear(16, features),
    }
    for number in range(2):
        block = {**branch("sa_block", None), **branch("ca_block", 8), **style("ffn")}
        block |= {"ffn.linear1": nn.Linear(16, 20), "ffn.linear2": nn.Linear(20, 16)}
        parts |= {f"temporal_decoder_blocks.{number}.{name}": module for name, module in block.items()}
    state = {
        "sequence_embedding": torch.randn(196, 16),
        "clip.visual.proj": torch.ones(2),
        "clip.logit": torch.ones(()),
    }
    for name, module in parts.items():
        state |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
    return state


OPTIONS = {"dataset_name": "t2m", "diffusion_steps": "5", "no_clip": "False", "no_eff": "False", "name": "x: y"}


def write_tiny(folder: Path, content: Any = None, **options: str) -> Path:
    """A folder as published; the path of its model."""
    (folder / "model").mkdir(parents=True)
    write_statistics(folder / "meta", 263, ("mean.npy", "std.npy"))
    lines = [f"{name}: {value}" for name, value in {**OPTIONS, **options}.items()]
    (folder / "opt.txt").write_text("\n".join(["------------ Options -------------", *lines, "-------------- End"]))
    optimiser = {"state": {0: {"step": 3}}, "param_groups": [{"lr": 2e-4}]}
    found = {"encoder": tiny(), "opt_encoder": optimiser, "ep": 1, "total_it": 2} if content is None else content
    torch.save(found, folder / "model/latest.tar", _use_new_zipfile_serialization=False)
    return folder / "model/latest.tar"


def test_an_imported_folder_generates_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "motiondiffuse"
    assert main(["import", "motiondiffuse", str(write_tiny(tmp_path / "t2m")), "-o", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: MotionDiffuse generator of humanml3d, 5 steps\n"
    generator = load_model(folder, Diffusion)
    assert (
        generator.text_encoder.fingerprint == "open_clip/ViT-B-32-quickgelu/openai/hidden"
        and generator.guidance_scale == 1
    )
    config = yaml.safe_load((folder / "config.yaml").read_text())
    light = {"class_path": "realign.text.HashingEncoder", "init_args": {"dim": 512}}  # CLIP's weights are missing
    config["init_args"]["text_encoder"]["init_args"]["encoder"] = light
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    words = ["generate", "a person walks", "--seconds", "2", "--checkpoint", str(folder), "--device", "cpu"]
    assert main([*words, "-o", str(tmp_path / "motion.npy")]) == 0
    generator = load_model(folder, Diffusion)
    lengths, seeds = torch.tensor([40, 60]), torch.tensor([3, 4])
    together = generator.sample(["a walk", "a very long jump"], lengths, seeds)
    alone = generator.sample(["a walk"], lengths[:1], seeds[:1])
    torch.testing.assert_close(together[0, :40], alone[0], atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="200 frames exceed the 196"):
        generator.sample(["a walk"], torch.tensor([200]), seeds[:1])


def without(name: str) -> dict[str, Any]:
    return {"encoder": {key: value for key, value in tiny().items() if key != name}}


WRONG = {
    "a weight missing": (without("text_ln.bias"), {}, "it lacks text_ln.bias"),
    "a weight more": ({"encoder": tiny() | {"what": torch.ones(1)}}, {}, "it holds what too many"),
    "another shape": ({"encoder": tiny() | {"text_ln.bias": torch.ones(3)}}, {}, "text_ln.bias has another shape"),
    "another program": ({"input_process.poseEmbedding.weight": torch.ones(2, 2)}, {}, "import this one as mdm"),
    "no weights": ({"encoder": 3, "ep": 1}, {}, "holds no weights under encoder"),
    "another data set": (None, {"dataset_name": "kit"}, "makes motions of humanml3d, but its opt.txt .* 'kit'"),
    "another network": (None, {"no_eff": "True"}, "no_eff=True, a network that was not published"),
    "no steps": (None, {"diffusion_steps": "many"}, "diffusion_steps='many'"),
    "KIT-ML features": ({"encoder": tiny(251)}, {"dataset_name": "kit"}, r"mean.npy has shape \(263,\), but 251"),
}


@pytest.mark.parametrize("name", WRONG)
def test_faults_are_reported_in_one_sentence(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    content, options, message = WRONG[name]
    path = write_tiny(tmp_path / "t2m", content, **options)
    assert main(["import", "motiondiffuse", str(path), "-o", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert re.search(message, told) and len(told.splitlines()) == 1 and not (tmp_path / "out").exists(), told


def test_options_and_statistics_are_read_beside_the_model_or_from_given_paths(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "t2m")
    (tmp_path / "t2m/opt.txt").unlink()
    assert "1000 steps" in read_official("motiondiffuse", path).summary  # the original's default
    with pytest.raises(InputError, match="There is no .*other.txt"):
        read_official("motiondiffuse", path, opt=tmp_path / "other.txt")
    (tmp_path / "t2m/meta").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="the generator's own mean and deviation.*by --meta"):
        read_official("motiondiffuse", path)
    read_official("motiondiffuse", path, meta=tmp_path / "elsewhere")
