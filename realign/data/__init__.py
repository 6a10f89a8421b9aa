"""Prepared motion sets: making, opening and batching them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from realign.data.datamodule import MotionDataModule
    from realign.data.procedural_datamodule import ProceduralDataModule
    from realign.data.store import PackedMotions

__all__ = ["MotionDataModule", "PackedMotions", "ProceduralDataModule"]

_HOMES = {
    "MotionDataModule": "realign.data.datamodule",
    "PackedMotions": "realign.data.store",
    "ProceduralDataModule": "realign.data.procedural_datamodule",
}


def __getattr__(name: str) -> Any:  # `realign prepare` must not wait for Lightning
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'realign.data' has no attribute {name!r}")
