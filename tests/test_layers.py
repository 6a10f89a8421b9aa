"""The house rule: imports go down only, and only a few rooms know Lightning."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "realign"
# A room may import the rooms of a higher number, and itself; never a sibling on its own level.
LEVEL = {
    "cli": 0, "commands": 0, "training": 0, "trainer": 0,
    "pipeline": 1, "callbacks": 1,
    "tasks": 2,
    "nn": 3, "data": 3, "evaluators": 3,
    "checkpoint": 4,
    "motion": 5, "text": 5, "diffusion": 5, "losses": 5, "metrics": 5, "index": 5,
    "batch": 6, "configuration": 6, "seeding": 7, "masking": 8, "errors": 7, "files": 7, "staging": 7, "launcher": 7,
    "precision": 7, "staging": 7, "library_errors": 8, "system": 8,
}  # fmt: skip
SAME_LEVEL = {
    ("cli", "commands"), ("cli", "training"), ("commands", "training"), ("training", "trainer"), ("files", "errors"),
    ("launcher", "errors"), ("files", "staging"), ("staging", "errors"),
}  # fmt: skip
LIGHTNING = {"cli", "training", "trainer", "callbacks", "tasks"}
NEVER = {("tasks", "data")}


def room_of(path: Path) -> str:
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


MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    room = room_of(path)
    assert room in LEVEL, f"{room} has no level: place it in the house first"
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "lightning":
            assert room in LIGHTNING or path.name == "datamodule.py", f"{room} must not know Lightning"
        if parts[0] != "realign" or len(parts) < 2 or parts[1] not in LEVEL or parts[1] == room:
            continue
        assert (room, parts[1]) not in NEVER
        assert LEVEL[parts[1]] > LEVEL[room] or (room, parts[1]) in SAME_LEVEL, f"{room} imports {parts[1]}"
