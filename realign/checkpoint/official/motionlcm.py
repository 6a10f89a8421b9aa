"""MotionLCM in both versions (Dai et al. 2024), and its authors' MLD and MLD++, from which it was distilled."""

from pathlib import Path
from typing import Any

from realign.checkpoint.official.imported import Imported
from realign.checkpoint.official.latent_diffusion import NOISE, UNUSED, read_latent
from realign.checkpoint.official.published import Published

TEXT = "sentence-transformers/sentence-t5-large"
MLD: dict[str, Any] = {"scheduler": NOISE, "steps": 50, "guidance_scale": 7.5}
FIRST = {"original_steps": 50, "timesteps": [[999], [999, 499], [999, 759, 499, 259]]}
SECOND = {
    "original_steps": 10,
    "timesteps": [[799], [699, 299], [699, 399, 299, 299]],
    "scales": [8.0, 12.5, 13.5],
}


def read(file: Path, *, stats: Path | None = None, text_encoder: str | None = None) -> Imported:
    """The generator with the statistics of its data set, or the autoencoder if the file holds nothing else.

    Args:
        file: The published file.
        stats: Folder of Mean.npy and Std.npy of the data set.
        text_encoder: Folder or hub name of sentence-t5-large; the published one when None.

    Raises:
        InputError: A file is missing, damaged or of another kind.
    """
    published = Published.read("motionlcm", file, ("state_dict",))
    if UNUSED in published.state:
        raise published.misfit([], [UNUSED], [])  # a file of MLD's authors, whose model has another text encoder
    second = "vae.latent_pre.weight" in published.state
    distilled = "denoiser.time_embedding.cond_proj.weight" in published.state
    encoder = {"class_path": "realign.text.HuggingFaceEncoder", "init_args": {"name_or_path": text_encoder or TEXT}}
    noise = consistency(second) if distilled else MLD
    return read_latent(published, stats, encoder, noise, text_relu=not second)


def consistency(second: bool) -> dict[str, Any]:
    """Options of a generator that was distilled to few steps; the default is one step, as in the published programs.

    Args:
        second: Whether it is the second version.
    """
    noise = {"scheduler": NOISE, "lcm": SECOND if second else FIRST}
    return {
        "path": {"class_path": "realign.diffusion.VP", "init_args": noise},
        "sampling_scheduler": "lcm",
        "steps": 1,
        "guidance_scale": 8.0 if second else 7.5,
    }
