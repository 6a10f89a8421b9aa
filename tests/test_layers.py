"""Imports go down only, between packages and between files, and only a few packages know Lightning."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "realign"
# A package may import itself and packages of a higher number, but not another package on its own layer.
LAYER = {
    "cli": 0, "commands": 0, "training": 0, "trainer": 0,
    "evaluation": 1, "callbacks": 1, "demo": 1,
    "inference": 2,
    "guidance": 3,
    "tasks": 4,
    "nn": 5, "data": 5, "evaluators": 5, "render": 5,
    "checkpoint": 6, "interfaces": 6,
    "motion": 7, "text": 7, "diffusion": 7, "losses": 7, "metrics": 7, "index": 7,
    "batch": 8, "configuration": 8, "digest": 9, "distributed": 8, "seeding": 9, "errors": 9, "files": 9, "launcher": 9,
    "hub": 9, "precision": 9, "staging": 9, "threads": 9,
    "extras": 10, "file_names": 10, "masking": 10, "transfer": 10, "weight_names": 10, "library_errors": 10,
    "system": 10, "spelling": 10, "own_code": 10,
}  # fmt: skip
SAME_LAYER = {
    ("training", "commands"),
    ("cli", "commands"), ("cli", "training"), ("commands", "training"), ("training", "trainer"), ("files", "errors"),
    ("files", "hub"), ("hub", "errors"), ("launcher", "errors"), ("threads", "errors"), ("threads", "launcher"),
    ("files", "staging"), ("staging", "errors"),
}  # fmt: skip
LIGHTNING = {"cli", "training", "trainer", "callbacks", "tasks"}
NEVER = {("tasks", "data")}


def package_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or not path.stem.startswith("__"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    package = package_of(path)
    assert package in LAYER, f"{package} has no layer: give it one in LAYER"
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "lightning":
            assert package in LIGHTNING or path.name == "datamodule.py", f"{package} must not know Lightning"
        if parts[0] != "realign" or len(parts) < 2 or parts[1] not in LAYER or parts[1] == package:
            continue
        assert (package, parts[1]) not in NEVER
        assert LAYER[parts[1]] > LAYER[package] or (package, parts[1]) in SAME_LAYER, f"{package} imports {parts[1]}"


def test_no_circle_between_files() -> None:
    names = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in ROOT.rglob("*.py")}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    below = {name: {each for each in modules_of(path) if each in names} - {name} for name, path in names.items()}
    while ends := {name for name, others in below.items() if not others & below.keys()}:
        below = {name: others for name, others in below.items() if name not in ends}
    assert not below, f"files import each other in a circle: {sorted(below)}"


def modules_of(path: Path) -> set[str]:
    """Modules that a file imports; for ``from package import module``, the module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = {f"{node.module}.{alias.name}" for alias in node.names}
            folder = ROOT.parent / node.module.replace(".", "/")
            every = all((folder / f"{alias.name}.py").is_file() for alias in node.names)
            found |= modules if every else modules | {node.module}
    return found


@pytest.mark.parametrize("package", ["inference", "demo", "evaluation", "guidance", "nn", "evaluators", "index"])
def test_only_training_packages_import_lightning(package: str) -> None:
    names = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in ROOT.rglob("*.py")}
    files = {name.removesuffix(".__init__"): path for name, path in names.items()}
    left, seen = [name for name in files if f"{name}.".startswith(f"realign.{package}.")], set()
    while left:
        name = left.pop()
        seen.add(name)
        for each in imported_at_run_time(files[name]):
            assert each.partition(".")[0] != "lightning", f"{package} reaches lightning by {name}"
            parents = [each.rsplit(".", count)[0] for count in range(each.count(".") + 1)]
            left += [parent for parent in parents if parent in files and parent not in seen]


def imported_at_run_time(path: Path) -> set[str]:
    """Modules that a file imports, except those only for annotations."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found
