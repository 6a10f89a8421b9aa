"""The reward of ReAlign and EasyTune: imported weights, outputs against the original, and faults."""

import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from official_parts import golden, write_statistics
from reward_parts import imported, motion_of, same, text_of, variant_of
from torch.nn.functional import cosine_similarity

from realign.checkpoint.official.spm import MODES, choose_mode
from realign.cli import main
from realign.diffusion import CLEAN_STEP
from realign.errors import InputError
from realign.nn import SPM, Embedder

Write = Callable[[str, str], list[Path]]
Reward = Callable[..., Embedder]
OUTPUT = re.compile(r"(.*/|)(motion|text)_(mu|std)_(no_time|mixed_t|t\d+)")
REWARD = re.compile(r"(.*/|)reward_mean_(M[01]T[01])_t(\d+)")
DECODED = re.compile(r"(.*/|)decoded(?:_first(\d+))?")
COSINE = re.compile(r"(.*/|)cosine_of_mu_no_time")
INPUT = re.compile(
    r"(.*/|)(motion|lengths|tokens|token_lengths|timesteps|mixed_timesteps|z|eps_text|eps_motion|latents_in|timestep|"
    r"lambda_t2m|text_cond|text_uncond|noise_seed|n_draws)"
)
GUIDED = re.compile(r"(.*/|)(guidance|sampling)/.*")


@pytest.fixture(scope="module")
def reward(published: Write, tmp_path_factory: pytest.TempPathFactory) -> Reward:
    """reward(prefix): the imported reward of a variant, in the mode that its file's name says; each once."""
    folder, made = tmp_path_factory.mktemp("spm"), dict[str, Embedder]()

    def get(prefix: str = "") -> Embedder:
        if prefix not in made:
            variant = variant_of("spm", prefix)
            made[prefix] = imported("spm", variant, published("spm", variant)[0], folder)
        return made[prefix]

    return get


def in_mode(reward: Embedder, mode: str) -> SPM:
    """The same weights in another mode."""
    model = copy.copy(reward.model)
    assert isinstance(model, SPM)
    model.motion_time, model.timed_captions = mode[1] == "1", mode[3] == "1"
    return model


def matches(pattern: re.Pattern[str]) -> list[re.Match[str]]:
    """The arrays of a kind that belong to the reward itself."""
    return [
        found for key in list(golden("spm").keys()) if not GUIDED.fullmatch(key) and (found := pattern.fullmatch(key))
    ]


def test_every_array_is_an_input_or_is_compared_here() -> None:
    known = (OUTPUT, REWARD, DECODED, COSINE, INPUT, GUIDED)
    assert not [key for key in list(golden("spm").keys()) if not any(each.fullmatch(key) for each in known)]


@torch.no_grad()
def test_gaussians_at_every_timestep_equal_the_original(reward: Reward) -> None:
    arrays = golden("spm")
    for key, start, kind, part, when in ((each[0], *each.groups()) for each in matches(OUTPUT)):
        model, (motion, mask) = in_mode(reward(start), "M1T1"), motion_of(arrays, start)
        steps = {"no_time": same(CLEAN_STEP, motion), "mixed_t": None}
        t = steps.get(when, None if when in steps else same(int(when[1:]), motion) if when[1:].isdigit() else None)
        t = arrays[f"{start}mixed_timesteps"] if t is None else t
        found = (
            model.encode_motion(motion, t, mask) if kind == "motion" else model.encode_text(text_of(arrays, start), t)
        )
        assert found.logvar is not None
        arrays.compare(key, (found.mean if part == "mu" else (0.5 * found.logvar).exp())[None])


@torch.no_grad()
def test_a_mode_without_the_timestep_ignores_it(reward: Reward) -> None:
    arrays = golden("spm")
    (motion, mask), blind = motion_of(arrays), in_mode(reward(), "M0T0")
    arrays.compare("motion_mu_no_time", blind.encode_motion(motion, same(201, motion), mask).mean[None])
    arrays.compare("text_mu_no_time", blind.encode_text(text_of(arrays), same(201, motion)).mean[None])


@torch.no_grad()
def test_decoded_motions_equal_the_original(reward: Reward) -> None:
    arrays = golden("spm")
    for each in matches(DECODED):
        start, frames = each.groups()
        decoded = reward(start).model.decode(arrays[f"{start}z"][0], motion_of(arrays, start)[1])
        arrays.compare(each[0], decoded[:, : None if frames is None else int(frames)])


@torch.no_grad()
def test_rewards_and_cosines_equal_the_original(reward: Reward) -> None:
    arrays = golden("spm")
    for each in matches(REWARD):
        start, mode, step = each.groups()
        model, (motion, mask) = in_mode(reward(start), mode), motion_of(arrays, start)
        t = same(int(step), motion)
        caption = model.encode_text(text_of(arrays, start), t).draw(arrays[f"{start}eps_text"][0])
        made = model.encode_motion(motion, t, mask).draw(arrays[f"{start}eps_motion"][0])
        arrays.compare(each[0], cosine_similarity(caption, made).mean())
    for each in matches(COSINE):
        model, (motion, mask) = reward(each[1]).model, motion_of(arrays, each[1])
        found = model(motion, same(CLEAN_STEP, motion), mask, text_of(arrays, each[1]))
        arrays.compare(each[0], found)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("SPM_H3D_Thr50.0_Temp1000_SAM1T0_E100.pth", "M1T0"),
        ("TFS_Pured_T1000_M0T0_E200.pth", "M0T0"),
        ("TFS_KIT_Pured_T1000_M1T0_E47.pth", "M1T0"),
        ("FT-[TFS_Pured_T1000_M0T0_E200]-_Mixed_T1000_M1T0_E14_1e-2.pth", "M1T0"),
        ("FT-[TFS_Pured_T1000_M0T1_E200].pth", "M0T1"),
    ],
)
def test_the_mode_is_read_from_the_file_name(name: str, mode: str) -> None:
    assert choose_mode(Path(name)) == mode and choose_mode(Path(name), "M0T0") == "M0T0"
    more = [each for each in MODES if each[1] > mode[1] or each[3] > mode[3]]
    for each in more:
        with pytest.raises(InputError, match=f"says {mode}, so a timestep of the mode {each} was not trained"):
            choose_mode(Path(name), each)
    with pytest.raises(InputError, match="There is no mode 'M2T0' of a reward; choose one of M0T0"):
        choose_mode(Path(name), "M2T0")


def test_a_file_name_without_a_mode_needs_the_option() -> None:
    for name, told in (("evaluator.pth", "no mode"), ("M1T0_or_M0T0.pth", "M1T0 and M0T0")):
        with pytest.raises(InputError, match=f"has {told}, .* by --mode"):
            choose_mode(Path(name))
        assert choose_mode(Path(name), "M1T1") == "M1T1"


def test_the_command_writes_a_folder_that_loads_as_a_reward(
    published: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = published("spm", variant_of("spm"))
    stats = write_statistics(tmp_path / "stats", 263)
    assert main(["import", "spm", str(file), "--stats", str(stats), "-o", str(tmp_path / "out")]) == 0
    assert "reward of humanml3d, mode M1T0" in capsys.readouterr().out
    text = (tmp_path / "out" / "config.yaml").read_text()
    assert "sentence-transformers/sentence-t5-large" in text and "pooling: mean" in text and str(tmp_path) not in text
