"""TMR: both layouts of its files, outputs against the original, and the commands."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from official_parts import golden, official_folder, read_spec
from reward_parts import features, imported, motion_of, same, text_of, variant_of

from realign.checkpoint.official.importing import build, read_official
from realign.cli import main
from realign.errors import InputError
from realign.nn import Embedder

Write = Callable[[str, str], list[Path]]
OUTPUT = re.compile(r"(.*/|)(motion|text)_(mu|logvar)")
SCORE = re.compile(r"(.*/|)score_text_by_motion")
DECODED = re.compile(r"(.*/|)decoded_sample(\d+)_(valid|first\d+)")
INPUT = re.compile(r"(.*/|)(motion|lengths|tokens|token_lengths|z)")


@pytest.fixture(scope="module")
def retriever(published: Write, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Embedder]:
    """retriever(prefix): the imported model of a variant; each once."""
    folder, made = tmp_path_factory.mktemp("tmr"), dict[str, Embedder]()

    def get(prefix: str = "") -> Embedder:
        if prefix not in made:
            variant = variant_of("tmr", prefix)
            made[prefix] = imported("tmr", variant, published("tmr", variant)[0], folder)
        return made[prefix]

    return get


def matches(pattern: re.Pattern[str]) -> list[re.Match[str]]:
    """The arrays of a kind."""
    every = golden("tmr").keys()
    return [found for key in every if (found := pattern.fullmatch(key))]


def test_every_array_is_an_input_or_is_compared_here() -> None:
    every = golden("tmr").keys()
    assert not [key for key in every if not any(each.fullmatch(key) for each in (OUTPUT, SCORE, DECODED, INPUT))]


@torch.no_grad()
def test_gaussians_and_scores_equal_the_original(retriever: Callable[[str], Embedder]) -> None:
    arrays = golden("tmr")
    for each in matches(OUTPUT):
        start, kind, part = each.groups()
        model, (motion, mask) = retriever(start).model, motion_of(arrays, start)
        clean = same(-1, motion)
        found = (
            model.encode_motion(motion, clean, mask) if kind == "motion" else model.encode_text(text_of(arrays, start))
        )
        arrays.compare(each[0], {"mu": found.mean, "logvar": found.logvar}[part])  # type: ignore[arg-type]
    for each in matches(SCORE):
        model, (motion, mask) = retriever(each[1]).model, motion_of(arrays, each[1])
        cosines = model.embed_text(text_of(arrays, each[1])) @ model.embed_motion(motion, same(-1, motion), mask).T
        arrays.compare(each[0], cosines / 2 + 0.5)


@torch.no_grad()
def test_decoded_motions_equal_the_original(retriever: Callable[[str], Embedder]) -> None:
    arrays = golden("tmr")
    for each in matches(DECODED):
        start, row, frames = each.groups()
        _, mask = motion_of(arrays, start)
        decoded = retriever(start).model.decode(arrays[f"{start}z"], mask)[int(row)]  # type: ignore[operator]
        shown = int(mask[int(row)].sum()) if frames == "valid" else int(frames.removeprefix("first"))
        arrays.compare(each[0], decoded[:shown])
        assert not decoded[~mask[int(row)]].any()


@pytest.mark.parametrize("place", ["last_weights", "last_weights/text_encoder.pt", "", "logs/checkpoints/last.ckpt"])
def test_every_layout_holds_the_same_weights(published: Write, tmp_path: Path, place: str) -> None:
    names = list(read_spec("tmr")["variants"])
    split, lightning = (next(name for name in names if name.startswith(kind)) for kind in ("split", "lightning"))
    expected = imported("tmr", split, published("tmr", split)[0].parent, tmp_path).state_dict()
    kind = lightning if place.endswith(".ckpt") else split
    home = tmp_path / ("logs/checkpoints" if kind == lightning else "last_weights")
    home.mkdir(parents=True)
    for path in published("tmr", kind):
        (home / path.name).symlink_to(path)
    found = imported("tmr", kind, tmp_path / place, tmp_path).state_dict()
    assert found.keys() == expected.keys() and all(value.equal(expected[name]) for name, value in found.items())


def test_a_checkpoint_of_lightning_may_hold_more_than_the_three_networks(published: Write, tmp_path: Path) -> None:
    (path,) = published("tmr", "lightning_263")
    content = torch.load(path, weights_only=True)
    content["state_dict"]["t5.encoder.weight"] = torch.ones(2, 2)
    torch.save(content, tmp_path / "last.ckpt")
    imported("tmr", "lightning_263", tmp_path / "last.ckpt", tmp_path)
    del content["state_dict"]["motion_encoder.tokens"]
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="it lacks motion_encoder.tokens; give"):
        imported("tmr", "lightning_263", tmp_path / "last.ckpt", tmp_path)


def test_statistics_of_tmr_are_read_in_their_own_layout(published: Write, tmp_path: Path) -> None:
    import numpy as np

    path = official_folder() / "stats_tmr.npz"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    arrays, file = np.load(path), published("tmr", "split_263")[0].parent
    for data in ("humanml3d", "kitml"):
        folder = tmp_path / data
        folder.mkdir()
        mean, std = (torch.from_numpy(arrays[f"{data}/{name}"]) for name in ("mean", "std"))
        torch.save(mean, folder / "mean.pt")
        torch.save(std, folder / "std.pt")
        model = build(read_official("tmr", file, stats=folder))
        x = torch.randn(1, 5, 263, generator=torch.Generator().manual_seed(0)) * std + mean
        normalised = (x - mean) / (std + 1e-12)
        torch.testing.assert_close(model.normalizer.normalize(x), normalised, atol=1e-5, rtol=1e-5)  # type: ignore[operator, union-attr]


def test_the_command_reports_faults_in_one_sentence(
    published: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(published("tmr", "split_263")[0].parent, tmp_path / "model", symlinks=True)
    stats = tmp_path / "stats"
    stats.mkdir()

    def told(file: Path, *options: str) -> str:
        assert main(["import", "tmr", str(file), *options, "-o", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1 and not (tmp_path / "out").exists()
        return error

    assert "those of TMR are its own" in told(folder)
    assert "There are no weights of TMR at" in told(tmp_path, "--stats", str(stats))
    assert "does not take --mode" in told(folder, "--mode", "M1T0")
    assert "There is no Mean.npy or mean.npy" in told(folder, "--stats", str(stats))
    torch.save(torch.ones(251), tmp_path / "mean.pt")
    assert "has shape (251,), but 263 finite values are needed" in told(folder, "--stats", str(tmp_path))
    (folder / "motion_decoder.pt").unlink()
    assert "There is no file" in told(folder, "--stats", str(stats))
    assert features("tmr", "split_251", "projection.weight") == 251
