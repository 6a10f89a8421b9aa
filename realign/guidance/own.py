"""The guidance that belongs to a generator: what ``guidance.yaml`` beside its weights says."""

from dataclasses import dataclass
from pathlib import Path

from realign.checkpoint.guidance import beside, read_guidance
from realign.checkpoint.saved import GUIDANCE
from realign.errors import InputError
from realign.guidance.config import GuidanceConfig


@dataclass(frozen=True)
class OwnGuidance:
    """How a generator is guided where nobody says otherwise.

    Attributes:
        reward: Folder of the reward, beside the generator's.
        index: Folder of an index that this reward made, beside them.
        config: What the file says of the fields of `GuidanceConfig`.
    """

    reward: Path
    index: Path
    config: GuidanceConfig = GuidanceConfig()

    @classmethod
    def read(cls, folder: str | Path) -> "OwnGuidance | None":
        """What the folder of a generator says; None where it says nothing.

        Raises:
            InputError: A file that cannot be read, with unknown names or values that do not fit, or that names what
                lies elsewhere.
        """
        folder = Path(folder)
        given = read_guidance(folder)
        if given is None:
            return None
        reward = beside(folder, given.pop("reward", "reward"), "reward")
        index = beside(folder, given.pop("index", "reward_index"), "index")
        try:
            return cls(reward, index, GuidanceConfig.of(given))
        except InputError as error:
            raise InputError(
                f"{folder / GUIDANCE} does not describe a guidance ({error}); correct or remove it."
            ) from error
