"""All use of FAISS: making, training and placing an index, the effort of a search, and errors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from realign.errors import InputError, optional_packages

EXACT_BELOW = 50_000  # vectors: up to here an exact search takes milliseconds and needs no training
_TRAIN_PER_LIST = 64  # vectors a list to train on: more makes k-means slower and lists no better
_GPU_MAX_K = 2048  # FAISS's own limit on a GPU


def load_faiss() -> Any:
    """The faiss module, or InputError when no package provides it."""
    with optional_packages():
        import faiss
    return faiss


@contextmanager
def faiss_errors(what: str, remedy: str) -> Iterator[None]:
    """Raise FAISS's exceptions and asserts as an `InputError` of one sentence."""
    try:
        yield
    except (RuntimeError, AssertionError) as error:
        # without FAISS's source lines
        reason = re.split(r"\.(?:cpp|h|cu):\d+: |failed: ", " ".join(str(error).split()))[-1]
        raise InputError(f"{what}{f' ({reason[:160]})' if reason else ''}; {remedy}") from error


def default_factory(count: int) -> str:
    """The default factory string, exact below 50 thousand vectors, above it by benchmarks/bench_index.py."""
    if count < EXACT_BELOW:
        return "Flat"
    lists = 1 << round(np.log2(count**0.5))
    return f"IVF{lists},SQ8"


def parse_factory(factory: str, width: int) -> Any:
    """The empty, untrained index that a factory string describes.

    Args:
        factory: A FAISS factory string.
        width: Width E of the vectors.

    Raises:
        InputError: FAISS does not support it, it does not fit the width, or it cannot rank by cosine.
    """
    faiss = load_faiss()
    example = "use for example 'Flat', 'HNSW32', 'IVF256,Flat' or 'OPQ32,IVF1024,PQ32'"
    what = f"FAISS cannot make an index {factory!r} over vectors of width {width}"
    with faiss_errors(what, example):
        index = faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)
    if index.metric_type != faiss.METRIC_INNER_PRODUCT or isinstance(faiss.downcast_index(index), faiss.IndexIDMap):
        raise InputError(f"{what} for cosine with keys of its own; {example}")
    return index


def make_index(vectors: Any, factory: str, gpu: bool | Literal["auto"] = "auto") -> Any:
    """A trained, empty index for int64 keys, with the effort of its searches set.

    Args:
        vectors: Unit vectors to train on, (N, E), as an array or `Embedded`; a seeded sample is drawn of many.
        factory: A FAISS factory string.
        gpu: As for `place`.
    """
    faiss, index = load_faiss(), parse_factory(factory, vectors.shape[1])
    inverted = core(index, faiss.IndexIVF)
    _set_effort(index)
    if inverted is None or core(index, faiss.IndexRefine) is not None:
        index = faiss.IndexIDMap(index)  # inverted lists keep keys themselves, all other kinds need the table
    index = place(index, gpu)
    if not index.is_trained:
        sample = max(inverted.nlist if inverted is not None else 0, 1024) * _TRAIN_PER_LIST
        chosen: slice | np.ndarray = slice(None)
        if len(vectors) > sample:
            chosen = np.sort(np.random.default_rng(0).choice(len(vectors), sample, replace=False))
        with faiss_errors(f"{len(vectors)} vectors cannot train the index {factory!r}", "use 'Flat' or fewer lists"):
            index.train(vectors[chosen])
    return index


def _set_effort(index: Any) -> None:
    """Set how many lists or nodes a search visits, since FAISS's defaults (1 and 16) find little; FAISS saves it."""
    faiss = load_faiss()
    inverted, graph = core(index, faiss.IndexIVF), core(index, faiss.IndexHNSW)
    refined = core(index, faiss.IndexRefine)
    if inverted is not None:
        inverted.nprobe = min(inverted.nlist, max(16, inverted.nlist // 16))
    if graph is not None:
        graph.hnsw.efSearch = 128
    if refined is not None:
        refined.k_factor = 10


def core(index: Any, kind: type) -> Any:
    """The part of that kind inside an index, behind key tables, transforms and refinements; None if there is none."""
    faiss = load_faiss()
    index = faiss.downcast_index(index)
    while not isinstance(index, kind):
        inner = getattr(index, "base_index", None) or getattr(index, "index", None)
        if inner is None:
            return None
        index = faiss.downcast_index(inner)
    return index


def place(index: Any, gpu: bool | Literal["auto"]) -> Any:
    """Move an index to the first GPU.

    Args:
        index: An index on the CPU.
        gpu: "auto" moves it when the GPU build of FAISS and a device are there and FAISS has this kind for GPUs; True
            insists; False leaves it.

    Raises:
        InputError: gpu is True and it cannot be.
    """
    faiss = load_faiss()
    present = hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0
    if gpu is False or (gpu == "auto" and not present):
        return index
    if not present:
        raise InputError(
            "gpu=True needs a CUDA device and FAISS built for it; run pip install 'realign[gpu]' or leave gpu='auto'"
        )
    try:
        with faiss_errors("FAISS has no such index for GPUs", "use gpu=False or an IVF or Flat index"):
            return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    except InputError:
        if gpu == "auto":
            return index
        raise


def on_gpu(index: Any) -> bool:
    """Whether the vectors are on a GPU."""
    faiss = load_faiss()
    return hasattr(faiss, "GpuIndex") and core(index, faiss.GpuIndex) is not None


def to_cpu(index: Any) -> Any:
    """The same index on the CPU."""
    return load_faiss().index_gpu_to_cpu(index) if on_gpu(index) else index


def write_index(index: Any, path: Path) -> None:
    """Write the index to a file."""
    load_faiss().write_index(to_cpu(index), str(path))


def read_index(path: Path, mmap: bool) -> Any:
    """Read an index written by `write_index`; with mmap its vectors stay in the file until a search touches them."""
    faiss = load_faiss()
    mapped = getattr(faiss, "IO_FLAG_MMAP_IFC", faiss.IO_FLAG_MMAP)  # before 1.11 only inverted lists can be mapped
    with faiss_errors(f"{path} is not an index that this FAISS ({faiss.__version__}) reads", "build the index again"):
        index = faiss.read_index(str(path), (mapped if mmap else 0) | faiss.IO_FLAG_READ_ONLY)
    inverted = core(index, faiss.IndexIVF)
    outside = getattr(faiss, "OnDiskInvertedLists", None)
    if inverted is not None and outside and isinstance(faiss.downcast_InvertedLists(inverted.invlists), outside):
        raise InputError(f"{path} keeps its vectors in another file, which is not followed; build the index again")
    return index


def search_keys(index: Any, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and keys of the k nearest, (Q, k) each, every one found.

    An approximate search may find fewer than k, marked -1. Such queries are repeated over all lists or, without lists,
    over all vectors.
    """
    faiss = load_faiss()
    if on_gpu(index) and k > _GPU_MAX_K:
        raise InputError(
            f"FAISS finds at most {_GPU_MAX_K} on a GPU, {k} were asked for; ask for fewer or load with gpu=False"
        )
    with faiss_errors(f"FAISS failed on a search of {len(queries)} queries", "build the index with another factory"):
        scores, keys = index.search(queries, k)
        short = np.flatnonzero((keys < 0).any(1))
        if len(short):
            scores[short], keys[short] = _search_all(faiss, index, queries[short], k)
    return scores, keys


def _search_all(faiss: Any, index: Any, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest among all vectors, as the index stores them."""
    index = to_cpu(index)
    inverted = core(index, faiss.IndexIVF)
    if inverted is not None:
        probes, inverted.nprobe = inverted.nprobe, inverted.nlist
        try:
            return index.search(queries, k)
        finally:
            inverted.nprobe = probes
    index = faiss.downcast_index(index)
    stored = faiss.downcast_index(index.index).reconstruct_n(0, index.ntotal)
    scores = queries @ stored.T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, best, 1), faiss.vector_to_array(index.id_map)[best]


def places_of(index: Any, keys: np.ndarray) -> np.ndarray | None:
    """Where inverted lists keep each key, as list << 32 | position in it; None where there are no lists of vectors.

    FAISS would build a table of all keys in every process; this one can be memory-mapped.
    """
    faiss = load_faiss()
    inverted = core(index, faiss.IndexIVF)
    if inverted is None or core(index, faiss.IndexRefine) is not None or on_gpu(index):
        return None
    if isinstance(inverted, faiss.IndexIVFFastScan):  # whose codes cannot be decoded
        return None
    lists, places = inverted.invlists, np.full(len(keys), -1, np.int64)
    for number in range(inverted.nlist):
        size = lists.list_size(number)
        if size:
            held = faiss.rev_swig_ptr(lists.get_ids(number), size)
            places[np.searchsorted(keys, held)] = (number << 32) + np.arange(size)
    return places


def vectors_of(index: Any, keys: np.ndarray, places: np.ndarray | None = None) -> np.ndarray:
    """The stored vectors of some keys, (K, E); approximate where the index compresses them.

    Args:
        index: The index.
        keys: Keys that it holds.
        places: What `places_of` gave for them.

    Raises:
        InputError: This kind of index does not give its vectors back, or the places are not those of the keys.
    """
    faiss = load_faiss()
    index = faiss.downcast_index(to_cpu(index))
    if places is not None:
        return _vectors_at(index, keys, places)
    with faiss_errors("this kind of index does not give its vectors back", "use a Flat, HNSW or IVF index"):
        if isinstance(index, faiss.IndexIDMap):
            table = faiss.vector_to_array(index.id_map)  # ascending: new keys are larger, and removal keeps the order
            return faiss.downcast_index(index.index).reconstruct_batch(np.searchsorted(table, keys))
        inverted = core(index, faiss.IndexIVF)
        if isinstance(inverted, faiss.IndexIVFFastScan):
            raise RuntimeError("fast-scan codes cannot be decoded")  # it would crash the process
        if inverted.direct_map.type == faiss.DirectMap.NoMap:
            inverted.set_direct_map_type(faiss.DirectMap.Hashtable)
        return index.reconstruct_batch(keys)


def _vectors_at(index: Any, keys: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Vectors of inverted lists, by where they are."""
    faiss = load_faiss()
    inverted = core(index, faiss.IndexIVF)
    lists, found = inverted.invlists, np.empty((len(keys), inverted.d), np.float32)
    for row, (key, place) in enumerate(zip(keys.tolist(), places.tolist(), strict=True)):
        number, position = place >> 32, place & 0xFFFFFFFF
        right = 0 <= number < inverted.nlist and position < lists.list_size(number)
        if not right or lists.get_single_id(number, position) != key:
            raise InputError("the vectors of the index are not where its places say; build it again")
        inverted.reconstruct_from_offset(number, position, faiss.swig_ptr(found[row]))
    if not isinstance(index, faiss.IndexPreTransform):
        return found
    full = np.empty((len(keys), index.d), np.float32)
    index.reverse_chain(len(keys), faiss.swig_ptr(found), faiss.swig_ptr(full))
    return full
