"""The files around the code agree with pyproject.toml: oldest versions, workflow, hooks, citation, container."""

import fnmatch
import importlib.util
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from setuptools.config.pyprojecttoml import load_file

import realign

ROOT = Path(__file__).parents[1]
PROJECT = load_file(str(ROOT / "pyproject.toml"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def oldest(project: dict[str, Any]) -> list[str]:
    spec = importlib.util.spec_from_file_location("oldest", ROOT / ".ci" / "oldest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.oldest(project)


def extras_in(text: str) -> set[str]:
    """Extras that commands install."""
    return {extra for found in re.findall(r"\.\[([\w,]+)\]", text) for extra in found.split(",")}


def test_every_requirement_has_an_oldest_version_that_is_tested() -> None:
    pins = dict(line.split("==") for line in oldest(PROJECT))
    wanted = [*PROJECT["dependencies"], *(each for extra in EXTRAS.values() for each in extra)]
    for requirement in wanted:
        name, bounds = re.match(r"([\w.-]+)(?:\[[\w,]+\])?(.*)", requirement).groups()
        if name != "realign" and ";" not in bounds:
            assert bounds.split(",")[0] == f">={pins[name]}"
    assert len(pins) > 30


@pytest.mark.parametrize("more", ["package", "package<3", "torch>=1.0"])
def test_a_requirement_without_one_oldest_version_is_refused(more: str) -> None:
    project = {"name": "realign", "dependencies": ["torch>=2.6", more], "optional-dependencies": {}}
    with pytest.raises(ValueError, match=f"{re.escape(more)} needs one lower bound"):
        oldest(project)


def test_the_workflow_tests_the_oldest_and_the_newest_python() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text("utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    versions = [re.fullmatch(r".*:: 3\.(\d+)", each) for each in PROJECT["classifiers"]]
    minors = sorted(int(each[1]) for each in versions if each)
    tried = {each["versions"]: each["python"] for each in jobs["tests"]["strategy"]["matrix"]["include"]}
    assert tried == {"oldest": f"3.{minors[0]}", "newest": f"3.{minors[-1]}"}
    assert PROJECT["requires-python"] == f">=3.{minors[0]}"
    assert extras_in(text) <= set(EXTRAS)
    readme = (ROOT / "README.md").read_text("utf-8")
    first = re.search(r"<!-- main-job -->\n```bash\n(.*)\n```", readme)[1]
    assert first in [step.get("run") for step in jobs["main-job"]["steps"]]


def test_scripts_are_shell() -> None:
    for name in ("run", "browser"):
        subprocess.run(["bash", "-n", str(ROOT / ".ci" / name)], check=True)
    assert extras_in((ROOT / ".ci/run").read_text("utf-8")) <= set(EXTRAS)


def test_hooks_are_programs_of_the_extra_dev() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    assert repository["repo"] == "local"
    programs = {hook["entry"].split()[0] for hook in repository["hooks"]}
    installed = {re.split(r"[^\w-]", each)[0] for each in EXTRAS["dev"]}
    assert programs == {"ruff", "mypy"} <= installed
    assert all(hook["language"] == "system" for hook in repository["hooks"])


def test_the_citation_names_this_version_and_the_paper() -> None:
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(told)
    assert (told["title"], str(told["version"])) == (PROJECT["name"], PROJECT["version"])
    assert realign.__version__ == PROJECT["version"]
    assert told["authors"] == PROJECT["authors"] and told["keywords"] == PROJECT["keywords"]
    assert " AND ".join(told["license"]) == PROJECT["license"]
    (paper,) = told["references"]
    readme = (ROOT / "README.md").read_text("utf-8")
    names = " and ".join(f"{each['family-names']}, {each['given-names']}" for each in paper["authors"])
    for text in (names, paper["doi"], paper["identifiers"][0]["value"].removeprefix("arXiv:")):
        assert text in readme


@pytest.fixture(scope="module")
def stages() -> dict[str, dict[str, Any]]:
    """Stages of the Dockerfile by name: what each is made from, and its instructions."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, dict[str, Any]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()
            lines: list[tuple[str, str]] = []
            found[name] = {"from": base, "lines": lines}
        else:
            lines.append((word, rest))
    return found


def instructions(stages: dict[str, dict[str, Any]], name: str) -> list[tuple[str, str]]:
    """Instructions of a stage after those of the stages that it is made from."""
    base = stages[name]["from"]
    return (instructions(stages, base) if base in stages else []) + stages[name]["lines"]


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_a_container_runs_the_command_without_rights(stages: dict[str, dict[str, Any]], target: str) -> None:
    told = instructions(stages, target)
    last = {word: rest for word, rest in told}
    assert last["USER"] not in ("root", "0") and any(last["USER"] in rest for word, rest in told if word == "RUN")
    assert [last["USER"]] == [rest for word, rest in told if word == "USER"]
    (program,) = json.loads(last["ENTRYPOINT"])
    assert program in PROJECT["scripts"] and json.loads(last["CMD"]) == ["--help"]
    build = re.match(r"--from=(\S+) (\S+) \2$", last["COPY"])
    order = list(stages)
    assert order.index(build[1]) < order.index(target)
    assert f"PATH={build[2]}/bin:$PATH" in last["ENV"]
    made = instructions(stages, build[1])
    (extra,) = extras_in(" ".join(rest for word, rest in made if word == "RUN"))
    assert extra == {"cpu": "cpu", "cuda": "gpu"}[target] and extra in EXTRAS
    assert stages[target]["from"] == "run" and stages["run"]["from"] == stages["source"]["from"]  # one Python


def test_a_container_is_built_from_files_that_it_is_sent(stages: dict[str, dict[str, Any]]) -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    copied = [rest.split() for word, rest in stages["source"]["lines"] if word == "COPY"]
    names = {name for *some, _ in copied for name in some}
    assert ignored[0] == "*" and names == sent and all((ROOT / name).exists() for name in names)
    needed = {"pyproject.toml", "setup.py", PROJECT["readme"], "realign", "configs"}
    needed |= {each for each in PROJECT["license-files"] if "/" not in each}
    assert needed <= names
    python = re.fullmatch(r"python:(3\.\d+)-slim", stages["source"]["from"])[1]
    assert any(fnmatch.fnmatch(each, f"*:: {python}") for each in PROJECT["classifiers"])


def test_files_of_tests_have_different_names() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert len(names) == len(set(names)), "pytest cannot collect two files of one name"
