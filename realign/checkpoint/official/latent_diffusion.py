"""Common parts of MLD and MotionLCM: autoencoder, denoiser and noise, with all sizes read from their files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from realign.checkpoint.official.imported import Imported
from realign.checkpoint.official.key_map import KeyMap
from realign.checkpoint.official.published import Published, merge, read_statistics
from realign.checkpoint.official.transformers import skip_keys
from realign.errors import InputError

UNUSED = "denoiser.mem_pos.pe"
"""In every file of MLD and in none of MotionLCM; no program reads it."""
HEADS = 4  # the only size that shapes do not show
IGNORED = (
    *("text_encoder.*", "t2m_textencoder.*", "t2m_moveencoder.*", "t2m_motionencoder.*"),
    *("controlnet.*", "traj_encoder.*", "metrics.*", "losses.*", "*Metric.*", "*Metrics.*", UNUSED),
)
AUTOENCODER = {
    "vae.global_motion_token": "vae.distribution",
    "vae.skel_embedding.*": "vae.in_proj.*",
    "vae.final_layer.*": "vae.out_proj.*",
    "vae.query_pos_encoder.pe": "vae.encoder_positions.table",
    "vae.query_pos_decoder.pe": "vae.decoder_positions.table",
    "vae.latent_pre.*": "vae.to_latent.*",
    "vae.latent_post.*": "vae.from_latent.*",
}
DENOISER = {
    "denoiser.latent_pre.*": "denoiser.in_proj.*",
    "denoiser.latent_post.*": "denoiser.out_proj.*",
    "denoiser.time_embedding.linear_1.*": "denoiser.time_embedding.0.*",
    "denoiser.time_embedding.linear_2.*": "denoiser.time_embedding.2.*",
    "denoiser.time_embedding.cond_proj.*": "denoiser.scale_proj.*",
    "denoiser.emb_proj.1.*": "denoiser.text_proj.*",
    "denoiser.query_pos.pe": "denoiser.positions.table",
}
NOISE = {
    "class_path": "diffusers.DDIMScheduler",
    "init_args": {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": "epsilon",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    },
}
"""Sampling with 50 steps uses timesteps 981, 961 and so on down to 1, and alpha of timestep 0 at the end."""


def read_latent(
    published: Published,
    stats: Path | None,
    text_encoder: Mapping[str, Any],
    noise: Mapping[str, Any],
    text_relu: bool = True,
) -> Imported:
    """The generator of a file, or the autoencoder if the file holds nothing else.

    Args:
        published: The file.
        stats: Folder of Mean.npy and Std.npy of the data set.
        text_encoder: Configuration of its text encoder.
        noise: Options of a `Generator` for training and sampling.
        text_relu: As for `OfficialMldDenoiser`.

    Raises:
        InputError: Weights or statistics are missing, or not those of one kind.
    """
    vae = autoencoder(published)
    options = vae["init_args"]
    skeleton = published.skeleton(options["features"]).name
    alone = not any(name.startswith("denoiser.") for name in published.state)
    keys = key_map(options["layers"], alone)
    state, surplus = _tables(*merge(published, keys))
    if stats is None:
        raise InputError(
            f"{published.path} holds no statistics of its motions; give the folder of the data set's Mean.npy and "
            "Std.npy by --stats."
        )
    what = "the statistics that its motions are normalised by"
    state |= read_statistics(stats, options["features"], what, "give the folder of its data set by --stats")
    if alone:
        return _autoencoder(Imported(published, vae, state, keys, surplus, f"autoencoder of {skeleton}"), skeleton)
    state |= {"space.mean": torch.zeros(options["width"]), "space.std": torch.ones(options["width"])}
    state |= {"space.fitted": torch.tensor(True)}
    network = denoiser(published, options["width"], text_relu)
    parts = {
        "denoiser": network,
        "space": {"class_path": "realign.nn.LatentSpace", "init_args": {"vae": vae}},
        "text_encoder": {"class_path": "realign.text.CachedTextEncoder", "init_args": {"encoder": dict(text_encoder)}},
        **noise,
        "skeleton": skeleton,
    }
    config = {"class_path": "realign.tasks.GeneratorTask", "init_args": parts}
    summary = f"generator of {skeleton}, {options['tokens']} x {options['width']} latents, steps={noise['steps']}"
    return Imported(published, config, state, keys, surplus, summary, network["init_args"]["text_dim"])


def autoencoder(published: Published) -> dict[str, Any]:
    """class_path and init_args of the autoencoder."""
    tokens, hidden = published.shape("vae.global_motion_token")
    projected = "vae.latent_pre.weight" in published.state
    sizes = {
        "features": published.shape("vae.skel_embedding.weight")[1],
        "width": published.shape("vae.latent_pre.weight")[0] if projected else hidden,
        "tokens": tokens // 2,
        "layers": 2 * published.count("vae.encoder.input_blocks.*.linear1.weight") + 1,
        "heads": HEADS,
        "feedforward": published.shape("vae.encoder.middle_block.linear1.weight")[0],
        "learned_positions": True,
        "hidden": hidden if projected else None,
        "positions": published.shape("vae.query_pos_encoder.pe", 3)[0],
    }
    return {"class_path": "realign.nn.SkipTransformerVAE", "init_args": sizes}


def denoiser(published: Published, width: int, text_relu: bool) -> dict[str, Any]:
    """class_path and init_args of the denoiser of latents of a width."""
    hidden, text_dim = published.shape("denoiser.emb_proj.1.weight")
    scale = "denoiser.time_embedding.cond_proj.weight"
    sizes = {
        "width": width,
        "text_dim": text_dim,
        "hidden": hidden,
        "layers": 2 * published.count("denoiser.encoder.input_blocks.*.linear1.weight") + 1,
        "heads": HEADS,
        "feedforward": published.shape("denoiser.encoder.middle_block.linear1.weight")[0],
        "positions": published.shape("denoiser.query_pos.pe", 3)[0],
        "time_dim": published.shape("denoiser.time_embedding.linear_1.weight")[1],
        "text_relu": text_relu,
        "project_latents": width != hidden or "denoiser.latent_pre.weight" in published.state,
        "scale_dim": published.shape(scale)[1] if scale in published.state else None,
    }
    return {"class_path": "realign.nn.OfficialMldDenoiser", "init_args": sizes}


def key_map(layers: int, autoencoder_alone: bool = False) -> KeyMap:
    """The key map of a generator, or of an autoencoder alone."""
    latent = {**AUTOENCODER, **skip_keys("vae.encoder", "vae.encoder", layers=layers)}
    latent |= skip_keys("vae.decoder", "vae.decoder", cross=True, layers=layers)
    if autoencoder_alone:
        return KeyMap(latent, IGNORED)
    within = {published: f"space.{here}" for published, here in latent.items()}
    own = skip_keys("denoiser.encoder", "denoiser.transformer", layers=layers)
    return KeyMap({**within, **DENOISER, **own}, IGNORED)


def _tables(state: dict[str, Tensor], surplus: list[str]) -> tuple[dict[str, Tensor], list[str]]:
    """Remove the published batch axis of size 1 from tables of positions."""
    flat = {
        name: each[:, 0] if name.endswith(".table") and each.dim() == 3 and each.shape[1] == 1 else each
        for name, each in state.items()
    }
    return flat, surplus


def _autoencoder(found: Imported, skeleton: str) -> Imported:
    """The same as a trained autoencoder for spaces, whose latents are not standardised."""
    width = found.config["init_args"]["width"]
    state = {
        **found.state,
        "latent_mean": torch.zeros(width),
        "latent_square": torch.ones(width),
        "latent_batches": torch.tensor(1.0),
    }
    parts = {"vae": found.config, "skeleton": skeleton}
    return found._replace(config={"class_path": "realign.tasks.VAETask", "init_args": parts}, state=state)
