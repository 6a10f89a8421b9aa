"""The guidance that belongs to a generator, from ``guidance.yaml`` beside its weights."""

from dataclasses import dataclass
from pathlib import Path

from realign.checkpoint.guidance import PLACES, place_of, read_guidance
from realign.errors import InputError
from realign.file_names import GUIDANCE
from realign.guidance.config import GuidanceConfig
from realign.hub import HubName


@dataclass(frozen=True)
class OwnGuidance:
    """The default guidance of a generator.

    Attributes:
        reward: Folder of the reward, beside the generator's, or its repository on the Hub.
        index: The same of an index that this reward made.
        config: The options in the file.
        known: The same of the index whose calibration tells which captions the generator knows; None is
            `index`.
    """

    reward: Path | HubName
    index: Path | HubName
    config: GuidanceConfig = GuidanceConfig()
    known: Path | HubName | None = None

    @classmethod
    def read(cls, folder: str | Path) -> "OwnGuidance | None":
        """Read the guidance in a generator's folder; None if there is none.

        Raises:
            InputError: The file cannot be read, holds unknown names or values that do not fit, or names another folder.
        """
        folder = Path(folder)
        given = read_guidance(folder)
        if given is None:
            return None
        reward, index = (place_of(folder, given.pop(name, PLACES[name]), name) for name in ("reward", "index"))
        known = place_of(folder, given.pop("known"), "known index") if "known" in given else None
        try:
            return cls(reward, index, GuidanceConfig.of(given), known)
        except InputError as error:
            raise InputError(
                f"{folder / GUIDANCE} does not describe a guidance ({error}); correct or remove it."
            ) from error
