"""A folder to search: the index of motions, with the index of their captions and the motions themselves inside it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from realign.errors import InputError
from realign.files import atomic_path, model_path
from realign.index import engine, storage
from realign.index.items import MotionItem
from realign.index.joints import PackedJoints, write_joints
from realign.index.motion_index import MotionIndex

CAPTIONS, JOINTS = "captions", "joints"


@dataclass(frozen=True)
class MotionLibrary:
    """What a search needs beside the model.

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
        folder = model_path(folder)
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


def write_library(
    folder: str | Path,
    motions: MotionIndex,
    captions: Mapping[str, Float[np.ndarray, "E"]],
    joints: Iterable[Float[np.ndarray, "F J 3"]] | None = None,
    about_joints: dict[str, Any] | None = None,
) -> None:
    """Write a folder to search, all or nothing; an index that is there is replaced.

    Args:
        folder: The folder.
        motions: The index of the motions.
        captions: Embeddings of their distinct captions, by the same model.
        joints: The motions, in the order of the index, to keep them in the folder too.
        about_joints: Entries of the motions' manifest: skeleton and fps.

    Raises:
        InputError: The path is not an index to replace, or an embedding holds NaN.
    """
    storage.check_replaceable(Path(folder))
    with atomic_path(folder) as temporary:
        motions.save(temporary)
        if captions:
            texts = list(captions)
            # 16-bit numbers change no rank measurably and take half the memory; there are more captions than motions.
            factory = "SQfp16" if len(texts) < engine.EXACT_BELOW else None
            index = MotionIndex.build(
                np.stack([captions[text] for text in texts]),
                [MotionItem(text) for text in texts],
                fingerprint=motions.fingerprint,
                factory=factory,
            )
            index.save(temporary / CAPTIONS)
        if joints is not None:
            write_joints(joints, temporary / JOINTS, about_joints or {})
