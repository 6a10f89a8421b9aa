"""Attacks by files of models: payloads for the slots of configurations, and the list of slots."""

import copy
import inspect
import json
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import torch
import yaml
from safetensors.torch import save_file

from realign.configuration import read_config

ROOT = Path(__file__).parents[2]
CONFIGS = sorted([*ROOT.glob("configs/[!b]*/*.yaml"), *ROOT.glob("realign/pretrained/*/config.yaml")])
MODULE = "evil_module_of_a_stranger"
PATH_NAMES = re.compile(r"dir|path|file|folder|checkpoint|subset|cache", re.IGNORECASE)
READ_ONLY = {"name_or_path"}  # a text encoder of the hub or of this machine: safetensors alone
Place = tuple[str, ...]


def model_of(path: Path) -> dict[str, Any] | None:
    """The part of a shipped configuration that checkpoints contain; None if it is an overlay."""
    content = read_config(path)
    model = content if "class_path" in content else content.get("model", {})
    if "class_path" not in model:
        return None
    model["init_args"].setdefault("skeleton", "humanml3d")  # as training notes it
    return model


def payloads(marker: Path) -> list[Any]:
    """Payloads that make `marker` or remove its folder when they are imported, called or instantiated."""
    evil = {"class_path": f"{MODULE}.Thing"}
    shell = {"class_path": "os.system", "init_args": {"command": f"touch {marker}"}}
    return [
        shell,
        evil,
        f"{MODULE}.Thing",
        f"{MODULE}.function",
        [evil],
        {"part": shell},
        json.dumps(evil),
        json.dumps(evil).replace(".", "\\u002e"),
        {"class_path": "builtins.exec", "init_args": {"source": f"open({str(marker)!r}, 'w')"}},
        {"class_path": "numpy.memmap", "init_args": {"filename": str(marker), "mode": "w+", "shape": [1]}},
        {"class_path": "realign.files.shutil.rmtree", "init_args": {"path": str(marker.parent)}},
        {"class_path": "realign.checkpoint.export.save_file", "init_args": {"tensors": {}, "filename": str(marker)}},
        {"class_path": "torch.nn.Linear", "init_args": {"in_features": 1, "out_features": 1, "device": evil}},
        {"class_path": "torch.nn.modules.linear.os.system", "init_args": {"command": f"touch {marker}"}},
        {"class_path": "realign.nn.FeatureSpace", "init_args": {"features": 263}, "dict_kwargs": {"x": evil}},
        {"init_args.class_path": f"{MODULE}.Thing", "class_path": "realign.nn.FeatureSpace"},
        {"class_path": f"diffusers.schedulers.{MODULE}.ThingScheduler"},
    ]


def slots(config: dict[str, Any]) -> Iterator[tuple[Place, bool]]:
    """Slots for components, callables and paths, whether or not the configuration uses them; True for paths."""
    found = _class(config["class_path"])
    hints = get_type_hints(found.__init__)
    options = config.get("init_args") or {}
    yield ("class_path",), False
    for name in inspect.signature(found.__init__).parameters:
        slot = hints.get(name, Any)
        if name == "self":
            continue
        if PATH_NAMES.search(name) and "str" in str(slot):
            yield ("init_args", name), True
        elif _takes_code(slot):
            yield ("init_args", name), False
        if isinstance(options.get(name), dict) and "class_path" in options[name]:
            for place, is_path in slots(options[name]):
                yield ("init_args", name, *place), is_path


def attacked(config: dict[str, Any], place: Place, payload: Any) -> dict[str, Any]:
    """A copy of a configuration with the payload in one place."""
    changed = copy.deepcopy(config)
    inner = changed
    for name in place[:-1]:
        inner = inner.setdefault(name, {})
    inner[place[-1]] = payload
    return changed


def write_folder(folder: Path, config: dict[str, Any]) -> Path:
    """A folder of weights as `realign export` writes it; none are in it."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    if not (folder / "model.safetensors").exists():
        save_file({"nothing": torch.zeros(1)}, folder / "model.safetensors")
    return folder


def write_checkpoint(path: Path, config: dict[str, Any]) -> Path:
    """A file as `realign fit` writes it; no weights are in it."""
    options = {"_class_path": config["class_path"], "_instantiator": f"{MODULE}.function", **config["init_args"]}
    torch.save({"state_dict": {}, "hyper_parameters": options, "pytorch-lightning_version": "2.6.0"}, path)
    return path


@cache
def _class(class_path: str) -> Any:
    module, _, name = class_path.rpartition(".")
    return getattr(import_module(module), name)


def _takes_code(slot: Any) -> bool:
    return not set(re.findall(r"[A-Za-z_]\w*", re.sub(r"Literal\[[^]]*\]", "", str(slot)))) <= {
        "str", "int", "float", "bool", "None", "NoneType", "class", "list", "tuple", "dict", "typing", "Optional",
        "Union", "collections", "abc", "Sequence",
    }  # fmt: skip
