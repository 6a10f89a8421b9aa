"""Batches and text features, which data, models and callbacks exchange."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from realign.errors import InputError
from realign.masking import lengths_to_mask
from realign.transfer import upload


@dataclass
class TextFeatures:
    """Frozen features of B captions: L words of width D and one pooled vector each.

    Attributes:
        tokens: Word features, zero where the mask is False.
        mask: True where a word exists.
        pooled: One vector for the caption.
    """

    tokens: Float[Tensor, "B L D"]
    mask: Bool[Tensor, "B L"]
    pooled: Float[Tensor, "B D"]

    def __len__(self) -> int:
        return len(self.pooled)

    def __getitem__(self, rows: slice | Tensor | list[int]) -> "TextFeatures":
        return TextFeatures(self.tokens[rows], self.mask[rows], self.pooled[rows])

    def to(self, target: torch.device | torch.dtype | str) -> "TextFeatures":
        """Move to a device, or turn the floating-point parts into a dtype."""
        if isinstance(target, torch.dtype):
            return TextFeatures(self.tokens.to(target), self.mask, self.pooled.to(target))
        return TextFeatures(*(upload(each, target) for each in (self.tokens, self.mask, self.pooled)))

    def clone(self) -> "TextFeatures":
        """Copies that a gradient may flow through, also when made under ``inference_mode``."""
        return TextFeatures(self.tokens.clone(), self.mask.clone(), self.pooled.clone())

    @staticmethod
    def cat(parts: Sequence["TextFeatures"]) -> "TextFeatures":
        """Join along the batch; shorter word axes are padded with masked zeros."""
        longest = max(part.mask.shape[1] for part in parts)

        def pad(x: Tensor) -> Tensor:
            missing = longest - x.shape[1]
            return torch.cat([x, x.new_zeros(len(x), missing, *x.shape[2:])], 1) if missing else x

        return TextFeatures(
            torch.cat([pad(part.tokens) for part in parts]),
            torch.cat([pad(part.mask) for part in parts]),
            torch.cat([part.pooled for part in parts]),
        )


@dataclass
class MotionTextBatch:
    """B motions with one caption each.

    Attributes:
        motion: Motion features as stored (not normalised), zero-padded to F frames.
        lengths: Frames of each motion.
        captions: One each.
        ids: Names of the clips.
        seeds: One seed a sample: every random draw that concerns the sample comes from it.
    """

    motion: Float[Tensor, "B F C"]
    lengths: Int[Tensor, "B"]
    captions: list[str]
    ids: list[str]
    seeds: Int[Tensor, "B"]

    def __post_init__(self) -> None:
        sizes = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(sizes.values())) != 1:
            raise InputError(f"A batch needs one entry a sample in every field, but their sizes are {sizes}.")

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, rows: slice) -> "MotionTextBatch":
        return MotionTextBatch(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def mask(self) -> Bool[Tensor, "B F"]:
        """True where a frame exists."""
        return lengths_to_mask(self.lengths, self.motion.shape[1])

    def to(self, device: torch.device | str) -> "MotionTextBatch":
        """Move the motion and lengths; seeds stay on the CPU, where dropout is seeded by them without a wait."""
        return replace(self, motion=upload(self.motion, device), lengths=upload(self.lengths, device))

    def pin_memory(self) -> "MotionTextBatch":
        """Copy into page-locked memory, for fast transfer to a GPU."""
        return replace(self, motion=self.motion.pin_memory(), lengths=self.lengths.pin_memory())
