"""Retrieval between captions and motions: ranks with averaged ties, recall, median rank, the four TMR protocols."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from realign.errors import InputError
from realign.precision import double
from realign.seeding import text_numbers

RECALL_AT = (1, 2, 3, 5, 10)
_ROWS = 512  # rows compared at once: the difference stays in the processor's cache


def similarity_matrix(text: Float[Tensor, "N E"], motion: Float[Tensor, "M E"]) -> Float[Tensor, "N M"]:
    """Cosine of every caption with every motion.

    Computed in float64 (on the CPU if the device has none) and rounded, so that equal embeddings have equal
    similarities at any place in the matrix. Blocked float32 products would break ties.
    """
    return (normalize(double(text), dim=-1) @ normalize(double(motion), dim=-1).T).float()


def caption_matches(captions: Sequence[str]) -> Bool[Tensor, "N N"]:
    """True where two captions are the same text."""
    labels = text_numbers(captions)
    return labels[:, None] == labels[None, :]


def retrieval_ranks(
    similarity: Float[Tensor, "*B N N"],
    positives: Bool[Tensor, "*B N N"] | None = None,
    *,
    copies: bool = False,
) -> tuple[Float[Tensor, "*B N"], Float[Tensor, "*B N"]]:
    """Best 0-based rank of a right answer for every caption and every motion; a tie takes the average of its ranks.

    With g entries above the best right answer and e equal to it (itself included), the rank is g + (e - 1) / 2. One
    pass counts both, since the signs of all N differences sum to 2 g + e - N.

    Args:
        similarity: Captions in rows, motions in columns; row i describes motion i.
        positives: Further right answers, symmetric or not; None means that only motion i answers caption i.
        copies: Right answers that tie are copies of one answer, and cost each other nothing: the rank is
            g + (e - c) / 2 with c of them. The published protocol averages over them too, so that one of three
            identical captions in front has the rank 1.

    Returns:
        Ranks of the text-to-motion and of the motion-to-text search, possibly fractional.

    Raises:
        InputError: A similarity is not a number.
    """
    similarity = similarity if similarity.dtype == torch.float64 else similarity.float()
    if bool(similarity.sum().isnan()):
        raise InputError("a similarity between a caption and a motion is not a number; check the embeddings for NaN")
    best_row, best_column = _best_positive(similarity, positives)
    size = similarity.shape[-1]
    rows, columns = [], torch.zeros_like(best_column)
    for start in range(0, size, _ROWS):
        block = similarity[..., start : start + _ROWS, :]
        rows.append((block - best_row[..., start : start + _ROWS, None]).sign_().sum(-1))
        columns += (block - best_column[..., None, :]).sign_().sum(-2)
    if positives is None or not copies:
        return (torch.cat(rows, -1) + size - 1) / 2, (columns + size - 1) / 2
    positives = positives | torch.eye(size, dtype=torch.bool, device=positives.device)
    tied_rows = (positives & (similarity == best_row[..., :, None])).sum(-1)
    tied_columns = (positives & (similarity == best_column[..., None, :])).sum(-2)
    return (torch.cat(rows, -1) + size - tied_rows) / 2, (columns + size - tied_columns) / 2


def _best_positive(
    similarity: Float[Tensor, "*B N N"], positives: Bool[Tensor, "*B N N"] | None
) -> tuple[Float[Tensor, "*B N"], Float[Tensor, "*B N"]]:
    """Highest similarity of a right answer in every row and in every column."""
    matched = similarity.diagonal(dim1=-2, dim2=-1)
    if positives is None:
        return matched, matched
    rows, columns = [], matched.clone()
    for start in range(0, similarity.shape[-1], _ROWS):
        part = slice(start, start + _ROWS)
        right = similarity[..., part, :].masked_fill(~positives[..., part, :], -torch.inf)
        rows.append(torch.maximum(right.amax(-1), matched[..., part]))
        columns = torch.maximum(columns, right.amax(-2))
    return torch.cat(rows, -1), columns


def recall_and_median(ranks: Float[Tensor, "*B N"], at: Sequence[int] = RECALL_AT) -> dict[str, float]:
    """R@k, the fraction of queries with rank < k, and MedR, the 1-based median rank, averaged over leading dimensions.

    Args:
        ranks: 0-based ranks, possibly fractional.
        at: The values of k.

    Returns:
        "R@k" in 0..1 for every k, and "MedR".
    """
    ordered, size = ranks.sort(-1).values, ranks.shape[-1]
    scores = {f"R@{k}": float(double(ranks < k).mean()) for k in at}
    median = (ordered[..., (size - 1) // 2] + ordered[..., size // 2]) / 2  # torch.median takes the lower of the two
    return scores | {"MedR": float(double(median).mean()) + 1}


def retrieval_metrics(
    similarity: Float[Tensor, "*B N N"],
    positives: Bool[Tensor, "*B N N"] | None = None,
    *,
    copies: bool = False,
) -> dict[str, float]:
    """R@1/2/3/5/10 and MedR in both directions, as "t2m/R@1" ... "m2t/MedR"; arguments as for `retrieval_ranks`."""
    ranks = dict(zip(("t2m", "m2t"), retrieval_ranks(similarity, positives, copies=copies), strict=True))
    return {f"{side}/{name}": value for side in ranks for name, value in recall_and_median(ranks[side]).items()}


def small_batches(ids: Sequence[str], size: int = 32) -> Int[Tensor, "K S"]:
    """Positions of the floor(N / size) small batches: ids sorted, then shuffled with NumPy's legacy seed 0.

    Raises:
        InputError: Fewer ids than one batch takes.
    """
    if len(ids) < size:
        raise InputError(f"{len(ids)} pairs do not fill one batch of {size}; give more pairs or a smaller batch")
    order = np.arange(len(ids))
    np.random.RandomState(0).shuffle(order)
    by_id = np.array(sorted(range(len(ids)), key=lambda i: ids[i]))
    return torch.from_numpy(by_id[order][: len(ids) // size * size].reshape(-1, size))


def small_batch_recall(
    text: Float[Tensor, "N E"],
    motion: Float[Tensor, "N E"],
    *,
    ids: Sequence[str] | None = None,
    captions: Sequence[str] | None = None,
    size: int = 32,
) -> dict[str, float]:
    """The protocol of small batches from embeddings alone, for validation.

    Args:
        text: Embeddings of the captions.
        motion: Embeddings of their motions, in the same order.
        ids: Names that fix the order before the shuffle; the order given when None.
        captions: When given, a motion with the same caption counts as right.
        size: Pairs of one batch.
    """
    batches = small_batches(ids if ids is not None else [f"{i:09d}" for i in range(len(text))], size)
    left, right = (normalize(double(each), dim=-1)[batches] for each in (text, motion))
    labels = None if captions is None else text_numbers(captions)[batches].to(left.device)
    same = None if labels is None else labels[:, :, None] == labels[:, None, :]
    return retrieval_metrics((left @ right.mT).float(), same, copies=True)


def dissimilar_subset(text_similarity: Float[Tensor, "N N"], size: int = 100) -> Int[Tensor, "S"]:
    """Positions of captions that differ from one another, for data without a published list of ids.

    Greedy form of the selection of TMR (ICCV 2023, section 4): start from the caption least like all others, then
    always add the one with the lowest summed similarity to those chosen.
    """
    size = min(size, len(text_similarity))
    chosen = [int(text_similarity.sum(0).argmin())]
    total = text_similarity[chosen[0]].clone()
    while len(chosen) < size:
        total[chosen[-1]] = torch.inf
        chosen.append(int(total.argmin()))
        total += text_similarity[chosen[-1]]
    return torch.tensor(sorted(chosen))


def retrieval_protocols(
    similarity: Float[Tensor, "N N"],
    ids: Sequence[str],
    *,
    captions: Sequence[str] | None = None,
    text_similarity: Float[Tensor, "N N"] | None = None,
    threshold: float = 0.95,
    subset: Sequence[str] | None = None,
    size: int = 32,
) -> dict[str, float]:
    """The four protocols of TMR (Petrovich et al., ICCV 2023) in both directions.

    "all" ranks every motion; "threshold" also takes a caption nearly the same as the query's for right; "dissimilar"
    ranks the 100 listed motions only; "small_batches" averages over batches of 32. A protocol without its input
    (similarities of texts, a list, enough pairs) is left out.

    Args:
        similarity: Captions in rows, motions in columns; row i describes motion i.
        ids: One name a pair; small batches are drawn from their sorted order.
        captions: When given, identical captions count as right in every protocol, and as one answer where they tie.
        text_similarity: Cosine of the captions by a sentence encoder.
        threshold: Captions with a cosine above 2 * threshold - 1 count as the same.
        subset: Ids of the dissimilar subset; chosen by `dissimilar_subset` when None and text_similarity is given.
        size: Pairs of a small batch.

    Returns:
        "protocol/direction/metric" to value, such as "all/t2m/R@1" in 0..1 and "threshold/m2t/MedR" from 1.
    """
    device = similarity.device
    same = None if captions is None else caption_matches(captions).to(device)
    copies = same is not None
    tables = {"all": retrieval_metrics(similarity, same, copies=copies)}
    if text_similarity is not None:
        near = text_similarity.to(device) > 2 * threshold - 1
        tables["threshold"] = retrieval_metrics(similarity, near if same is None else near | same, copies=copies)
    if subset is not None:
        tables["dissimilar"] = _part(similarity, same, _positions(ids, subset))
    elif text_similarity is not None:
        tables["dissimilar"] = _part(similarity, same, dissimilar_subset(text_similarity))
    if len(ids) >= size:
        tables["small_batches"] = _part(similarity, same, small_batches(ids, size))
    return {f"{protocol}/{name}": value for protocol, table in tables.items() for name, value in table.items()}


def _positions(ids: Sequence[str], subset: Sequence[str]) -> Int[Tensor, "S"]:
    """Positions of the listed ids, all of which must be present."""
    place = {name: position for position, name in enumerate(ids)}
    missing = [name for name in subset if name not in place]
    if missing:
        raise InputError(
            f"{len(missing)} of the {len(subset)} listed ids are not evaluated, {missing[0]!r} first; check the list"
        )
    return torch.tensor([place[name] for name in subset])


def _part(
    similarity: Float[Tensor, "N N"], positives: Bool[Tensor, "N N"] | None, chosen: Int[Tensor, "*K S"]
) -> dict[str, float]:
    """The metrics among the chosen pairs, averaged over leading dimensions."""
    rows, columns = chosen[..., :, None].to(similarity.device), chosen[..., None, :].to(similarity.device)
    part = similarity[rows, columns]
    return retrieval_metrics(
        part, None if positives is None else positives[rows, columns], copies=positives is not None
    )
