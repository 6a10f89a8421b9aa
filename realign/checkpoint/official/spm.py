"""The reward model of ReAlign, EasyTune and MotionRFT."""

import re
from pathlib import Path
from typing import Any

from realign.checkpoint.official.imported import Imported
from realign.checkpoint.official.key_map import KeyMap
from realign.checkpoint.official.published import Published, merge, read_statistics
from realign.checkpoint.official.transformers import skip_keys
from realign.errors import InputError

MODES = ("M0T0", "M1T0", "M0T1", "M1T1")
TEXT = "sentence-transformers/sentence-t5-large"
FEATURES_OF_MOTIONRFT = 135
NORM = "{}_encoder.norm.{}"
"""Both encoders end in the same LayerNorm, which the file holds twice."""
HEADS = 4  # the only size that shapes do not show
_OWN = {
    "motion_encoder.norm.*": "model.norm.*",
    "text_encoder.norm.*": "model.norm.*",
    "global_motion_token": "model.motion_encoder.token",
    "global_text_token": "model.text_encoder.token",
    "query_motion_pos_encoder.pe": "model.motion_encoder.positions.table",
    "query_text_pos_encoder.pe": "model.text_encoder.positions.table",
    "query_pos_decoder.pe": "model.decoder_positions.table",
    "dist_motion_layer.*": "model.motion_encoder.distribution.*",
    "dist_text_layer.*": "model.text_encoder.distribution.*",
    "skel_embedding.*": "model.motion_encoder.in_proj.*",
    "text_embedding.*": "model.text_encoder.in_proj.*",
    "final_layer.*": "model.out_proj.*",
    "time_embedding.linear_1.*": "model.time_embedding.0.*",
    "time_embedding.linear_2.*": "model.time_embedding.2.*",
}
NOISE = {
    "class_path": "diffusers.DDPMScheduler",
    "init_args": {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
    },
}


def read(
    file: Path, *, stats: Path | None = None, mode: str | None = None, text_encoder: str | None = None
) -> Imported:
    """The reward with the statistics of its data set.

    Args:
        file: The published file.
        stats: Folder of Mean.npy and Std.npy of the data set.
        mode: Encoders that get the timestep, such as M1T0; the mode in the file's name when None.
        text_encoder: Folder or hub name of sentence-t5-large; the published one when None.

    Raises:
        InputError: A file is missing, damaged or of another kind, or the mode is unknown or does not fit the file.
    """
    published = Published.read("spm", file, ("state_dict",))
    mode, width = choose_mode(file, mode), published.shape("skel_embedding.weight")[1]
    skeleton = "motionrft" if width == FEATURES_OF_MOTIONRFT else published.skeleton(width).name
    if stats is None:
        raise InputError(
            f"{file} holds no statistics of its motions; give the folder of the data set's Mean.npy and Std.npy by "
            "--stats."
        )
    sizes = sizes_of(published)
    keys = key_map(sizes["layers"])
    state, surplus = merge(published, keys)
    _check_shared_norm(published)
    for name in ("motion_encoder.positions", "text_encoder.positions", "decoder_positions"):
        table = state.get(f"model.{name}.table")
        if table is not None and table.dim() == 3:
            state[f"model.{name}.table"] = table[:, 0]
    what = "the statistics that the reward's motions were normalised by"
    state |= read_statistics(stats, width, what, "give the folder of the data set by --stats")
    options = {**sizes, "motion_time": mode[1] == "1", "text_time": mode[3] == "1"}
    encoder = {"name_or_path": text_encoder or TEXT, "pooling": "mean"}  # words before the dense layer
    parts = {
        "model": {"class_path": "realign.nn.SPM", "init_args": options},
        "space": {"class_path": "realign.nn.FeatureSpace", "init_args": {"features": width}},
        "text_encoder": {"class_path": "realign.text.HuggingFaceEncoder", "init_args": encoder},
        "scheduler": NOISE,
        "skeleton": skeleton,
    }
    config = {"class_path": "realign.tasks.RewardTask", "init_args": parts}
    return Imported(published, config, state, keys, surplus, f"reward of {skeleton}, mode {mode}", sizes["text_dim"])


def sizes_of(published: Published) -> dict[str, Any]:
    """Sizes of the network, read from its weights."""
    hidden, width = published.shape("skel_embedding.weight")
    return {
        "width": width,
        "text_dim": published.shape("text_embedding.weight")[1],
        "hidden": hidden,
        "layers": 2 * published.count("motion_encoder.input_blocks.*.linear1.weight") + 1,
        "heads": HEADS,
        "feedforward": published.shape("motion_encoder.middle_block.linear1.weight")[0],
        "time_width": published.shape("time_embedding.linear_1.weight")[1],
        "max_tokens": published.shape("query_motion_pos_encoder.pe", 3)[0],
    }


def key_map(layers: int = 9) -> KeyMap:
    """The key map of a network with this number of layers."""
    encoders = ((f"{part}_encoder", f"model.{part}_encoder.transformer") for part in ("motion", "text"))
    stacks = [skip_keys(published, here, layers=layers) for published, here in encoders]
    stacks.append(skip_keys("decoder", "model.decoder", cross=True, layers=layers))
    names = {published: here for stack in stacks for published, here in stack.items()}
    return KeyMap({**names, **_OWN}, ignored=("clip.*", "xlm.*"))


def choose_mode(file: Path, mode: str | None = None) -> str:
    """The mode of a file, from its name; brackets in the name hold the name of the file that training started from.

    Args:
        file: The published file.
        mode: The requested mode; it may leave out a timestep, as EasyTune does, but not add one that was not trained.

    Raises:
        InputError: There is no mode, or the requested one is unknown or adds a timestep.
    """
    if mode is not None and mode not in MODES:
        raise InputError(f"There is no mode {mode!r} of a reward; choose one of {', '.join(MODES)}.")
    outside = re.sub(r"\[.*?\]", "", file.stem)
    named = list(dict.fromkeys(re.findall("M[01]T[01]", outside) or re.findall("M[01]T[01]", file.stem)))
    if mode is None and len(named) != 1:
        raise InputError(
            f"The name of {file} has {' and '.join(named) or 'no mode'}, but only the name shows which encoder of a "
            f"reward gets the timestep; give one of {', '.join(MODES)} by --mode."
        )
    if mode is not None and len(named) == 1 and (mode[1] > named[0][1] or mode[3] > named[0][3]):
        raise InputError(
            f"The name of {file} says {named[0]}, so a timestep of the mode {mode} was not trained; leave --mode out, "
            "or rename the file if its name is wrong."
        )
    return mode or named[0]


def _check_shared_norm(published: Published) -> None:
    for end in ("weight", "bias"):
        pair = [published.state.get(NORM.format(part, end)) for part in ("motion", "text")]
        if any(each is None for each in pair):
            continue  # reported with all missing weights
        if not pair[0].equal(pair[1]):  # type: ignore[union-attr, arg-type]
            names = " and ".join(NORM.format(part, end) for part in ("motion", "text"))
            raise InputError(
                f"{published.path} is not a checkpoint of spm as published: {names} differ, although they are one "
                "weight; give the published file."
            )
