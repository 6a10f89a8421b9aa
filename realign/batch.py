"""Batches and text features."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

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
        """Move to a device, or convert the floating-point parts to a dtype."""
        if isinstance(target, torch.dtype):
            return TextFeatures(self.tokens.to(target), self.mask, self.pooled.to(target))
        return TextFeatures(*(upload(each, target) for each in (self.tokens, self.mask, self.pooled)))

    def clone(self) -> "TextFeatures":
        """Copies that support gradients, also of tensors made under ``inference_mode``."""
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
class CaptionFeatures:
    """Frozen features of B captions as stored in a file: in half precision, one caption after another.

    Attributes:
        captions: The captions.
        rows: R vectors: for each caption the pooled vector, then its words.
        places: Row of the pooled vector and of each word, -1 if there is no word.
    """

    captions: list[str]
    rows: Float[Tensor, "R D"]
    places: Int[Tensor, "B P"]

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, chosen: slice) -> "CaptionFeatures":
        return CaptionFeatures(self.captions[chosen], self.rows, self.places[chosen])

    def to(self, device: torch.device | str) -> "CaptionFeatures":
        """Move to a device."""
        return CaptionFeatures(self.captions, upload(self.rows, device), upload(self.places, device))

    def pin_memory(self) -> "CaptionFeatures":
        """Copy into page-locked memory, for fast transfer to a GPU."""
        return CaptionFeatures(self.captions, self.rows.pin_memory(), self.places.pin_memory())

    def features(self) -> TextFeatures:
        """The features in float32, padded to the longest caption, on the device of the rows."""
        rows = torch.cat([self.rows.float(), self.rows.new_zeros(1, self.rows.shape[1], dtype=torch.float32)])
        there = self.places >= 0
        found = torch.nn.functional.embedding(self.places.where(there, len(self.rows)), rows)
        return TextFeatures(found[:, 1:], there[:, 1:], found[:, 0])

    @staticmethod
    def cat(parts: Sequence["CaptionFeatures"]) -> "CaptionFeatures":
        """Join along the batch."""
        most = max(part.places.shape[1] for part in parts)
        before, places = 0, []
        for part in parts:
            moved = part.places + (part.places >= 0) * before
            places.append(torch.nn.functional.pad(moved, (0, most - moved.shape[1]), value=-1))
            before += len(part.rows)
        captions = [caption for part in parts for caption in part.captions]
        return CaptionFeatures(captions, torch.cat([part.rows for part in parts]), torch.cat(places))


@dataclass
class MotionTextBatch:
    """B motions with one caption each.

    Attributes:
        motion: Motion features as stored (not normalised), zero-padded to F frames.
        lengths: Frames of each motion.
        captions: One each.
        ids: Names of the clips.
        seeds: One seed per sample, from which every random draw of the sample comes.
        text: Features of the captions by encoder fingerprint, if the loader has read any.
    """

    motion: Float[Tensor, "B F C"]
    lengths: Int[Tensor, "B"]
    captions: list[str]
    ids: list[str]
    seeds: Int[Tensor, "B"]
    text: dict[str, CaptionFeatures] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = {each.name: len(getattr(self, each.name)) for each in fields(self) if each.name != "text"}
        sizes |= {f"text of {name}": len(each) for name, each in self.text.items()}
        if len(set(sizes.values())) != 1:
            raise InputError(f"A batch needs one entry per sample in every field, but their sizes are {sizes}.")

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, rows: slice) -> "MotionTextBatch":
        text = {name: each[rows] for name, each in self.text.items()}
        parts = {each.name: getattr(self, each.name)[rows] for each in fields(self) if each.name != "text"}
        return MotionTextBatch(**parts, text=text)

    @property
    def mask(self) -> Bool[Tensor, "B F"]:
        """True where a frame exists."""
        return lengths_to_mask(self.lengths, self.motion.shape[1])

    def to(self, device: torch.device | str) -> "MotionTextBatch":
        """Move motion, lengths and text; seeds stay on the CPU, so that seeding dropout does not wait for a device."""
        text = {name: each.to(device) for name, each in self.text.items()}
        return replace(self, motion=upload(self.motion, device), lengths=upload(self.lengths, device), text=text)

    def pin_memory(self) -> "MotionTextBatch":
        """Copy into page-locked memory, for fast transfer to a GPU."""
        text = {name: each.pin_memory() for name, each in self.text.items()}
        return replace(self, motion=self.motion.pin_memory(), lengths=self.lengths.pin_memory(), text=text)
