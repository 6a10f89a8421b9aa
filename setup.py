"""The repository's configurations travel inside the package, as ``realign/configs``; all else is in pyproject.toml."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["realign*"]), "realign.configs"],
    package_dir={"realign.configs": "configs"},
)
