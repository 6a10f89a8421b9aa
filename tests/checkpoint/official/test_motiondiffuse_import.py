"""Published MotionDiffuse: every stored output of the original program, and bad files."""

import re

import pytest
import torch
from official_parts import Draws, Golden, golden, read_spec, write_statistics
from torch import Tensor

from realign.batch import TextFeatures
from realign.checkpoint.official.importing import build, read_official
from realign.diffusion.ancestral import AncestralSolver
from realign.masking import lengths_to_mask
from realign.nn import Diffusion

CHAIN = re.compile(r"chain_(top|last)(\d+)|p_sample_step(\d+)_t(\d+)")


@pytest.fixture(scope="module")
def reference() -> Golden:
    return golden("motiondiffuse")


@pytest.fixture(scope="module")
def generator(published, tmp_path_factory) -> Diffusion:
    name = next(iter(read_spec("motiondiffuse")["variants"]))
    meta = write_statistics(tmp_path_factory.mktemp("meta"), 263, ("mean.npy", "std.npy"))
    return build(read_official("motiondiffuse", published("motiondiffuse", name)[0], meta=meta))


def text_of(reference: Golden) -> TextFeatures:
    tokens = reference["clip_tokens"]
    end = tokens[torch.arange(len(tokens)), reference["eot_index"]]
    return TextFeatures(tokens, torch.ones(tokens.shape[:2]).bool(), end)


@torch.no_grad()
def test_text_and_every_call_are_the_original_s(reference: Golden, generator: Diffusion) -> None:
    text, x, lengths = text_of(reference), reference["x"], reference["lengths"]
    caption, words = generator.denoiser.read_text(text)
    reference.compare("text/xf_proj", caption)
    reference.compare("text/xf_out", words)
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


@torch.no_grad()
def test_chains_of_steps_are_the_original_s(reference: Golden, generator: Diffusion) -> None:
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
        x, mask = draws(), lengths_to_mask(lengths, shape[1])
        for index in range(first, first + (1 if single else int(count))):
            t = torch.full(shape[:1], solver.evaluations[index].t)
            x = solver.step(index, generator.denoiser(x, t, mask, text[: shape[0]]), x, draws)
        reference.compare(f"{group}/{wanted}", x)
        at_the_end = first + (1 if single else int(count)) == steps
        assert draws.drawn == reference.number(f"{group}/n_draws") - at_the_end  # the original draws there, too


def chain_lengths(reference: Golden) -> Tensor:
    """Lengths of single steps: those of the chains."""
    return reference[reference.keys("chain_", "/lengths")[0]]


def test_the_schedule_is_the_original_s(reference: Golden, generator: Diffusion) -> None:
    solver = generator.sampler().solver()
    assert isinstance(solver, AncestralSolver)
    moments = solver.moments[::-1]
    variances = torch.tensor([moments[1][2], *(each[2] for each in moments[1:])], dtype=torch.float64)
    found = {"betas": generator.path.scheduler.betas.double(), "posterior_log_variance_clipped": variances.log()}
    for key in reference.keys("sched/"):
        reference.compare(key, found[key.rpartition("/")[2].rpartition("_")[0]])


def test_nothing_stored_is_left_out(reference: Golden) -> None:
    inputs = ("x", "lengths", "clip_tokens", "eot_index", "timesteps", "text/xf_proj", "text/xf_out")
    for key in reference.arrays:
        group, _, name = key.rpartition("/")
        chain = CHAIN.fullmatch(group) and name in ("noise_seed", "lengths", "n_draws", "out", "sample")
        assert key in inputs or key.startswith(("out_", "sched/")) or chain, key
