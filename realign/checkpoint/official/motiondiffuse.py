"""MotionDiffuse (Zhang et al. 2022, https://github.com/mingyuan-zhang/MotionDiffuse): generators of motion features."""

from pathlib import Path
from typing import Any

from realign.checkpoint.official.imported import Imported
from realign.checkpoint.official.key_map import KeyMap
from realign.checkpoint.official.published import Published, few, merge, read_statistics
from realign.checkpoint.official.transformers import layer_keys
from realign.errors import InputError

_BLOCK = {
    **{
        f"{theirs}.{name}.*": f"{ours}.{name}.*"
        for theirs, ours in (("sa_block", "attention"), ("ca_block", "cross"))
        for name in ("norm", "query", "key", "value")
    },
    "ca_block.text_norm.*": "cross.memory_norm.*",
    "ffn.linear1.*": "fc1.*",
    "ffn.linear2.*": "fc2.*",
    **{
        f"{theirs}.proj_out.{name}.*": f"{ours}.{here}.*"
        for theirs, ours in (("sa_block", "attention.style"), ("ca_block", "cross.style"), ("ffn", "style"))
        for name, here in (("emb_layers.1", "condition"), ("norm", "norm"), ("out_layers.2", "out_proj"))
    },
}
KEYS = KeyMap(
    {
        "sequence_embedding": "denoiser.positions",
        "joint_embed.*": "denoiser.in_proj.*",
        "out.*": "denoiser.out_proj.*",
        "time_embed.*": "denoiser.time_embedding.*",
        "text_pre_proj.*": "denoiser.text_in_proj.*",
        "text_ln.*": "denoiser.text_norm.*",
        "text_proj.0.*": "denoiser.text_out_proj.*",
        **layer_keys("textTransEncoder.layers.*", "denoiser.text_transformer.layers.*"),
        **{f"temporal_decoder_blocks.*.{old}": f"denoiser.blocks.*.{new}" for old, new in _BLOCK.items()},
    },
    ignored=("clip.*",),  # CLIP is the text encoder
)
_DATASETS = {"t2m": "humanml3d", "kit": "kit"}
_HEADS, _TEXT_HEADS, _STEPS = 8, 4, 1000


def read(file: Path, *, opt: Path | None = None, meta: Path | None = None, text_encoder: str | None = None) -> Imported:
    """A generator in motion features.

    Args:
        file: ``model/latest.tar``.
        opt: Its opt.txt; when None, the one above the folder of the file, or the usual options.
        meta: Folder of its own mean.npy and std.npy; when None, the one above the folder of the file.
        text_encoder: Weights of CLIP ViT-B/32; those of OpenAI when None.

    Raises:
        InputError: A file is missing or damaged, or holds another model.
    """
    weights = Published.read("motiondiffuse", file, ("encoder",))
    home = file.absolute().parents[1]
    options = _read_options(opt or home / "opt.txt", required=opt is not None)
    hidden, features = weights.shape("joint_embed.weight")
    text_hidden, text_dim = weights.shape("text_pre_proj.weight")
    sizes = {
        "width": features,
        "text_dim": text_dim,
        "hidden": hidden,
        "layers": weights.count("temporal_decoder_blocks.*.ffn.linear1.weight"),
        "heads": _HEADS,
        "feedforward": weights.shape("temporal_decoder_blocks.0.ffn.linear1.weight")[0],
        "text_hidden": text_hidden,
        "text_layers": weights.count("textTransEncoder.layers.*.linear1.weight"),
        "text_heads": _TEXT_HEADS,
        "text_feedforward": weights.shape("textTransEncoder.layers.0.linear1.weight")[0],
        "embedding": weights.shape("time_embed.0.weight")[0],
        "max_frames": weights.shape("sequence_embedding")[0],
    }
    skeleton = weights.skeleton(features).name
    if _DATASETS.get(options.get("dataset_name", ""), skeleton) != skeleton:
        raise InputError(
            f"{file} makes motions of {skeleton}, but its opt.txt names the data set {options['dataset_name']!r}; give "
            "the opt.txt of the same folder."
        )
    state, surplus = merge(weights, KEYS)
    state |= read_statistics(
        meta or home / "meta", features,
        "the generator's own mean and deviation, which differ from those of the data set",
        "give the published folder meta by --meta",
    )  # fmt: skip
    steps = int(options["diffusion_steps"])
    summary = f"MotionDiffuse generator of {skeleton}, {steps} steps"
    return Imported(weights, _config(sizes, steps, skeleton, text_encoder), state, KEYS, surplus, summary, text_dim)


def _config(sizes: dict[str, Any], steps: int, skeleton: str, text_encoder: str | None) -> dict[str, Any]:
    clip = {
        "class_path": "realign.text.OpenClipEncoder",
        "init_args": {"name": "ViT-B-32-quickgelu", "pretrained": text_encoder or "openai", "words": "hidden"},
    }
    noise = {
        "num_train_timesteps": steps,
        "beta_schedule": "linear",
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "prediction_type": "epsilon",
        "clip_sample": False,
    }
    parts = {
        "denoiser": {"class_path": "realign.nn.OfficialMotionDiffuse", "init_args": sizes},
        "space": {"class_path": "realign.nn.FeatureSpace", "init_args": {"features": sizes["width"]}},
        "text_encoder": {"class_path": "realign.text.CachedTextEncoder", "init_args": {"encoder": clip}},
        "scheduler": {"class_path": "diffusers.DDPMScheduler", "init_args": noise},
        "guidance_scale": 1.0,
        "text_dropout": 0.0,
        "steps": steps,
        "sampling_scheduler": "ancestral",
        "skeleton": skeleton,
    }
    return {"class_path": "realign.tasks.GeneratorTask", "init_args": parts}


def _read_options(path: Path, required: bool) -> dict[str, str]:
    """Lines ``name: value`` of an opt.txt, with defaults.

    Raises:
        InputError: It is required but missing, unreadable, or of another network.
    """
    options = {"diffusion_steps": str(_STEPS), "no_clip": "False", "no_eff": "False"}
    if path.is_file():
        try:
            lines = path.read_text("utf-8").splitlines()
        except ValueError as error:
            raise InputError(f"{path} is not text; give the published opt.txt by --opt.") from error
        pairs = [line.partition(":") for line in lines if ":" in line]
        options |= {name.strip(): value.strip() for name, _, value in pairs}
    elif required:
        raise InputError(f"There is no {path}, which holds the options of the model; give the published opt.txt.")
    other = [f"{name}={options[name]}" for name in ("no_clip", "no_eff") if options[name] != "False"]
    if other:
        raise InputError(f"{path} has {few(other)}, a network that was not published; give the published opt.txt.")
    if not options["diffusion_steps"].isdigit() or not int(options["diffusion_steps"]):
        raise InputError(f"{path} has diffusion_steps={options['diffusion_steps']!r}; give the published opt.txt.")
    return options
