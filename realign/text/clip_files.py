"""Weights of CLIP's text tower in the two layouts that open-clip-torch does not read: a folder of transformers, and the
TorchScript files of OpenAI, of which only the tensors are read and nothing is executed."""

import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from realign.errors import InputError

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_OUTER = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
_TEXT = ("positional_embedding", "text_projection", "token_embedding.", "transformer.", "ln_final.")


class TextTower(NamedTuple):
    """A text tower as it was found.

    Attributes:
        state: Its weights by the names of open-clip-torch.
        quick_gelu: Whether its activation is QuickGELU.
        heads: Attention heads; None where the file does not tell.
    """

    state: dict[str, Tensor]
    quick_gelu: bool
    heads: int | None = None


def weights_files(path: Path) -> list[Path]:
    """The files that hold the weights at a path and say how they are used."""
    if not path.is_dir():
        return [path]
    return [path / name for name in ("config.json", *_WEIGHTS) if (path / name).is_file()]


def read_text_tower(path: Path) -> TextTower | None:
    """The text tower of a folder of transformers or of a TorchScript file; None for a file of any other layout.

    Raises:
        InputError: The folder lacks a file, or what is there is damaged or not CLIP.
    """
    if path.is_dir():
        return _from_transformers(path)
    return _from_torchscript(path) if _is_torchscript(path) else None


def _from_transformers(folder: Path) -> TextTower:
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if weights is None or not (folder / "config.json").is_file():
        raise InputError(
            f"{folder} lacks config.json or {_WEIGHTS[0]}; give the folder of a CLIP model of transformers, such as "
            "openai/clip-vit-large-patch14, or a file of weights."
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = config.get("text_config") or config
        tower = {
            name.removeprefix("text_model."): each
            for name, each in _load(weights).items()
            if name.startswith("text_model.") or name == "text_projection.weight"
        }
        layers = range(int(config.get("num_hidden_layers", 12)))
        state = {new: tower[old] for old, new in _OUTER.items()}
        state["text_projection"] = tower["text_projection.weight"].T
        for number in layers:
            state |= _layer(tower, f"encoder.layers.{number}.", f"transformer.resblocks.{number}.")
        # what the published configurations leave out is as in transformers
        return TextTower(
            state, config.get("hidden_act", "quick_gelu") == "quick_gelu", config.get("num_attention_heads", 8)
        )
    except ImportError:
        raise
    except KeyError as error:
        raise InputError(f"{weights} is not a CLIP model of transformers: it lacks {error}; copy it again.") from error
    except Exception as error:  # readers of several formats, each with exceptions of its own
        raise InputError(f"{folder} holds no CLIP model of transformers that can be read; copy it again.") from error


def _load(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _layer(tower: Mapping[str, Tensor], old: str, new: str) -> Iterator[tuple[str, Tensor]]:
    """One layer: queries, keys and values are a single weight there."""
    for end in ("weight", "bias"):
        yield f"{new}attn.in_proj_{end}", torch.cat([tower[f"{old}self_attn.{each}_proj.{end}"] for each in "qkv"])
        for theirs, ours in _LAYER.items():
            yield f"{new}{ours}.{end}", tower[f"{old}{theirs}.{end}"]


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _from_torchscript(path: Path) -> TextTower:
    try:
        with zipfile.ZipFile(path) as archive:
            content = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(content) as file:
                found = dict(_flatten(_ScriptReader(file, archive, content.removesuffix("data.pkl")).load()))
    except _Refused as refused:
        raise InputError(f"{path} asks for {refused}, and pickled code is never executed; fetch it again.") from refused
    except Exception as error:  # a damaged archive or pickle raises nearly anything
        raise InputError(f"{path} is damaged or cut short; fetch it again.") from error
    # OpenAI alone publishes CLIP in this form, always with QuickGELU
    state = {name: each for name, each in found.items() if name.startswith(_TEXT) and not name.endswith("attn_mask")}
    return TextTower(state, quick_gelu=True)


class _Refused(Exception):
    """The name of what a file asks for."""


class _Module(dict):
    """A module of TorchScript: its attributes."""

    def __setstate__(self, state: Any) -> None:
        self.update(state if isinstance(state, dict) else {})


class _ScriptReader(pickle.Unpickler):
    """Reads modules as dictionaries, and tensors from the members of the archive."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file)
        self.archive, self.folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "__torch__":
            return _Module
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        kind = name.removesuffix("Storage").lower()
        if module == "torch" and name.endswith("Storage") and isinstance(getattr(torch, kind, None), torch.dtype):
            return getattr(torch, kind)
        raise _Refused(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        """A storage as a flat tensor."""
        _, dtype, key, *_ = pid
        return torch.frombuffer(bytearray(self.archive.read(f"{self.folder}data/{key}")), dtype=dtype)


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset)


def _flatten(module: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Tensor]]:
    """Tensors by their names in a state_dict."""
    for name, each in module.items():
        if isinstance(each, Tensor):
            yield before + name, each
        elif isinstance(each, _Module):
            yield from _flatten(each, f"{before}{name}.")
