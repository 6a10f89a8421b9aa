"""Print the oldest versions that pyproject.toml allows, as constraints for pip.

pip install -e '.[cpu,dev]' -c <(python .ci/oldest.py)
"""

import re
import sys
from pathlib import Path

from setuptools.config.pyprojecttoml import load_file


def oldest(project: dict) -> list[str]:
    """A line for each requirement of a project table, its extras included.

    Args:
        project: The table `project` of pyproject.toml.

    Raises:
        ValueError: A requirement has no lower bound, or a package has two.
    """
    found: dict[str, str] = {}
    extras = project.get("optional-dependencies", {}).values()
    for requirement in [*project["dependencies"], *(each for extra in extras for each in extra)]:
        name = re.split(r"[^\w.-]", requirement)[0]
        if name == project["name"] or "platform_system" in requirement:  # its own extras; builds of one system
            continue
        bound = re.search(r">=([\w.]+)", requirement)
        if bound is None or found.get(name, bound[1]) != bound[1]:
            raise ValueError(f"{requirement} needs one lower bound, the oldest version that is tested")
        found[name] = bound[1]
    return [f"{name}=={version}" for name, version in sorted(found.items(), key=lambda each: each[0].lower())]


if __name__ == "__main__":
    sys.stdout.write("\n".join(oldest(load_file(str(Path(__file__).parents[1] / "pyproject.toml"))["project"])) + "\n")
