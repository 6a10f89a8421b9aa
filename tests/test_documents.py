"""The documents name links, commands, configurations and Python names that exist."""

import ast
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from test_layers import LAYER

from realign.cli import OLD_NAMES, TRAINING, parse
from realign.commands.training import OPTIONS
from realign.configuration import configs_folder, find_config

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("realign/pretrained/*.md")])
NAMED = [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in PAGES]


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The arguments of every realign command in the shell blocks of a page."""
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [found[found.index("realign") + 1 :] for found in words if "realign" in found]


def anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def test_pages_are_found() -> None:
    assert len(PAGES) >= 8 and sum(len(commands(page)) for page in PAGES) > 30


@pytest.mark.parametrize("page", NAMED)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{link} leads nowhere"
        headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE) if heading else []
        assert not heading or heading in map(anchor, headings), f"{link} names no heading"


@pytest.mark.parametrize("page", NAMED)
def test_commands_parse(page: Path) -> None:
    for words in commands(page):
        assert words[0] not in OLD_NAMES, f"realign {words[0]} is an old name"
        if words[0] not in TRAINING:
            parse(words)  # exits with a usage page if an option does not exist
            continue
        for name, value in zip(words, [*words[1:], ""], strict=True):
            if name.startswith("--"):
                assert name[2:].partition(".")[0] in OPTIONS
            if name == "--config" and value != "mine.yaml":
                find_config(value)


@pytest.mark.parametrize("page", NAMED)
def test_python_imports_exist(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("realign"):
                module = import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names), f"{node.module} lacks a name"


@pytest.mark.parametrize("page", NAMED)
def test_configurations_and_files_named_exist(page: Path) -> None:
    for name in re.findall(r"`((?:configs|docs|realign|tests|benchmarks)/[\w./-]+)`", page.read_text("utf-8")):
        assert (ROOT / name).exists(), f"there is no {name}"


def test_the_architecture_block_matches_the_layers() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## Architecture")[2]
    lines = re.findall(r"^(\w+(?:, \w+)*)", text.partition("```")[2].partition("```")[0], re.MULTILINE)
    layers = [LAYER[name] for line in lines for name in line.split(", ")]
    assert layers == sorted(layers) and len(layers) == len(LAYER)


def test_classes_named_in_yaml_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"class_path: ?\n?\s*(realign\.[\w.]+)", page.read_text("utf-8")):
            module, _, found = name.rpartition(".")
            assert hasattr(import_module(module), found), f"{page.name}: there is no {name}"


def test_configurations_that_comments_name_exist() -> None:
    folder = configs_folder()
    for path in folder.glob("*/*.yaml"):
        for name in re.findall(r"--config ([\w/]+)|configs/([\w/]+)\.yaml", path.read_text("utf-8")):
            find_config(next(filter(None, name)))


def test_the_site_has_every_page_and_notebook_once() -> None:
    text = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    named = sorted(re.findall(r": ([\w./-]+\.(?:md|ipynb))$", text, re.MULTILINE))
    folder = ROOT / "docs"
    pages = [path.relative_to(folder).as_posix() for path in folder.rglob("*.md")]
    pages += [f"notebooks/{path.name}" for path in ROOT.glob("notebooks/*.ipynb")]
    outside = ["index.md", "contributing.md", "changelog.md", "weights.md"]  # of docs/hooks.py
    assert named == sorted(pages + outside), "name new pages in the nav of mkdocs.yml"
