"""Find body models in a folder, in any form in which they are downloaded."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from realign.errors import InputError
from realign.files import data_files
from realign.motion.npz import Npz
from realign.motion.smpl import NAMES, BodyModel

_GENDERS = {"female": "female", "f": "female", "male": "male", "m": "male", "neutral": "neutral", "n": "neutral"}
PACKED = (".zip", ".xz", ".gz", ".tgz", ".tar", ".bz2")
_STAND_INS = {"smplh": ("smpl",), "smpl": ("smplh",), "smplx": ()}  # SMPL and SMPL+H share their shape space
_ADDRESS = {
    "smplh": "'Extended SMPL+H model' (smplh.tar.xz) of mano.is.tue.mpg.de",
    "smplx": "the .npz models of smpl-x.is.tue.mpg.de",
    "smpl": "an .npz model of SMPL (smpl.is.tue.mpg.de)",
}


@dataclass
class BodyModels:
    """The models of a folder by kind and gender.

    Attributes:
        folder: The folder.
        found: Models by (kind, gender).
        paths: Their files.
        faults: Messages about files that cannot be read.
    """

    folder: Path
    found: dict[tuple[str, str], BodyModel] = field(default_factory=dict)
    paths: dict[tuple[str, str], Path] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, folder: str | Path) -> "BodyModels":
        """Read all models of a folder and its subfolders; a file is recognised by its arrays, its gender by its path.

        Args:
            folder: As unpacked (male/model.npz), as body-model packages expect (smplh/SMPLH_MALE.npz), or above these.

        Raises:
            InputError: There is no model, two different models of a kind and gender, or one body for both genders.
        """
        models = cls(Path(folder))
        if not models.folder.is_dir():
            raise InputError(f"The folder of body models {folder} does not exist; check the path.")
        for path in data_files(models.folder, ".npz", recursive=True):
            gender, model = _gender(path.relative_to(models.folder)), None
            try:
                with Npz(path) as file:
                    is_body = "J_regressor" in file
                if is_body and gender:
                    model = BodyModel.read(path)
            except (InputError, OSError) as error:
                models.faults.append(str(error).rstrip("."))
            if gender and model is not None:
                models._add(gender, path, model)
        models._check()
        return models

    def kinds(self) -> set[str]:
        """Kinds with a model."""
        return {kind for kind, _ in self.found}

    def get(self, kind: str, gender: str) -> BodyModel:
        """The model of a kind and gender; SMPL and SMPL+H replace each other if only one of them exists.

        Raises:
            InputError: There is none; the message names the download.
        """
        for each in (kind, *_STAND_INS[kind]):
            if (each, gender) in self.found:
                return self.found[each, gender]
        there = ", ".join(sorted(f"{g} {NAMES[k]}" for k, g in self.found))
        fault = f" ({self.faults[0]})" if self.faults else ""
        raise InputError(
            f"{self.folder} holds no {gender} {NAMES[kind]} model, only {there}{fault}; add it from {_ADDRESS[kind]}."
        )

    def _add(self, gender: str, path: Path, model: BodyModel) -> None:
        key = (model.kind, gender)
        other = self.found.get(key)
        if other is not None and not _same(model, other):
            raise InputError(
                f"{self.paths[key]} and {path} are different {gender} {NAMES[model.kind]} models; keep one of them."
            )
        if other is None or model.num_betas > other.num_betas:
            self.found[key], self.paths[key] = model, path

    def _check(self) -> None:
        if not self.found:
            raise InputError(self._nothing())
        for kind in sorted(self.kinds()):
            male, female = (self.found.get((kind, gender)) for gender in ("male", "female"))
            if male is not None and female is not None and _same(male, female):
                raise InputError(
                    f"{self.paths[kind, 'male']} and {self.paths[kind, 'female']} hold the same body; one of them has "
                    "the file of the wrong gender: unpack the download again."
                )

    def _nothing(self) -> str:
        """Why a folder cannot be used, and the remedy."""
        if self.faults:
            return f"No body model in {self.folder} can be read: {self.faults[0]}."
        if packed := [path for path in sorted(self.folder.rglob("*")) if path.suffix.lower() in PACKED]:
            return f"{self.folder} holds no body model, but {packed[0].name}; unpack it there first."
        remedy = f"download {_ADDRESS['smplh']} and unpack it: male/model.npz, female/model.npz"
        if pickles := data_files(self.folder, ".pkl", recursive=True):
            return f"{pickles[0]} is pickled code, which is not executed; {remedy}."
        return f"{self.folder} holds no body model; {remedy}."


def _same(a: BodyModel, b: BodyModel) -> bool:
    return a.rest.shape == b.rest.shape and bool(np.abs(a.rest - b.rest).max() < 1e-9)


def _gender(path: Path) -> str | None:
    """The gender in a path: in the file's name or in the nearest folder above it."""
    for part in reversed(path.with_suffix("").parts):
        for word in re.findall(r"[a-z]+", part.lower()):
            if word in _GENDERS:
                return _GENDERS[word]
    return None
