"""Build an index from a trained model and a prepared set, in one process or many."""

from collections.abc import Callable
from pathlib import Path

import torch

from realign.data.dataset import MotionTextDataset
from realign.data.store import PackedMotions
from realign.distributed import processes, share
from realign.errors import InputError
from realign.inference.common import UNIT
from realign.inference.index_writer import IndexWriter
from realign.inference.motion_search import LONGEST
from realign.nn.embedder import JointEmbedding


def build_index(
    embedder: JointEmbedding,
    data: str | Path,
    folder: str | Path,
    *,
    split: str = "train",
    factory: str | None = None,
    with_motions: bool = False,
    with_captions: bool = True,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    watch: Callable[[str, int, int | None], None] | None = None,
) -> bool:
    """Embed the clean motions of a split and write them as an index, with all their captions.

    Where `torch.distributed` runs, as in `distributed.launch`, all processes call this and each embeds every n-th
    batch; the index is the same, to the last bit.

    Args:
        embedder: A trained reward model or retriever, as an `Embedder` or as the task that trained it.
        data: Folder written by `realign prepare`.
        folder: The index's folder; an index that is there is replaced.
        split: train, val, test or all.
        factory: A FAISS factory string; chosen by the number of motions when None.
        with_motions: Keep the motions in the index too, so that hits can be drawn without the prepared set.
        with_captions: Index the captions, too.
        batch_size: Motions a batch.
        device: A torch device.
        watch: Is called with what is embedded, the number done and of all, and at last with the index, whose building
            does not tell how far it is.

    Returns:
        Whether this process wrote the index.

    Raises:
        InputError: Data of another skeleton, an unknown split, too few motions for the processes, or as `IndexWriter`.
    """
    rank, world = processes()
    if batch_size < 1:
        raise InputError(f"batches of {batch_size} motions cannot be made; give a size of at least 1.")
    packed = PackedMotions.open(data)
    if packed.skeleton != embedder.skeleton:
        raise InputError(f"{data} shows the skeleton {packed.skeleton!r}, but the model knows {embedder.skeleton!r}.")
    motions = MotionTextDataset(
        packed,
        split,
        min_frames=UNIT,
        max_frames=LONGEST,
        max_motion_frames=None,
        unit_length=UNIT,
        one_per_motion=True,
    )
    starts = range(0, len(motions), batch_size)
    if len(starts) < world:
        raise InputError(
            f"{len(motions)} motions in batches of {batch_size} cannot be shared by {world} processes; use fewer or "
            "smaller batches."
        )
    embedder = embedder.eval().to(torch.device(device))
    with IndexWriter(
        Path(folder), embedder, packed,
        factory=factory, with_motions=with_motions, with_captions=with_captions,
    ) as writer:  # fmt: skip
        for number, start in share(enumerate(starts)):
            batch = motions.__getitems__(range(start, min(start + batch_size, len(motions))))
            with torch.inference_mode():
                embeddings = embedder.embed_motions(batch.motion, batch.lengths)
            writer.add(batch.ids, batch.captions, batch.lengths.tolist(), embeddings, number)
            if watch is not None:
                watch("motions", min(start + batch_size * world, len(motions)), len(motions))
        writer.finish(watch)
    return rank == 0
