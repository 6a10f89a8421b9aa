"""The measures of generated motions as metrics that gather embeddings over batches and processes."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from realign.errors import InputError
from realign.metrics.generation import (
    TOP,
    Gaussian,
    diversity,
    euclidean_distances,
    frechet_distance,
    matching_batches,
    mm_dist,
    multimodality,
    r_precision,
)
from realign.metrics.ordered import OrderedMetric
from realign.precision import double
from realign.seeding import mix_seed, text_numbers


class GenerationMetrics(OrderedMetric):
    """R@1, R@2, R@3, MM-Dist, FID and Diversity over everything that `update` has seen, on all processes.

    A motion whose embedding holds NaN or infinity is left out of every value and counted in "excluded". Results depend
    neither on the batches nor on the number of processes, see `OrderedMetric`.

    Args:
        real: Gaussian that FID compares with, if `update` is not given recorded motions; without either there is no
            FID.
        identical: A motion with an identical caption counts as right, too.
        size: Motions of the batches that R-precision ranks in.
        few: Fewer motions than that make one batch, and fewer than 2 give NaN, as validation sets may be small.
        whole_batches: MM-Dist, FID and Diversity, too, leave out what does not fill a batch.
        pairs: Pairs of Diversity.
        seed: Of shuffling and pairs.
    """

    text: list[Tensor]
    motion: list[Tensor]
    labels: list[Tensor]
    recorded: list[Tensor]

    def __init__(
        self,
        real: Gaussian | None = None,
        *,
        identical: bool = False,
        size: int = 32,
        few: bool = False,
        whole_batches: bool = False,
        pairs: int = 300,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__("text", "motion", "labels", "recorded", **kwargs)
        self.real, self.identical, self.size, self.few = real, identical, size, few
        self.whole_batches, self.pairs, self.seed = whole_batches, pairs, seed

    def update(
        self,
        text: Float[Tensor, "B E"],
        motion: Float[Tensor, "B E"],
        ids: Sequence[str],
        captions: Sequence[str],
        recorded: Float[Tensor, "B E"] | None = None,
    ) -> None:
        """Add motions.

        Args:
            text: Embeddings of the captions.
            motion: Embeddings of the motions made for them.
            ids: One name a motion, at most 128 bytes.
            captions: The captions themselves.
            recorded: Embeddings of the motions recorded for the captions, which FID compares with; always or never.

        Raises:
            InputError: An id is too long.
        """
        columns = {"text": text.float(), "motion": motion.float(), "labels": text_numbers(captions).to(text.device)}
        if recorded is not None:
            columns["recorded"] = recorded.float()
        self.add_rows(ids, **columns)

    def compute(self) -> dict[str, Tensor]:
        """Every value by its name.

        Raises:
            InputError: Fewer finite motions than one batch takes, unless `few` is set.
        """
        _, rows = self.ordered_rows()
        finite = (rows["motion"].sum(1) + rows["text"].sum(1)).isfinite()
        kept, excluded = finite.nonzero()[:, 0], {"excluded": (~finite).sum()}
        real = Gaussian.of(rows["recorded"]) if "recorded" in rows else self.real
        if self.few and len(kept) < 2:
            names = [*(f"R@{k}" for k in TOP), "MM-Dist", "Diversity", *(["FID"] if real is not None else [])]
            return dict.fromkeys(names, rows["motion"].new_tensor(torch.nan)) | excluded
        size = min(self.size, len(kept)) if self.few else self.size
        batches = kept[matching_batches(len(kept), size, mix_seed(self.seed, "batches")).to(kept.device)]
        left, right = (double(rows[name][batches]) for name in ("text", "motion"))  # copied once: copies cost most
        labels = rows["labels"][batches].to(left.device)
        same = labels[:, :, None] == labels[:, None, :] if self.identical else None
        precision = r_precision(euclidean_distances(left, right), same)
        found = {f"R@{k}": value for k, value in zip(TOP, precision, strict=True)}
        if self.whole_batches:
            text, motion = left.flatten(0, 1), right.flatten(0, 1)
        else:
            text, motion = (double(rows[name][kept]) for name in ("text", "motion"))
        found["MM-Dist"] = mm_dist(text, motion)
        if real is not None:
            found["FID"] = frechet_distance(real, motion)
        found["Diversity"] = diversity(motion, self.pairs, mix_seed(self.seed, "diversity"))
        return found | excluded


class MultiModality(OrderedMetric):
    """Mean distance among the motions of one caption, over all captions that `update` has seen, on all processes.

    A motion whose embedding is not finite is counted in "excluded", and its caption is left out.

    Args:
        pairs: Pairs of motions a caption.
        seed: Of the pairs.
    """

    motion: list[Tensor]

    def __init__(self, pairs: int = 10, seed: int = 0, **kwargs: Any) -> None:
        super().__init__("motion", **kwargs)
        self.pairs, self.seed = pairs, seed

    def update(self, motion: Float[Tensor, "B E"], ids: Sequence[str], numbers: Sequence[int]) -> None:
        """Add motions.

        Args:
            motion: Their embeddings.
            ids: Name of the caption that each was made for.
            numbers: Which of the caption's motions each is.
        """
        names = [f"{name}#{number:04d}" for name, number in zip(ids, numbers, strict=True)]
        self.add_rows(names, motion=motion.float())

    def compute(self) -> dict[str, Tensor]:
        """``MModality`` and ``excluded``.

        Raises:
            InputError: Captions with different numbers of motions, or no finite motion.
        """
        names, rows = self.ordered_rows()
        groups: dict[str, list[int]] = {}
        for row, name in enumerate(names):
            groups.setdefault(name.rpartition("#")[0], []).append(row)
        if len({len(places) for places in groups.values()}) > 1:
            raise InputError("MModality needs the same number of motions for every caption; make as many for each.")
        motion = rows["motion"][torch.tensor(list(groups.values()))]
        finite = motion.isfinite().all(2)
        kept = motion[finite.all(1)]
        if not len(kept):
            raise InputError("Every caption has a motion that is not finite, so that MModality cannot be computed.")
        return {"MModality": multimodality(kept, self.pairs, self.seed), "excluded": (~finite).sum()}
