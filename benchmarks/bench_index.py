"""Build time, memory, speed and recall of index kinds beside plain torch, and the opening of a saved index.

    python benchmarks/bench_index.py --n 1000000 --threads 2

Two kinds of vectors: "clustered", with the structure of motion embeddings (20 thousand clusters of power-law sizes
around shared themes, low-rank spread inside each; queries are held-out members pulled towards another direction and
blurred, as sentences are), and "uniform" on the sphere, where no approximate index does well. Wall seconds depend on
what else the machine does: CPU seconds of all threads stand beside them.
"""

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
import torch

from realign.index import MotionIndex, MotionItem
from realign.index.engine import default_factory

DIM = 256
OPEN = """
import sys, time, numpy as np
start = time.perf_counter()
from realign.index import MotionIndex
import faiss
faiss.omp_set_num_threads(int(sys.argv[3]))
query = np.load(sys.argv[2])
imported, cpu = time.perf_counter(), time.process_time()
index = MotionIndex.load(sys.argv[1], "bench", verify={"whole": True, "default": None}[sys.argv[4]])
opened = time.perf_counter()
items = index.search(query[:1], 10).items
answered, cpu = time.perf_counter(), time.process_time() - cpu
index.search(query[1:2], 10)
second = time.perf_counter() - answered
print(f"imports {imported - start:.2f} s, open {opened - imported:.3f} s, first answer {answered - opened:.3f} s: "
      f"together {answered - imported:.3f} s, {cpu:.3f} s CPU; next answer {second:.4f} s")
"""


def unit(vectors):
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def clustered(count, queries, rng):
    """Vectors and sentence-like queries."""
    clusters, shapes, rank = 20_000, 64, 24
    weights = np.arange(1, clusters + 1) ** -0.8
    decay = np.arange(1, DIM + 1, dtype=np.float32)[:, None] ** -0.4  # few directions hold most of the variance
    mix = decay * rng.standard_normal((DIM, DIM), dtype=np.float32) / (np.linalg.norm(decay) / DIM**0.5) / DIM**0.5
    themes = rng.standard_normal((200, DIM), dtype=np.float32)
    centres = themes[rng.integers(200, size=clusters)] + 0.8 * rng.standard_normal((clusters, DIM), dtype=np.float32)
    centres @= mix
    spread = rng.standard_normal((shapes, rank, DIM), dtype=np.float32) / rank**0.5
    which = rng.choice(clusters, size=count + queries, p=weights / weights.sum())
    vectors = centres[which]
    for shape in range(shapes):
        rows = np.flatnonzero(which % shapes == shape)
        vectors[rows] += 1.2 * rng.standard_normal((len(rows), rank), dtype=np.float32) @ spread[shape]
        vectors[rows] += 0.3 * rng.standard_normal((len(rows), DIM), dtype=np.float32)
    unit(vectors)
    gap = unit(rng.standard_normal((1, DIM), dtype=np.float32))
    blur = rng.standard_normal((queries, DIM), dtype=np.float32) / DIM**0.5
    return vectors[:count], unit(vectors[count:] + 0.5 * gap + 0.6 * blur)


def uniform(count, queries, rng):
    return [unit(rng.standard_normal((size, DIM), dtype=np.float32)) for size in (count, queries)]


def resident():
    """Resident memory, MB."""
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def timed(function):
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def speeds(search, queries):
    """Queries a second one by one and in one batch; the answer to all of them."""
    search(queries[:1])
    _, single, _ = timed(lambda: search(queries[:1]))
    count = int(np.clip(1 / max(single, 1e-6), 5, 200))
    _, single, single_cpu = timed(lambda: [search(queries[i : i + 1]) for i in range(count)])
    found, batch, batch_cpu = timed(lambda: search(queries))
    row = f"{count / single:8.0f} {1e3 * single_cpu / count:8.2f} {len(queries) / batch:8.0f}"
    return found, f"{row} {1e3 * batch_cpu / len(queries):8.3f}"


def recall(found, exact):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, exact, strict=True)])


def compare(name, vectors, queries, factories, save_default):
    print(f"\n{name}: {len(vectors)} x {DIM}, k = 10, {len(queries)} queries in a batch, load {os.getloadavg()[0]:.1f}")
    titles = ("build s", "CPU s", "MB", "q/s of 1", "CPU ms", "q/s all", "CPU ms")
    print(f"{'':24} {' '.join(f'{title:>8}' for title in titles)} recall@10")
    rows = torch.from_numpy(vectors)
    exact, row = speeds(lambda q: torch.topk(torch.from_numpy(q) @ rows.T, 10).indices.numpy(), queries)
    print(f"{'torch matmul + topk':24} {0:8.1f} {0:8.1f} {vectors.nbytes / 2**20:8.0f} {row}     1.000", flush=True)
    items = [MotionItem(f"{i:07d}", ("a person walks forward",), "bench", 120) for i in range(len(vectors))]
    for factory in factories:
        before = resident()
        index, wall, cpu = timed(lambda f=factory: MotionIndex.build(vectors, items, fingerprint="bench", factory=f))
        memory = resident() - before
        found, row = speeds(lambda q, index=index: index.search(q, 10).positions, queries)
        print(f"{factory:24} {wall:8.1f} {cpu:8.1f} {memory:8.0f} {row} {recall(found, exact):9.3f}", flush=True)
        if save_default and factory in ("Flat", default_factory(len(vectors))):
            opening(index, queries)
        del index


def opening(index, queries):
    """Save, then open and ask in fresh processes; the files are in the page cache, as after a recent use."""
    folder = Path(tempfile.mkdtemp())
    try:
        _, wall, _ = timed(lambda: index.save(folder / "index"))
        np.save(folder / "queries.npy", queries[:2])
        size = sum(path.stat().st_size for path in (folder / "index").iterdir()) / 2**20
        print(f"    saved in {wall:.1f} s, {size:.0f} MB; opened in a fresh process, page cache warm:")
        for verify in ("default", "default", "whole"):
            threads = str(torch.get_num_threads())
            command = [sys.executable, "-c", OPEN, str(folder / "index"), str(folder / "queries.npy"), threads, verify]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(f"    checksums {verify}: {done.stdout.strip()}", flush=True)
    finally:
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000, help="vectors")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vectors", nargs="+", choices=["clustered", "uniform"], default=["clustered", "uniform"])
    parser.add_argument("--factories", nargs="+", help="FAISS factory strings; a set that fits n when left out")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    lists = 1 << round(np.log2(args.n**0.5))
    kinds = ["Flat", f"IVF{lists},Flat", f"IVF{lists},SQ8", f"OPQ64,IVF{lists},PQ64", "HNSW32"]
    for name in args.vectors:
        make = {"clustered": clustered, "uniform": uniform}[name]
        compare(
            name, *make(args.n, args.queries, np.random.default_rng(0)), args.factories or kinds, name == "clustered"
        )


if __name__ == "__main__":
    main()
