"""Without an extra every command says in one sentence what to install, and the base generates and searches."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from setuptools.config.pyprojecttoml import load_file

from realign.extras import EXTRAS, extra_of, install, of_import

ROOT = Path(__file__).parents[1]
PROJECT = load_file(str(ROOT / "pyproject.toml"))["project"]
SCRIPT = """
import contextlib, importlib.machinery, io, json, sys

hidden = set(json.loads(sys.argv[1]))
found = importlib.machinery.PathFinder.find_spec

def find(name, path=None, target=None):
    return None if name.partition(".")[0] in hidden else found(name, path, target)

importlib.machinery.PathFinder.find_spec = staticmethod(find)
from realign.cli import main

told = {}
for name, words in json.loads(sys.argv[2]).items():
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        if isinstance(words, list):
            told[name] = [main(words), err.getvalue(), "torch" in sys.modules]
        else:
            try:
                exec(words)
                told[name] = [0, "", True]
            except ValueError as error:
                told[name] = [2, f"realign: {error}" * isinstance(error, ImportError), True]
    hidden -= {"faiss"} if name == "without faiss" else set()
print(json.dumps(told))
"""


def run(hidden: list[str], tries: dict[str, list[str] | str], folder: Path) -> dict[str, list]:
    """What commands and lines of Python answer in an installation without some modules."""
    words = [sys.executable, "-W", "ignore", "-c", SCRIPT, json.dumps(hidden), json.dumps(tries)]
    ended = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", each)[0].lower().replace("_", "-") for each in requirements}


def test_the_base_generates_and_searches_and_names_the_extra_of_everything_else(tmp_path: Path) -> None:
    hidden = [module for modules in EXTRAS.values() for module in modules] + ["sklearn", "scipy", "wandb"]
    folder = tmp_path / "text_model"
    folder.mkdir()
    shipped = ["--generator", "generator", "--data", "nowhere"]
    encoder = f"from realign.text import HuggingFaceEncoder as E; E({str(folder)!r})"
    tries: dict[str, list[str] | str] = {
        "cpu: search": ["search", "a person walks"],
        "train: fit": ["fit", "--config", "tiny/vae"],
        "train: predict": ["predict", "--config", "tiny/vae"],
        "train: evaluate": ["evaluate", *shipped],
        "train: sweep": ["sweep", *shipped],
        "cpu: generate": ["generate", "walk"],
        "train: tasks": "from realign.tasks import GeneratorTask",
        "train: a module below": "import realign.tasks.generator",
        "train: callbacks": "from realign.callbacks import SampleWriter",
        "train: data": "from realign.data import MotionDataModule",
        "train: metrics": "from realign.metrics.retrieval_metric import RetrievalMetrics",
        "train: build": "from realign.cli import build; build(['--config', 'tiny/vae'])",
        "clip: encoder": "from realign.text import OpenClipEncoder; OpenClipEncoder()",
        "hf: encoder": f"{encoder}.token_limit()",
        "hf: build": f"open({str(folder / 'model.safetensors')!r}, 'w').close(); {encoder}.build()",
        "parquet: index export": ["index", "export", "index", "-o", "out", "--items", "parquet"],
        "cpu: index": "from realign import MotionSearch; MotionSearch.from_pretrained()",
        "without faiss": ["generate", "walk", "--seconds", "1", "--steps", "2", "--guidance", "none", "-o", "a.npy"],
        "generates": ["generate", "walk", "--seconds", "1", "--steps", "2", "-o", "b.gif"],
        "searches": ["search", "a person walks", "-k", "1"],
        "prepares": "from realign.data import PackedMotions",
    }
    told = run(hidden, tries, tmp_path)
    for name, (status, text, torch) in told.items():
        extra, kind, _ = name.partition(": ")
        if not kind:
            assert status == 0, f"{name}: {text}"
            continue
        assert status == 2 and text.count("realign: ") == 1, f"{name}: {text}"
        assert f"pip install 'realign[{extra}]'" in text, f"{name}: {text}"
        early = list(told).index(name) <= list(told).index("cpu: generate")
        assert not (early and torch), f"{name} is told after torch was imported"
    assert (tmp_path / "a.npy").is_file() and (tmp_path / "b.gif").is_file()


def test_extras_hold_the_packages_that_the_sentences_promise() -> None:
    named = {"open_clip": "open-clip-torch", "faiss": "faiss-cpu"}  # others are named as their modules
    extras = PROJECT["optional-dependencies"]
    for extra, modules in EXTRAS.items():
        for module in modules:
            assert named.get(module, module) in names(extras[extra]), f"[{extra}] does not install {module}"
    assert names(PROJECT["dependencies"]).isdisjoint({"lightning", "torchmetrics", "matplotlib", "torchvision"})
    assert set(EXTRAS) | {"gpu", "docs", "dev"} == set(extras)
    (every,) = [each for each in extras["dev"] if each.startswith("realign[")]
    assert set(EXTRAS) - {"cpu"} == set(every[8:-1].split(","))  # a user chooses the build of FAISS


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModuleNotFoundError("No module named 'lightning'", name="lightning.pytorch"), "'realign[train]'"),
        (ImportError("T5Tokenizer requires the Nowhere library"), None),
        (ImportError("cannot import name 'x' from 'transformers'", name="transformers"), None),  # a broken one
        (ModuleNotFoundError("No module named 'realign.nowhere'", name="realign.nowhere"), None),
        (ValueError("lightning"), None),
    ],
)
def test_only_packages_of_extras_are_explained(error: Exception, told: str | None) -> None:
    found = of_import(error)
    assert found is None if told is None else told in str(found)


def test_an_import_error_that_names_an_absent_package_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    told = of_import(ImportError("T5Tokenizer requires the SentencePiece library but it was not found"))
    assert told is not None and told.endswith("is not installed; run pip install 'realign[hf]'.")


def test_commands_that_install() -> None:
    assert install("faiss") == "pip install 'realign[cpu]' (or 'realign[gpu]' with CUDA 12)"
    assert install("comet_ml") == "pip install comet-ml" and extra_of("comet_ml") is None
    assert install("gradio") == "pip install 'realign[demo]'"
