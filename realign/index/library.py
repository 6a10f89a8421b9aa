"""A folder to search: the index of motions, with the index of their captions and the motions themselves inside it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from realign.errors import InputError
from realign.files import resolve_model
from realign.index import engine
from realign.index.joints import PackedJoints, write_joints
from realign.index.motion_index import MotionIndex
from realign.index.shards import Embedded
from realign.index.storage import KNOWN, KNOWN_FILE, MANIFEST, read_manifest
from realign.index.writing import write_embedded

CAPTIONS, JOINTS = "captions", "joints"


@dataclass(frozen=True)
class MotionLibrary:
    """Index, captions and motions of a folder.

    `MotionIndex.load` opens the same folder and sees the motions' index alone.

    Attributes:
        folder: Where it lies.
        motions: The index of the motions.
        captions: The index of their distinct captions, each under its text as id; None when there is none.
    """

    folder: Path
    motions: MotionIndex
    captions: MotionIndex | None

    @classmethod
    def load(cls, folder: str | Path, fingerprint: str | None = None) -> "MotionLibrary":
        """Open a folder, memory-mapped.

        Args:
            folder: Written by `write_library` or `MotionIndex.save`, or the name of an index that the package ships.
            fingerprint: The model whose embeddings will be the queries; another one's index is refused.

        Raises:
            InputError: As `MotionIndex.load`.
        """
        folder = resolve_model(folder)
        motions = MotionIndex.load(folder, fingerprint)
        inner = folder / CAPTIONS
        captions = MotionIndex.load(inner, motions.fingerprint) if inner.exists() else None
        return cls(folder, motions, captions)

    def joints(self) -> PackedJoints | None:
        """The motions in the order of the index; None where they are not stored.

        Raises:
            InputError: They are damaged, or not those of the index.
        """
        inner = self.folder / JOINTS
        if not inner.exists():
            return None
        packed = PackedJoints(inner)
        if len(packed) != len(self.motions):
            raise InputError(f"{inner} holds {len(packed)} motions and the index {len(self.motions)}; build it again")
        return packed

    def files(self) -> dict[str, Path]:
        """The files of the index, its captions, motions and calibration, by their names with slashes; no others.

        Raises:
            InputError: One of them is damaged.
        """
        self.joints()
        found: dict[str, Path] = {}
        for part in (self.folder, self.folder / CAPTIONS, self.folder / JOINTS, self.folder / KNOWN):
            if part.exists():
                names = [*read_manifest(part)["files"], MANIFEST, *([KNOWN_FILE] if part.name == KNOWN else [])]
                found |= {(part / name).relative_to(self.folder).as_posix(): part / name for name in names}
        return found


def write_library(
    folder: Path,
    motions: Embedded,
    captions: Embedded | None = None,
    joints: Iterable[Float[np.ndarray, "F J 3"]] | None = None,
    about_joints: dict[str, Any] | None = None,
    *,
    fingerprint: str,
    factory: str | None = None,
) -> None:
    """Write a folder to search, in bounded memory; within `files.atomic_path`, all or nothing.

    Args:
        folder: The folder to make.
        motions: The motions, each id once.
        captions: Their distinct captions, each under its text as id.
        joints: The motions in the same order, to keep them in the folder too.
        about_joints: Entries of their manifest: skeleton and fps.
        fingerprint: Names the model that made all embeddings.
        factory: A FAISS factory string for the motions; chosen by their number when None.

    Raises:
        InputError: As `MotionIndex.build`.
    """
    write_embedded(folder, motions, fingerprint=fingerprint, factory=factory)
    if captions is not None and len(captions):
        # 16-bit numbers change no rank measurably and take half the memory; there are more captions than motions.
        chosen = "SQfp16" if len(captions) < engine.EXACT_BELOW else None
        write_embedded(folder / CAPTIONS, captions, fingerprint=fingerprint, factory=chosen)
    if joints is not None:
        write_joints(joints, folder / JOINTS, about_joints or {})
