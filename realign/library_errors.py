"""Errors that libraries raise deliberately about options, machine or files, as one sentence.

Only errors that a library raises itself about its own settings count. Errors from a component's code, and errors that
were not raised deliberately, are defects.
"""

import re
import sys
from collections.abc import Iterator
from opcode import opmap
from types import FrameType

_SPEAKERS = {
    *("lightning", "lightning_fabric", "lightning_utilities", "pytorch_lightning", "jsonargparse", "torchmetrics"),
    *("diffusers", "wandb", "mlflow", "comet_ml", "neptune", "tensorboard", "tensorboardX", "deepspeed"),
}
_STARTERS = {"realign.cli", "realign.trainer", "realign.training", "realign.commands"}
_CHANGE = "change that in the configuration or by a flag"
_NO_MEMORY = re.compile(r"out of memory|n't allocate memory|not enough memory: you tried", re.IGNORECASE)
_SMALLER = "take a smaller batch, shorter motions or, for training, --trainer.precision bf16-mixed"
_KNOWN = (
    (
        r"monitor='([^']+)'\) could not find .* metrics: \[(.*?)\]",
        "ModelCheckpoint monitors {0}, which this run does not log; choose one of {1}.",
    ),
    (
        r"Early stopping conditioned on metric (\S+) .* following: (.*)",
        "EarlyStopping monitors {0}, which this run does not log; choose one of {1}.",
    ),
    (
        r"ReduceLROnPlateau conditioned on metric (\S+) .* metrics are: \[(.*?)\]",
        "ReduceLROnPlateau monitors {0}, which this run does not log; choose one of {1}.",
    ),
    (r"No supported (\w+) backend", "There is no {0} that torch can use here; take --trainer.accelerator cpu or auto."),
    (
        r"(\w+)Accelerator can not run",
        "There is no {0} device that torch can use here; take --trainer.accelerator cpu or auto.",
    ),
    (
        r"requested gpu: (.*?)\s+But your machine only has: (.*)",
        "--trainer.devices asks for the GPUs {0}, but there are only {1}; name some of these or auto.",
    ),
    (
        r"devices=(.+?)\) value is not a valid input using (\w+)",
        "--trainer.devices {0} names no {1} device; give a number of at least 1, or auto.",
    ),
    (
        r"devices selected with CPUAccelerator",
        "--trainer.devices is the number of processes on a CPU; give a number of at least 1, or auto.",
    ),
    (
        r"Requirement '([\w.-]+?)([<>=!~].*)?' not met",
        "The package {0} is not installed, which a class or accelerator of this run needs; run `pip install {0}`, or "
        "choose another.",
    ),
    (
        r"ckpt_path=\"last\"\) is set, but there is no last checkpoint",
        "--ckpt_path last finds no checkpoint of this configuration; train first, or give the path of one.",
    ),
)


def of_library(error: BaseException) -> str | None:
    """A sentence about an error that a library raised deliberately; None for a defect.

    Args:
        error: The caught error. If libraries wrap errors of others, the innermost with a message is used.
    """
    for each in reversed(list(_causes(error))):
        if _on_purpose(each):
            return _sentence(each)
        if isinstance(each, Warning):  # turned into an error by a filter
            return _known(str(each).replace("`", ""))
        if not _inside_library(each):
            return None  # a defect, even if it was wrapped
    return None


def of_resources(error: BaseException) -> str | None:
    """A sentence about memory, workers or a network that ran out; None for anything else."""
    name, text = type(error).__name__, str(error)
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or _NO_MEMORY.search(text):
        told = re.match(r".*?\ballocate [\d.]+ \w+|[^\n]*", text.strip(), re.DOTALL)
        return f"There is not enough memory ({' '.join(told[0].split())[:300] if told else name}); {_SMALLER}."
    if match := re.search(r"DataLoader worker \(pid.*?\).*", text):
        return f"{match[0].split('. ')[0].rstrip('.')}; take fewer --data.init_args.num_workers, or 0."
    if name in ("DistNetworkError", "DistStoreError", "DistBackendError"):
        why = " ".join(text.split())[:300].rstrip(".")
        return f"The processes do not find each other ({why}); check MASTER_ADDR, MASTER_PORT and their number."
    return None


def reads_checkpoint(error: BaseException) -> bool:
    """Whether a library raised an error while reading a checkpoint: the file is foreign or damaged."""
    homes = ("torch.serialization", "torch._weights_only_unpickler", "lightning.pytorch.utilities.migration")
    return any(_module(frame).startswith(homes) for frame, _ in _frames(error))


def shorten(message: str) -> str:
    """The part of a nested jsonargparse message that a user can act on, on one line."""
    lines = dict.fromkeys(line.strip(" -\t") for line in message.splitlines())  # every subtype says the same
    told = " ".join(line for line in lines if line and not _NOISE.match(line))
    told = re.sub(r"Does not validate against any of the Union subtypes ?", "", told)
    told = re.sub(r'Parser key "([\w.]+)": ', r"\1: ", told)
    told = re.sub(r"Expected a dot import path string: (\S+)", r"\1 is not the path of a class, as package.Class", told)
    given = re.search(r"^\s*Given value: ([^()]*)$", message, re.MULTILINE)
    if given and given[1] not in told:
        told = f"{told}. Got value: {given[1]}"
    return re.sub(r"\s+", " ", told)[:600]


_NOISE = re.compile(
    r"^(Subtypes: .*|Errors:|Expected a <class 'NoneType'>|Expected a path but .*|Given value( type)?: .*|usage: .*|"
    r"tip: .*)$",
    re.IGNORECASE,
)


def _sentence(error: BaseException) -> str:
    text = str(error.args[0] if error.args else error)  # a KeyError shows its message in quotes
    nested = "Union subtypes" in text or "Parser key" in text
    text = (shorten(text) if nested else " ".join(text.split())[:600]).replace("`", "")
    return _known(text) or f"{text.rstrip('. ') or type(error).__name__}; {_CHANGE}."


def _known(text: str) -> str | None:
    for pattern, sentence in _KNOWN:
        if match := re.search(pattern, text):
            return sentence.format(*(part.replace("'", "") for part in match.groups("")))
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes, outermost first."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _on_purpose(error: BaseException) -> bool:
    """Whether the error began at a library's own ``raise`` that was reached without code of a component."""
    frames = list(_frames(error))
    if not frames or not _raises(*frames[-1]):
        return False
    names = [_module(frame) for frame, _ in frames]
    if names[-1].startswith("torch.optim"):  # `Task.configure_optimizers` passes options of the configuration
        return frames[-1][0].f_code.co_name == "__init__"
    if _package(names[-1]) not in _SPEAKERS:
        return False
    first = next(place for place, name in enumerate(names) if _package(name) in _SPEAKERS)
    return all(_is_library(name) for name in names[first:])


def _inside_library(error: BaseException) -> bool:
    frames = list(_frames(error))
    return not frames or _is_library(_module(frames[-1][0]))


def _is_library(name: str) -> bool:
    package = _package(name)
    started = any(name == each or name.startswith(f"{each}.") for each in _STARTERS)
    return started or package in _SPEAKERS or package == "torch" or package in sys.stdlib_module_names


def _raises(frame: FrameType, instruction: int) -> bool:
    return frame.f_code.co_code[instruction] == opmap["RAISE_VARARGS"]


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Frames of an error, from where it was caught, each with its instruction."""
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame, trace.tb_lasti
        trace = trace.tb_next


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _package(name: str) -> str:
    return name.partition(".")[0]
