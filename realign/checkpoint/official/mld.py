"""MLD, a latent diffusion model (Chen et al. 2023)."""

from pathlib import Path

from realign.checkpoint.official.imported import Imported
from realign.checkpoint.official.latent_diffusion import NOISE, UNUSED, read_latent
from realign.checkpoint.official.published import Published


def read(file: Path, *, stats: Path | None = None, text_encoder: str | None = None) -> Imported:
    """The generator with the statistics of its data set, or the autoencoder if the file holds nothing else.

    Args:
        file: The published file.
        stats: Folder of Mean.npy and Std.npy of the data set.
        text_encoder: CLIP ViT-L/14, as a file of weights or a folder of transformers; OpenAI's when None.

    Raises:
        InputError: A file is missing, damaged or of another kind.
    """
    published = Published.read("mld", file, ("state_dict",))
    if UNUSED not in published.state and "denoiser.emb_proj.1.weight" in published.state:
        raise published.misfit([UNUSED], [], [])  # a file of MotionLCM, which has another text encoder
    encoder = {
        "class_path": "realign.text.OpenClipEncoder",
        "init_args": {"name": "ViT-L-14-quickgelu", "pretrained": text_encoder or "openai"},
    }
    return read_latent(published, stats, encoder, {"scheduler": NOISE, "steps": 50, "guidance_scale": 7.5})
