"""MDM (Tevet et al. 2023, https://github.com/GuyTevet/motion-diffusion-model): generators of HumanML3D and KIT-ML."""

from pathlib import Path
from typing import Any

from realign.checkpoint.official.imported import Imported
from realign.checkpoint.official.key_map import KeyMap
from realign.checkpoint.official.published import Published, beside, merge, read_options, read_statistics
from realign.checkpoint.official.transformers import layer_keys
from realign.errors import InputError

KEYS = KeyMap(
    {
        "input_process.poseEmbedding.*": "denoiser.in_proj.*",
        "output_process.poseFinal.*": "denoiser.out_proj.*",
        "embed_text.*": "denoiser.text_proj.*",
        "embed_timestep.time_embed.*": "denoiser.time_embedding.*",
        **layer_keys("seqTransEncoder.layers.*", "denoiser.transformer.layers.*"),
        **layer_keys("seqTransDecoder.layers.*", "denoiser.transformer.layers.*", cross=True),
    },
    ignored=("clip_model.*", "*sequence_pos_encoder.pe"),  # the table of positions is computed
)
DEFAULTS: dict[str, Any] = {
    "dataset": "humanml",
    "arch": "trans_enc",
    "text_encoder_type": "clip",
    "emb_trans_dec": False,
    "layers": 8,
    "latent_dim": 512,
    "cond_mask_prob": 0.1,
    "mask_frames": False,
    "use_ema": False,
    "unconstrained": False,
    "multi_target_cond": False,
    "context_len": 0,
    "pred_len": 0,
    "noise_schedule": "cosine",
    "diffusion_steps": 1000,
    "sigma_small": True,
}
"""Defaults of options that older args.json files lack."""

_OTHER_MODELS = ("unconstrained", "multi_target_cond", "context_len", "pred_len")
_DATASETS = {"humanml": "humanml3d", "kit": "kit"}
_BETAS = {"cosine": "squaredcos_cap_v2", "linear": "linear"}
_HEADS, _GUIDANCE_SCALE, _TEXT_TOKENS, FRAMES = 4, 2.5, 22, 196
_CLIP: dict[str, Any] = {
    "class_path": "realign.text.OpenClipEncoder",
    "init_args": {"name": "ViT-B-32-quickgelu", "max_tokens": _TEXT_TOKENS},
}
_BERT: dict[str, Any] = {"class_path": "realign.text.HuggingFaceEncoder", "init_args": {"pooling": "mean"}}
_ENCODERS = {
    "clip": (_CLIP, "pretrained", "openai"),
    "bert": (_BERT, "name_or_path", "distilbert/distilbert-base-uncased"),
}
_KNOWN = {"arch": ("trans_enc", "trans_dec"), "text_encoder_type": tuple(_ENCODERS), "noise_schedule": tuple(_BETAS)}


def read(
    file: Path, *, args: Path | None = None, stats: Path | None = None, text_encoder: str | None = None
) -> Imported:
    """A generator in motion features.

    Args:
        file: ``model000475000.pt`` and so on.
        args: Its args.json; the one beside the file when None.
        stats: Folder of the data set's Mean.npy and Std.npy; the folder of the file when None.
        text_encoder: Weights of CLIP, or folder of DistilBERT; the published ones when None.

    Raises:
        InputError: A file is missing or damaged, or holds another model.
    """
    options = _options(beside(file, args, "args.json"))
    # with averaging, a file holds both; the original uses the average if args.json says so
    weights = Published.read("mdm", file, ("model_avg", "model") if options["use_ema"] else ("model",))
    decoder = options["arch"] == "trans_dec"
    stack = "seqTransDecoder" if decoder else "seqTransEncoder"
    hidden, features = weights.shape("input_process.poseEmbedding.weight")
    sizes: dict[str, Any] = {
        "width": features,
        "text_dim": weights.shape("embed_text.weight")[1],
        "hidden": hidden,
        "layers": weights.count(f"{stack}.layers.*.linear1.weight"),
        "heads": _HEADS,
        "feedforward": weights.shape(f"{stack}.layers.0.linear1.weight")[0],
    }
    skeleton = weights.skeleton(features).name
    if _DATASETS.get(options["dataset"]) != skeleton:
        raise InputError(
            f"{file} makes motions of {skeleton}, but its args.json names the data set {options['dataset']!r}; give "
            "the args.json of the same folder."
        )
    if decoder:
        words = "tokens" if options["text_encoder_type"] == "bert" else "pooled"
        sizes |= {"conditioning": words, "time_token": options["emb_trans_dec"]}
    state, surplus = merge(weights, KEYS)
    state |= read_statistics(
        stats or file.parent, features, "the mean and deviation of the data set", "give their folder by --stats"
    )
    config = _config(options, sizes, skeleton, text_encoder)
    summary = f"MDM generator of {skeleton}, {'decoder' if decoder else 'encoder'}, {options['diffusion_steps']} steps"
    return Imported(weights, config, state, KEYS, surplus, summary, sizes["text_dim"])


def _options(path: Path) -> dict[str, Any]:
    options = {**DEFAULTS, **read_options(path, "--args")}
    for name, default in DEFAULTS.items():
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        if type(options[name]) not in kinds:
            raise InputError(f"{path} has {name}={options[name]!r}, which has no meaning; give the published file.")
    for name in _OTHER_MODELS:
        if options[name]:
            raise InputError(f"{path} has {name}={options[name]!r}, but only text-to-motion models can be imported.")
    for name, values in _KNOWN.items():
        if options[name] not in values:
            raise InputError(f"{path} has {name}={options[name]!r}, but only {' or '.join(values)} can be imported.")
    if not options["sigma_small"] or options["diffusion_steps"] < 1:
        raise InputError(
            f"{path} has sigma_small={options['sigma_small']} and diffusion_steps={options['diffusion_steps']}, but "
            "published models are sampled with the small variance in 1 step or more."
        )
    return options


def _config(options: dict[str, Any], sizes: dict[str, Any], skeleton: str, text_encoder: str | None) -> dict[str, Any]:
    kind = "OfficialMdmDecoder" if options["arch"] == "trans_dec" else "OfficialMdmEncoder"
    encoder, slot, usual = _ENCODERS[options["text_encoder_type"]]
    encoder = {**encoder, "init_args": {**encoder["init_args"], slot: text_encoder or usual}}
    for wrapper in ("ZeroWithoutText", "CachedTextEncoder"):
        encoder = {"class_path": f"realign.text.{wrapper}", "init_args": {"encoder": encoder}}
    # without a mask the original samples all frames and keeps the first ones
    frames = {} if options["mask_frames"] else {"frames": FRAMES}
    steps = options["diffusion_steps"]
    betas = _BETAS[options["noise_schedule"]]
    scheduler: dict[str, Any] = {
        "num_train_timesteps": steps,
        "beta_schedule": betas,
        "prediction_type": "sample",
        "clip_sample": False,
    }
    if betas == "linear":
        scheduler |= {"beta_start": 0.1 / steps, "beta_end": 20 / steps}
    parts = {
        "denoiser": {"class_path": f"realign.nn.{kind}", "init_args": sizes},
        "space": {"class_path": "realign.nn.FeatureSpace", "init_args": {"features": sizes["width"], **frames}},
        "text_encoder": encoder,
        "scheduler": {"class_path": "diffusers.DDPMScheduler", "init_args": scheduler},
        "guidance_scale": _GUIDANCE_SCALE,
        "text_dropout": float(options["cond_mask_prob"]),
        "steps": steps,
        "sampling_scheduler": "ancestral",
        "skeleton": skeleton,
    }
    return {"class_path": "realign.tasks.GeneratorTask", "init_args": parts}
