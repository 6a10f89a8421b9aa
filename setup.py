"""The repository's configurations travel inside the package, as ``realign/configs``; all else is in pyproject.toml."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[
        *find_namespace_packages(include=["realign*"]),
        "realign.configs",
        *(f"realign.configs.{folder}" for folder in find_namespace_packages("configs")),
    ],
    package_dir={"realign.configs": "configs"},
)
