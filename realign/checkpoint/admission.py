"""Checks of the classes that a foreign configuration names, before they are imported."""

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import nn

from realign.errors import InputError

_KNOWN = "realign, the schedulers of diffusers and plain layers of torch"
_LAYERS = (
    "BatchNorm1d|Conv1d|Dropout|ELU|Embedding|GELU|GLU|GroupNorm|Hardswish|Hardtanh|Identity|LayerNorm|LeakyReLU|Linear"
    "|LogSigmoid|MSELoss|Mish|PReLU|RMSNorm|ReLU|ReLU6|SELU|SiLU|Sigmoid|SmoothL1Loss|Softmax|Softplus|Tanh"
)
_ALLOWED = re.compile(
    r"realign(\.[a-z_][a-z0-9_]*)+\.[A-Z]\w*"
    r"|diffusers(\.schedulers(\.scheduling_\w+)?)?\.[A-Z]\w*Scheduler"
    rf"|torch\.nn(\.modules(\.[a-z]+)?)?\.({_LAYERS})",
    re.ASCII,
)
_WORD = re.compile(r"[\w+-]*", re.ASCII)  # neither a dotted name nor structure written as text
_PLACES = ("cache_dir", "checkpoint", "subset")  # paths of the machine that trained
_RENAMED = {
    name: "realign.nn.TransformerReward" for name in ("realign.nn.RewardModel", "realign.nn.reward.RewardModel")
}
"""Former names of classes."""
_DEEP, _MANY = 40, 100_000  # limits of nesting and of values
_PLAIN = (str, int, float, bool, NoneType)


def admit(config: Mapping[str, Any], path: Path, trust_code: bool = False) -> dict[str, Any]:
    """Check the classes of a configuration, and leave out paths of another machine.

    Args:
        config: class_path and init_args, possibly nested.
        path: The file that it comes from.
        trust_code: Let it name any class.

    Raises:
        InputError: It names a class that is not allowed, or is not a configuration.
    """
    return _Admission(path, trust_code).mapping(config, 0)


def check_class(class_path: str, path: Path) -> type:
    """The class of a name that is allowed without `trust_code`.

    Args:
        class_path: Its full name.
        path: The file that names it.

    Raises:
        InputError: It is not one of those known, or there is none of that name.
    """
    root, (module, _, name) = class_path.partition(".")[0], class_path.rpartition(".")
    if not _ALLOWED.fullmatch(class_path):
        raise InputError(
            f"{path} names {class_path[:80]}, which is outside {_KNOWN}; if you trust whoever made it to run code "
            "here, add --trust-code (Python: trust_code=True)."
        )
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, RuntimeError):
        found = None
    if not (isinstance(found, type) and issubclass(found, _base(root)) and found.__module__.startswith(f"{root}.")):
        raise InputError(
            f"{path} asks for parts that this version cannot build: there is no component {class_path}; update realign "
            "or export it again."
        )
    return found


def _base(root: str) -> type:
    if root != "diffusers":
        return nn.Module
    from diffusers.schedulers.scheduling_utils import SchedulerMixin

    return SchedulerMixin


class _Admission:
    """Checks one configuration.

    Args:
        path: The file that it comes from.
        trust_code: Allow all classes.
    """

    def __init__(self, path: Path, trust_code: bool) -> None:
        self.path, self.trust_code, self.left = path, trust_code, _MANY

    def value(self, value: Any, slot: Any, depth: int) -> Any:
        """Check a value for a slot with some annotation."""
        self.left -= 1
        if depth > _DEEP or self.left < 0:
            raise InputError(f"The configuration of {self.path} is nested without end; take another file.")
        if isinstance(value, Mapping):
            return self.mapping(value, depth)
        if isinstance(value, (list, tuple)):
            return [self.value(each, slot, depth + 1) for each in value]
        if isinstance(value, str) and not (self.trust_code or _is_plain(slot) or _WORD.fullmatch(value)):
            check_class(value, self.path)  # jsonargparse imports names in slots of classes or functions
        if not (self.trust_code or isinstance(value, _PLAIN)):
            raise InputError(
                f"The configuration of {self.path} holds a {type(value).__name__}; take a file written by realign."
            )
        return value

    def mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        """A component with its options, or any other names with values."""
        if "class_path" not in value:
            return {
                self.key(key): self.value(each, Any, depth + 1)
                for key, each in value.items()
                if self.trust_code or key not in _PLACES  # options of a component without its name
            }
        name, options = value["class_path"], value.get("init_args") or {}
        known = self.trust_code or not value.keys() - {"class_path", "init_args"}
        if not (isinstance(name, str) and isinstance(options, Mapping) and known):
            raise InputError(
                f"The configuration of {self.path} holds a component that is not class_path and init_args; take a file "
                "written by realign."
            )
        name = _RENAMED.get(name, name)
        short = _WORD.fullmatch(name)  # jsonargparse finds the full one, which `rebuild` checks
        slots = {} if self.trust_code or short else _slots(check_class(name, self.path))
        own = short or name.startswith("realign.")
        kept = {
            self.key(key): self.value(each, slots.get(key, Any), depth + 1)
            for key, each in options.items()
            if not (own and key in _PLACES)
        }
        return {**value, "class_path": name, "init_args": kept}

    def key(self, key: Any) -> str:
        """A name of an option; with dots, jsonargparse would take it for one of an inner component."""
        if self.trust_code or (isinstance(key, str) and key.isidentifier()):
            return key
        raise InputError(f"The configuration of {self.path} has the option {key!r}; take a file written by realign.")


def _slots(found: type) -> Mapping[str, Any]:
    """Annotations of a constructor; empty if they are unknown."""
    try:
        return get_type_hints(found.__init__)  # type: ignore[misc]
    except (NameError, TypeError, AttributeError):
        return {}


def _is_plain(slot: Any) -> bool:
    """Whether an annotation accepts only numbers and text, which are not imported."""
    if slot in _PLAIN or slot is Path or get_origin(slot) is Literal:
        return True
    inner = [each for each in get_args(slot) if each is not Ellipsis]
    kind = get_origin(slot)
    container = not isinstance(kind, type) or issubclass(kind, (Sequence, Mapping, set)) or kind.__name__ == "UnionType"
    return bool(inner) and container and all(map(_is_plain, inner))
