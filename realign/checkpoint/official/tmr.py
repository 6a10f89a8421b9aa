"""TMR, in either layout of its files."""

from pathlib import Path
from typing import Any

from realign.checkpoint.official.imported import Imported
from realign.checkpoint.official.key_map import KeyMap
from realign.checkpoint.official.published import Published, merge, read_statistics
from realign.checkpoint.official.transformers import layer_keys
from realign.errors import InputError

PARTS = ("motion_encoder", "text_encoder", "motion_decoder")
PLACES = ("", "last_weights")
CHECKPOINTS = ("last.ckpt", "logs/checkpoints/last.ckpt")
TEXT = "distilbert-base-uncased"
HEADS = 4  # the only size that shapes do not show
KEYS = KeyMap(
    {
        **{f"{part}.tokens": f"model.{part}.tokens" for part in PARTS[:2]},
        **{f"{part}.projection.*": f"model.{part}.in_proj.*" for part in PARTS[:2]},
        **layer_keys("motion_encoder.seqTransEncoder.layers.*", "model.motion_encoder.transformer.layers.*"),
        **layer_keys("text_encoder.seqTransEncoder.layers.*", "model.text_encoder.transformer.layers.*"),
        **layer_keys("motion_decoder.seqTransDecoder.layers.*", "model.decoder.layers.*", cross=True),
        "motion_decoder.final_layer.*": "model.out_proj.*",
    }
)


def read(file: Path, *, stats: Path | None = None, text_encoder: str | None = None) -> Imported:
    """The retriever with its own statistics.

    Args:
        file: The folder of a model, its folder `last_weights` or one of the files in it, or `last.ckpt`.
        stats: Folder of mean.pt and std.pt (or .npy), which TMR keeps under stats/DATASET/guoh3dfeats.
        text_encoder: Folder or hub name of DistilBERT; the published one when None.

    Raises:
        InputError: A file is missing, damaged or of another kind.
    """
    published = read_parts(file)
    sizes = sizes_of(published)
    width, skeleton = sizes["width"], published.skeleton(sizes["width"]).name
    if stats is None:
        raise InputError(
            f"{file} holds no statistics of its motions, and those of TMR are its own; give the folder of its mean.pt "
            "and std.pt, stats/humanml3d/guoh3dfeats of its repository, by --stats."
        )
    state, surplus = merge(published, KEYS)
    what = "the statistics of TMR, which differ from Mean.npy and Std.npy of the data set"
    state |= read_statistics(stats, width, what, "give stats/DATASET/guoh3dfeats of its repository by --stats")
    encoder = {"name_or_path": text_encoder or TEXT, "pooling": "cls"}
    parts: dict[str, Any] = {
        "model": {"class_path": "realign.nn.TMR", "init_args": sizes},
        "space": {"class_path": "realign.nn.FeatureSpace", "init_args": {"features": width}},
        "text_encoder": {"class_path": "realign.text.HuggingFaceEncoder", "init_args": encoder},
        "skeleton": skeleton,
    }
    config = {"class_path": "realign.tasks.RetrieverTask", "init_args": parts}
    return Imported(published, config, state, KEYS, surplus, f"retriever of {skeleton}", sizes["text_dim"])


def sizes_of(published: Published) -> dict[str, Any]:
    """Sizes of the network, read from its weights."""
    hidden, width = published.shape("motion_encoder.projection.weight")
    layers = "motion_encoder.seqTransEncoder.layers.*.linear1.weight"
    return {
        "width": width,
        "text_dim": published.shape("text_encoder.projection.weight")[1],
        "hidden": hidden,
        "layers": published.count(layers),
        "heads": HEADS,
        "feedforward": published.shape(layers.replace("*", "0"))[0],
    }


def read_parts(file: Path) -> Published:
    """The weights of the three networks in either layout; other weights of a checkpoint are left out.

    Raises:
        InputError: A file is missing, damaged, or holds no weights.
    """
    folder = file if file.is_dir() else file.parent
    if file.is_file() and file.stem not in PARTS:
        found = Published.read("tmr", file, ("state_dict",))
        own = {name: each for name, each in found.state.items() if name.partition(".")[0] in PARTS}
        return Published("tmr", file, own or found.state)
    for place in PLACES:
        if any((folder / place / f"{part}.pt").is_file() for part in PARTS):
            each = {part: Published.read("tmr", folder / place / f"{part}.pt").state for part in PARTS}
            state = {f"{part}.{name}": value for part in PARTS for name, value in each[part].items()}
            return Published("tmr", file, state)
    for name in CHECKPOINTS:
        if (folder / name).is_file():
            return read_parts(folder / name)
    raise InputError(
        f"There are no weights of TMR at {file}; give its folder with last_weights/{PARTS[0]}.pt and so on, or "
        "last.ckpt."
    )
