"""Samples longer than a model was trained on: overlapping windows, whose predictions are blended at every step.

The sampler denoises whole sequences. At each step the model predicts every window by itself, from its own caption, and
where two windows overlap the prediction fades from one to the other (MultiDiffusion, Bar-Tal et al. 2023; for motions
PriorMDM, Shafir et al. 2024). Both windows of a seam thus see the same noisy tokens, and agree on them step by step.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from realign.errors import InputError
from realign.masking import lengths_to_mask
from realign.transfer import upload


class WindowPlan:
    """Where the windows of sequences lie, in frames. No sequence depends on the others.

    Args:
        parts: For each of B sequences, the frames of its parts, in order: one window each.
        overlap: Frames over which neighbouring windows fade into each other, half of them on either side of the seam;
            fewer where a part is shorter.
        unit: Windows begin at multiples of so many frames, as parts do.

    Attributes:
        lengths: Frames of each sequence.
        rows: The sequence of each of the L windows.
        starts: First frame of each window in its sequence.
        window_lengths: Frames of each window: its part, and half an overlap beyond each seam.
        fades: Frames that each window shares with the one before it and with the one after it.

    Raises:
        InputError: A part is not a positive multiple of the unit.
    """

    def __init__(self, parts: Sequence[Sequence[int]], overlap: int = 24, unit: int = 4) -> None:
        wrong = next((frames for each in parts for frames in each if frames < 1 or frames % unit), None)
        if wrong is not None or not all(parts):
            raise InputError(f"A part of {wrong or 0} frames cannot be made; give a multiple of {unit} frames.")
        self.parts, self.overlap, self.unit = [list(each) for each in parts], overlap, unit
        self.lengths = [sum(each) for each in parts]
        self.rows: list[int] = []
        self.starts: list[int] = []
        self.window_lengths: list[int] = []
        self.fades: list[tuple[int, int]] = []
        for row, sequence in enumerate(parts):
            seams = [min(overlap, *pair) // (2 * unit) * 2 * unit for pair in zip(sequence, sequence[1:], strict=False)]
            start = 0
            for frames, before, after in zip(sequence, [0, *seams], [*seams, 0], strict=True):
                self.rows.append(row)
                self.starts.append(start - before // 2)
                self.window_lengths.append(before // 2 + frames + after // 2)
                self.fades.append((before, after))
                start += frames

    def repeat(self, times: int) -> "WindowPlan":
        """The same sequences several times."""
        return WindowPlan(self.parts * times, self.overlap, self.unit)

    def over(self, window_mask: Bool[Tensor, "L K"], stride: int = 1) -> "Windows":
        """The windows over tokens of `stride` frames.

        Args:
            window_mask: Which tokens exist in each window, on the device of the samples.
            stride: Frames of a token.

        Raises:
            InputError: A window does not begin at a token.
        """
        return Windows(self, window_mask, stride)

    def of_frames(self, device: torch.device) -> "tuple[Windows, Int[Tensor, 'L']]":
        """The windows over frames, and the frames of each."""
        lengths = upload(torch.tensor(self.window_lengths), device)
        return self.over(lengths_to_mask(lengths, max(self.window_lengths))), lengths


class Windows:
    """Cuts windows out of sequences of tokens, and blends what belongs to windows into what belongs to sequences.

    A space may add tokens behind the frames of a window. They belong to that window alone, and lie behind the frames of
    its sequence.

    Args:
        plan: Where the windows lie.
        window_mask: Which tokens exist in each window.
        stride: Frames of a token.

    Attributes:
        mask: Which tokens exist in the sequences.
        window_mask: The argument.

    Raises:
        InputError: A window does not begin at a token.
    """

    def __init__(self, plan: WindowPlan, window_mask: Bool[Tensor, "L K"], stride: int) -> None:
        if any(
            frames % stride for start, fade in zip(plan.starts, plan.fades, strict=True) for frames in (start, *fade)
        ):
            raise InputError(f"Windows must begin at whole tokens of {stride} frames; take a unit of so many.")
        self.window_mask, device = window_mask, window_mask.device
        counts, width = window_mask.sum(1).tolist(), window_mask.shape[1]
        inner = [-(-frames // stride) for frames in plan.window_lengths]
        ends = [-(-frames // stride) for frames in plan.lengths]  # further tokens of single windows follow
        places: list[list[int]] = []
        for row, start, frames, count in zip(plan.rows, plan.starts, inner, counts, strict=True):
            places.append(
                [*range(start // stride, start // stride + frames), *range(ends[row], ends[row] + count - frames)]
            )
            ends[row] += count - frames
        size = max(ends)
        cut = torch.zeros(len(counts), width, dtype=torch.long)
        source, weight = torch.zeros(len(ends), size, 2, dtype=torch.long), torch.zeros(len(ends), size, 2)
        for number, (row, where, frames) in enumerate(zip(plan.rows, places, inner, strict=True)):
            cut[number, : len(where)] = torch.tensor(where) + row * size
            slot = (weight[row, where, 0] > 0).long()  # at most two windows share a token
            source[row, where, slot] = number * width + torch.arange(len(where))
            weight[row, where, slot] = _shares(len(where), frames, *(each // stride for each in plan.fades[number]))
        rows = torch.tensor(plan.rows)
        self.mask = upload(torch.arange(size) < torch.tensor(ends)[:, None], device)
        self._cut, self._source, self._weight = upload(cut, device), upload(source, device), upload(weight, device)
        self._rows, self._own = upload(rows, device), upload(rows == torch.arange(len(ends))[:, None], device)

    def cut(self, x: Float[Tensor, "B N W"]) -> Float[Tensor, "L K W"]:
        """The windows of sequences, zero where no token exists."""
        return x.flatten(0, 1)[self._cut].masked_fill(~self.window_mask[..., None], 0)

    def blend(self, windows: Float[Tensor, "L K W"]) -> Float[Tensor, "B N W"]:
        """Sequences from windows, which fade into each other where they overlap; zero where no token exists."""
        return (windows.flatten(0, 1)[self._source] * self._weight[..., None].to(windows.dtype)).sum(2)

    def of_each(self, values: Real[Tensor, "B"]) -> Real[Tensor, "L"]:
        """What holds for each window, from what holds for its sequence."""
        return values[self._rows]

    def mean(self, values: Float[Tensor, "L"]) -> Float[Tensor, "B"]:
        """Means over the windows of each sequence."""
        return torch.where(self._own, values, 0).sum(1) / self._own.sum(1)


def _shares(tokens: int, inner: int, before: int, after: int) -> Float[Tensor, "K"]:
    """Weights of a window's tokens: they rise over those of the window before it, and fall over those of the next."""
    share = torch.ones(tokens)
    share[:before] = (torch.arange(before) + 0.5) / max(1, before)
    share[inner - after : inner] = 1 - (torch.arange(after) + 0.5) / max(1, after)
    return share
