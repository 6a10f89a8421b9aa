"""The retrieval protocols as a metric that gathers embeddings over batches and processes."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from realign.metrics.ordered import OrderedMetric
from realign.metrics.retrieval import retrieval_protocols, similarity_matrix
from realign.seeding import text_numbers


class RetrievalMetrics(OrderedMetric):
    """All four protocols of `retrieval_protocols` over everything that `update` has seen, on all processes.

    Results depend neither on the batches nor on the number of processes, see `OrderedMetric`.

    Args:
        identical: Identical captions count as right, which they do not in TMR's protocols.
        threshold: As for `retrieval_protocols`; used when `update` is given reference embeddings.
        subset: Ids of the dissimilar subset, as for `retrieval_protocols`.
        size: Pairs of a small batch.
    """

    text: list[Tensor]
    motion: list[Tensor]
    labels: list[Tensor]
    reference: list[Tensor]

    def __init__(
        self,
        *,
        identical: bool = False,
        threshold: float = 0.95,
        subset: Sequence[str] | None = None,
        size: int = 32,
        **kwargs: Any,
    ) -> None:
        super().__init__("text", "motion", "labels", "reference", **kwargs)
        self.identical, self.threshold, self.subset, self.size = identical, threshold, subset, size

    def update(
        self,
        text: Float[Tensor, "B E"],
        motion: Float[Tensor, "B E"],
        ids: Sequence[str],
        captions: Sequence[str],
        reference: Float[Tensor, "B D"] | None = None,
    ) -> None:
        """Add pairs.

        Args:
            text: Embeddings of the captions.
            motion: Embeddings of the motions they describe.
            ids: One name a pair, at most 128 bytes.
            captions: The captions themselves.
            reference: Their embeddings by a sentence encoder, for the protocol with a threshold; always or never.

        Raises:
            InputError: An id is too long.
        """
        columns = {"text": text.float(), "motion": motion.float(), "labels": text_numbers(captions).to(text.device)}
        if reference is not None:
            columns["reference"] = reference.float()
        self.add_rows(ids, **columns)

    def compute(self) -> dict[str, Tensor]:
        """Values by "protocol/direction/metric", as `retrieval_protocols` names them."""
        ids, rows = self.ordered_rows()
        reference = rows.get("reference")
        table = retrieval_protocols(
            similarity_matrix(rows["text"], rows["motion"]),
            ids,
            captions=[str(label) for label in rows["labels"].tolist()] if self.identical else None,
            text_similarity=None if reference is None else similarity_matrix(reference, reference),
            threshold=self.threshold,
            subset=self.subset,
            size=self.size,
        )
        return {name: torch.tensor(value, device=rows["text"].device) for name, value in table.items()}
