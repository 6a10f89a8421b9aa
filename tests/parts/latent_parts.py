"""Imported latent generators with the inputs of their original programs."""

from pathlib import Path

import torch
from official_parts import Golden, read_spec, write_statistics
from torch import Tensor

from realign.batch import TextFeatures
from realign.checkpoint.official.importing import build, read_official
from realign.checkpoint.official.key_map import KeyMap
from realign.checkpoint.official.latent_diffusion import AUTOENCODER, DENOISER
from realign.checkpoint.official.transformers import skip_keys
from realign.masking import lengths_to_mask
from realign.nn import Diffusion, OfficialMldDenoiser, SkipTransformerVAE
from realign.text.base import TextEncoder


class StoredText(TextEncoder):
    """Captions "0", "1" and so on, and the empty one, by features that a file holds.

    Args:
        captions: Features of the captions.
        empty: Of the empty one.
    """

    def __init__(self, captions: Tensor, empty: Tensor) -> None:
        super().__init__()
        self.rows = {"": empty.reshape(-1), **{str(i): row.reshape(-1) for i, row in enumerate(captions)}}

    @property
    def dim(self) -> int:
        return len(self.rows[""])

    @property
    def fingerprint(self) -> str:
        return "stored"

    def forward(self, texts: list[str]) -> TextFeatures:
        pooled = torch.stack([self.rows[text] for text in texts])
        return TextFeatures(pooled[:, None], torch.ones(len(texts), 1, dtype=torch.bool), pooled)


class Original:
    """An imported variant beside the arrays of its original.

    Args:
        arrays: The arrays.
        start: Of the names of its arrays.
        model: The generator.
    """

    def __init__(self, arrays: Golden, start: str, model: Diffusion) -> None:
        self.arrays, self.start, self.model = arrays, start, model
        texts = [self.input(name) for name in ("text_cond", "text_uncond")]
        model.text_encoder = StoredText(*texts)
        self.captions = [str(i) for i in range(len(texts[0]))]
        self.mask = lengths_to_mask(self.input("lengths"))

    def input(self, name: str) -> Tensor:
        """An input, of its own or shared by the variants."""
        places = (f"{self.start}{name}", f"{self.start}vae/{name}", name, f"vae/{name}", f"den/{name}")
        return next(self.arrays[place] for place in places if place in self.arrays)

    @property
    def tokens(self) -> Tensor:
        """Which latent tokens exist: all."""
        return self.model.space.token_mask(self.mask)


def imported(peer: str, variant: str, file: Path, folder: Path) -> Diffusion:
    """A variant with some statistics, without its text encoder."""
    stats = write_statistics(folder / f"{peer}_{variant}", features_of(peer, variant))
    return build(read_official(peer, file, stats=stats)).requires_grad_(False)  # type: ignore[return-value]


def features_of(peer: str, variant: str) -> int:
    """Features of a frame."""
    (file,) = read_spec(peer)["variants"][variant]["files"]
    return next(row["shape"][1] for row in file["tensors"] if row["key"] == "vae.skel_embedding.weight")


SMALL = {"hidden": 16, "layers": 3, "heads": 4, "feedforward": 24}


def small(kind: str = "mld", text_dim: int = 8, features: int = 263, autoencoder: bool = False) -> dict[str, Tensor]:
    """A small published model: mld, or of MotionLCM's authors mld_v1, mldpp, lcm_v1 and lcm_v2.

    Its positions reach 40 tokens.
    """
    torch.manual_seed(0)
    second = kind in ("mldpp", "lcm_v2")
    latent = {"width": 6, "tokens": 4, "hidden": 16} if second else {"width": 16}
    sizes = {name: value for name, value in SMALL.items() if name != "hidden"}
    vae = SkipTransformerVAE(features, **latent, **sizes, learned_positions=True, positions=40)
    options = {"width": vae.width, "text_dim": text_dim, "time_dim": 20, "positions": 40, "project_latents": second}
    denoiser = OfficialMldDenoiser(**options, **SMALL, scale_dim=10 if kind.startswith("lcm") else None)
    parts = {"vae": vae, "denoiser": denoiser}
    inner = {f"{part}.{name}": each for part, module in parts.items() for name, each in module.state_dict().items()}
    names = {**AUTOENCODER, **DENOISER}
    for stack, cross in (("vae.encoder", False), ("vae.decoder", True)):
        names |= skip_keys(stack, stack, cross, layers=3)
    keys = KeyMap({**names, **skip_keys("denoiser.encoder", "denoiser.transformer", layers=3)})
    state = {keys.published(name): each[:, None] if name.endswith("table") else each for name, each in inner.items()}
    if autoencoder:
        return {name: each for name, each in state.items() if name.startswith("vae.")}
    return state | ({"denoiser.mem_pos.pe": torch.zeros(40, 1, 16)} if kind == "mld" else {})


def write_small(path: Path, kind: str = "mld", **options: int) -> Path:
    """A file of a small published model, as trainers leave it; statistics lie in the folder "stats" beside it."""
    features = int(options.get("features", 263))
    write_statistics(path.parent / "stats", features)
    others = {"t2m_textencoder.input_emb.weight": torch.ones(2, 2), "text_encoder.a.b": torch.ones(1)}
    torch.save({"state_dict": small(kind, **options) | others, "epoch": 3, "optimizer_states": []}, path)
    return path
