"""MLD and MotionLCM: every output of the original programs, with the weights imported."""

import inspect
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from latent_parts import Original, features_of, imported
from official_parts import Draws, golden, official_folder, read_spec, write_statistics
from torch import Tensor

from realign.checkpoint.official.importing import read_official
from realign.configuration import read_config
from realign.diffusion import VP
from realign.diffusion.sampler import Predict
from realign.nn import OfficialMldDenoiser, SkipTransformerVAE
from realign.nn.official_mld import scale_sinusoid

Write = Callable[[str, str], list[Path]]
Get = Callable[[str, str], Original]
INPUT = re.compile(r"(vae/|den/|)(x|lengths|z|latents|text_cond|text_uncond|timesteps)")
RUN = re.compile(r"(ddim|sample)(\d+)(_no_guidance)?/(.*)")


class Key(NamedTuple):
    """The name of an array: whose it is, and what.

    Attributes:
        peer: Of the file.
        variant: Of the peer; the first one where no other is named.
        start: What the name begins with.
        what: The rest.
    """

    peer: str
    variant: str
    start: str
    what: str


@cache
def keys(peer: str) -> list[Key]:
    """All arrays of a peer."""
    found, variants = [], list(read_spec(peer)["variants"])
    for key in golden(peer).arrays:
        start, _, rest = key.partition("/")
        named = start in variants and bool(rest)
        found.append(Key(peer, start, f"{start}/", rest) if named else Key(peer, variants[0], "", key))
    return found


@pytest.fixture(scope="module")
def original(published: Write, tmp_path_factory: pytest.TempPathFactory) -> Get:
    """original(peer, variant, start): each made once."""
    folder, made = tmp_path_factory.mktemp("latent"), dict[tuple[str, str], Original]()

    def get(peer: str, variant: str, start: str) -> Original:
        if (variant, start) not in made:
            model = imported(peer, variant, published(peer, variant)[0], folder)
            made[variant, start] = Original(golden(peer), start, model)
        return made[variant, start]

    return get


def tokens_first(x: Tensor) -> Tensor:
    """A latent as an original autoencoder has it, (N, B, W), and back."""
    return x.transpose(0, 1)


def scale_of(own: Original) -> float | None:
    """The guidance scale of single calls of a denoiser that takes one."""
    told = own.arrays.keys(own.start, "guidance_embedding_scale")
    return float(told[-1].rpartition("scale")[2]) if told else None


def mean(own: Original, key: Key) -> Tensor:
    return tokens_first(own.model.space.vae.encode(own.input("x"), own.mask)[0])


def std(own: Original, key: Key) -> Tensor:
    return tokens_first((own.model.space.vae.encode(own.input("x"), own.mask)[1] / 2).exp())


def decoded(own: Original, key: Key) -> Tensor:
    """The motion decoded from a stored latent, called z for MLD and latents for MotionLCM."""
    z = tokens_first(own.input("z")) if key.peer == "mld" else own.input("latents")
    return own.model.space.vae.decode(z, own.mask)[:, : own.arrays[key.start + key.what].shape[1]]


def called(own: Original, key: Key) -> Tensor:
    """One call of the denoiser with captions or without."""
    condition, t = re.fullmatch(r"(?:den/)?out_(cond|uncond)_t(\d+)", key.what).groups()  # type: ignore[union-attr]
    captions = own.captions if condition == "cond" else [""] * len(own.captions)
    scale = scale_of(own)
    predict = own.model.predictor(own.model.encode_text(captions), own.tokens, 1.0 if scale is None else scale)
    return predict(own.input("latents"), torch.full((len(captions),), int(t)))


def embedded_scale(own: Original, key: Key) -> Tensor:
    assert isinstance(own.model.denoiser, OfficialMldDenoiser)
    sinusoid = scale_sinusoid(float(key.what.rpartition("scale")[2]), own.model.denoiser.scale_dim or 0)
    return sinusoid.expand(len(own.captions), -1)


def table(own: Original, key: Key) -> Tensor:
    assert isinstance(own.model.path, VP)
    return getattr(own.model.path.scheduler, key.what.partition("/")[2])


SINGLE = {
    r"(vae/)?mu": mean,
    r"(vae/)?std": std,
    r"(vae/)?decoded(_from_z|_first\d+)?": decoded,
    r"(den/)?out_(cond|uncond)_t\d+": called,
    r"guidance_embedding_scale.*": embedded_scale,
    r"sched/(alphas_cumprod|final_alpha_cumprod)": table,
}


@torch.no_grad()
@pytest.mark.parametrize("peer", ["mld", "motionlcm"])
def test_every_network_equals_the_original(original: Get, peer: str) -> None:
    for key in keys(peer):
        if INPUT.fullmatch(key.what) or RUN.fullmatch(key.what):
            continue
        (compute,) = [each for name, each in SINGLE.items() if re.fullmatch(name, key.what)]  # no array is left out
        golden(peer).compare(key.start + key.what, compute(original(peer, key.variant, key.start), key))


def runs(peer: str) -> list[tuple[Key, int, float | None]]:
    """Complete samplings: any of the arrays of each, its steps, and the scale where it is not the model's own."""
    found = {}
    for key in keys(peer):
        if run := RUN.fullmatch(key.what):
            name, steps, unguided, _ = run.groups()
            found[key.start, name, steps, unguided] = (key, int(steps), 1.0 if unguided else None)
    return list(found.values())


class Watched:
    """A prediction that records its inputs."""

    def __init__(self, predict: Predict) -> None:
        self.predict, self.seen, self.asked = predict, list[Tensor](), list[int]()

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.seen.append(x.clone())
        self.asked.append(int(t[0]))
        return self.predict(x, t)


@torch.no_grad()
@pytest.mark.parametrize("peer", ["mld", "motionlcm"])
def test_complete_sampling_equals_the_original(original: Get, peer: str) -> None:
    for key, steps, scale in runs(peer):
        own, arrays, place = original(peer, key.variant, key.start), golden(peer), key.what.rpartition("/")[0]
        place = key.start + place
        shared = place.replace("_no_guidance", "")
        model, sampler = own.model, own.model.sampler(steps=steps)
        scale = scale or model.path.guidance_scale(steps, model.sampling_scheduler) or model.guidance_scale
        shape = (*own.tokens.shape, model.space.width)
        draw = Draws(arrays.number(f"{shared}/noise_seed"), shape)
        predict = Watched(model.predictor(model.encode_text(own.captions), own.tokens, scale))
        x = sampler.sample(predict, shape, own.tokens, draw=draw)
        for array in arrays.keys(f"{place}/"):
            what = array.removeprefix(f"{place}/")
            if what == "latents":
                arrays.compare(array, tokens_first(x) if peer == "mld" else x)
            elif what == "timesteps":
                assert predict.asked == arrays[array].tolist()
            elif what == "noise":
                arrays.compare(array, predict.seen[0])
            elif what == "guidance_scale":
                assert scale == float(arrays[array])
            elif what == "n_draws":
                assert draw.drawn == arrays.number(array)
            elif after := re.fullmatch(r"after_step_(\d+)", what):
                arrays.compare(array, [*predict.seen, x][int(after[1])])
            elif first := re.fullmatch(r"decoded_first(\d+)", what):
                arrays.compare(array, model.space.decode(x, own.mask)[:, : int(first[1])])
            else:
                assert what == "noise_seed", f"{array} is not compared"


BETAS = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule")


@pytest.mark.parametrize("peer", ["mld", "motionlcm"])
def test_a_configuration_trains_rewards_in_the_space_of_every_variant(
    published: Write, tmp_path: Path, peer: str
) -> None:
    for variant in read_spec(peer)["variants"]:
        features = features_of(peer, variant)
        stats = write_statistics(tmp_path / variant, features)
        found = read_official(peer, published(peer, variant)[0], stats=stats).config["init_args"]
        noise = found.get("scheduler") or found["path"]["init_args"]["scheduler"]
        names = ["reward_mld", "reward_mldpp"] if features == 263 else []  # those of KIT-ML build on these
        configs = [read_config(f"imported/{name}")["model"]["init_args"] for name in names]
        fitting = [each for each in configs if autoencoder_of(each["space"]) == autoencoder_of(found["space"])]
        assert len(fitting) == bool(names)
        for each in fitting:
            assert all(each["scheduler"]["init_args"][name] == noise["init_args"][name] for name in BETAS)


def autoencoder_of(space: dict[str, Any]) -> dict[str, Any]:
    """All options of a space's autoencoder."""
    bound = inspect.signature(SkipTransformerVAE).bind(**space["init_args"]["vae"]["init_args"])
    bound.apply_defaults()
    return bound.arguments


def test_every_kind_of_sampling_was_compared() -> None:
    official_folder()
    assert runs("mld") and runs("motionlcm")
