"""The retrieval protocols as a metric that gathers embeddings over batches and processes."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from realign.errors import InputError
from realign.metrics.retrieval import retrieval_protocols, similarity_matrix

_ID_BYTES = 128  # names travel between processes as rows of bytes of one width


class RetrievalMetrics(Metric):
    """All four protocols of `retrieval_protocols` over everything that `update` has seen, on all processes.

    Results depend neither on the batches nor on the number of processes: pairs are put into the order of their ids
    first, and a pair seen twice (a distributed sampler repeats some to fill the last batch) counts once.

    Args:
        identical: Identical captions count as right.
        threshold: As for `retrieval_protocols`; used when `update` is given reference embeddings.
        subset: Ids of the dissimilar subset, as for `retrieval_protocols`.
        size: Pairs of a small batch.
    """

    is_differentiable = False
    full_state_update = False
    text: list[Tensor]
    motion: list[Tensor]
    names: list[Tensor]
    labels: list[Tensor]
    reference: list[Tensor]

    def __init__(
        self,
        *,
        identical: bool = True,
        threshold: float = 0.95,
        subset: Sequence[str] | None = None,
        size: int = 32,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.identical, self.threshold, self.subset, self.size = identical, threshold, subset, size
        for state in ("text", "motion", "names", "labels", "reference"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

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
            reference: Their embeddings under a sentence encoder, for the protocol with a threshold; always or never.

        Raises:
            InputError: An id is too long.
        """
        self.text.append(text.detach().float())
        self.motion.append(motion.detach().float())
        self.names.append(torch.stack([_encode(name) for name in ids]).to(text.device))
        self.labels.append(torch.tensor([_number(caption) for caption in captions], device=text.device))
        if reference is not None:
            self.reference.append(reference.detach().float())

    def compute(self) -> dict[str, Tensor]:
        """Every value under its "protocol/direction/metric", as `retrieval_protocols` names them."""
        names = [bytes(row).rstrip(b"\0").decode() for row in dim_zero_cat(self.names).cpu().tolist()]
        first = {name: position for position, name in reversed(list(enumerate(names)))}
        ids = sorted(first)
        order = torch.tensor([first[name] for name in ids], device=dim_zero_cat(self.text).device)
        text, motion = dim_zero_cat(self.text)[order], dim_zero_cat(self.motion)[order]
        labels = dim_zero_cat(self.labels)[order].tolist()
        reference = dim_zero_cat(self.reference)[order] if len(self.reference) else None
        table = retrieval_protocols(
            similarity_matrix(text, motion),
            ids,
            captions=[str(label) for label in labels] if self.identical else None,
            text_similarity=None if reference is None else similarity_matrix(reference, reference),
            threshold=self.threshold,
            subset=self.subset,
            size=self.size,
        )
        return {name: torch.tensor(value, device=text.device) for name, value in table.items()}


def _encode(name: str) -> Tensor:
    """The name's bytes in one row of fixed width, zero-padded."""
    data = name.encode()
    if len(data) > _ID_BYTES:
        raise InputError(
            f"the id {name[:40]!r}... takes {len(data)} bytes; ids of evaluated motions have at most {_ID_BYTES}"
        )
    return torch.tensor(list(data.ljust(_ID_BYTES, b"\0")), dtype=torch.uint8)


def _number(caption: str) -> int:
    """A 63-bit number for a caption, the same in every process (Python's own hash is not)."""
    return int.from_bytes(blake2b(caption.encode(), digest_size=8).digest(), "big") >> 1
