"""The extras of this package: which packages each installs, and what needs them."""

import re
from importlib.util import find_spec

EXTRAS = {
    "cpu": ("faiss",),
    "train": ("lightning", "torchmetrics", "matplotlib", "tensorboard"),
    "clip": ("open_clip", "torchvision"),
    "hf": ("transformers", "sentencepiece"),
    "parquet": ("pyarrow",),
    "demo": ("gradio",),
}
"""Modules by the extra of pyproject.toml that installs them; `gpu` installs the same one as `cpu`."""
_USES = {
    "cpu": "search and guidance need",
    "train": "training and evaluation need",
    "clip": "the text encoders of OpenCLIP need",
    "hf": "the text encoders of transformers need",
    "parquet": "Parquet files need",
    "demo": "the demo needs",
}


def extra_of(module: str) -> str | None:
    """The extra that installs a module or the package that it is in; None for others."""
    top = module.partition(".")[0]
    return next((extra for extra, modules in EXTRAS.items() if top in modules), None)


def install(module: str) -> str:
    """The command that installs a package, with its extra if it has one."""
    extra = extra_of(module)
    other = " (or 'realign[gpu]' with CUDA 12)" if extra == "cpu" else ""
    return f"pip install 'realign[{extra}]'{other}" if extra else f"pip install {module.replace('_', '-')}"


def without(module: str) -> str:
    """The sentence about a package of an extra that is not installed."""
    top = module.partition(".")[0]
    return f"The package {top}, which {_USES[str(extra_of(top))]}, is not installed; run {install(top)}."


def missing(modules: tuple[str, ...]) -> str | None:
    """The sentence about the first of some modules that is not installed, found without importing it; else None."""
    absent = next((module for module in modules if find_spec(module) is None), None)
    return None if absent is None else without(absent)


def of_import(error: BaseException) -> str | None:
    """The sentence about a failed import if a package of an extra is not installed; None for other errors."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return without(error.name) if extra_of(error.name) else None
    if not isinstance(error, ImportError):
        return None
    words = set(re.findall(r"\w+", str(error).lower()))  # transformers names what a tokenizer lacks in its message
    absent = [each for modules in EXTRAS.values() for each in modules if each in words and find_spec(each) is None]
    return without(absent[0]) if absent else None
