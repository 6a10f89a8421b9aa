"""The reward and index that belong to a generator."""

from functools import cached_property
from pathlib import Path
from statistics import median

import torch

from realign.checkpoint.load import load_model
from realign.errors import InputError
from realign.files import resolve_model
from realign.hub import HubName
from realign.index.motion_index import MotionIndex
from realign.motion.skeleton import get_skeleton
from realign.nn.embedder import JointEmbedding

_HITS = 10  # their median is taken: on mocap, 10 to 20 came nearest to the lengths of recorded clips


class Guide:
    """A reward and its index; each is loaded once, when it is first needed.

    Args:
        reward: Checkpoint or folder of the reward, or its repository on the Hub.
        index: The same of the index.
        device: Where the reward works.
        trust_code: Let the reward's configuration name classes outside realign.
    """

    def __init__(
        self, reward: Path | HubName, index: Path | HubName, device: torch.device, trust_code: bool = False
    ) -> None:
        self.places, self.device, self.trust_code = (reward, index), device, trust_code

    @cached_property
    def paths(self) -> tuple[Path, Path]:
        """Reward and index on this machine; what is on the Hub is downloaded.

        Raises:
            InputError: It cannot be.
        """
        reward, index = map(resolve_model, self.places)
        return reward, index

    @cached_property
    def reward(self) -> JointEmbedding:
        """The reward, frozen and in evaluation mode.

        Raises:
            InputError: The file is missing, foreign or damaged.
        """
        with torch.inference_mode(False):  # gradients are taken through it
            reward = load_model(self.paths[0], JointEmbedding, trust_code=self.trust_code)  # type: ignore[type-abstract]
            return reward.requires_grad_(False).to(self.device)

    @cached_property
    def index(self) -> MotionIndex:
        """The index.

        Raises:
            InputError: It is missing or damaged, or another model made it.
        """
        index = MotionIndex.load(self.paths[1])
        if index.fingerprint != self.reward.fingerprint:
            raise InputError(
                f"The index at {self.paths[1]} was made by the model {index.fingerprint!r}, but the reward at "
                f"{self.paths[0]} is {self.reward.fingerprint!r}; build an index with this reward, or set eta to 0, "
                "which compares with no real motions."
            )
        return index

    def seconds(self, caption: str) -> float | None:
        """Median length (s) of the motions that the index finds for a caption; None if it holds no lengths."""
        with torch.inference_mode(False), torch.no_grad():
            # alone, since a batch may change the last bits and with them a rank
            query = self.reward.embed_captions([caption])
        (found,) = self.index.search(query, min(_HITS, len(self.index))).items
        frames = [item.frames for item in found if item.frames]
        return median(frames) / get_skeleton(self.reward.skeleton).fps if frames else None
