"""Build time, memory, speed and recall of index kinds beside plain torch, and the opening of a saved index.

    python benchmarks/bench_index.py --n 1000000 --threads 2
    python benchmarks/bench_index.py --n 10000000 --threads 2 --vectors clustered --shards 10

Two kinds of vectors: "clustered", with the structure of motion embeddings (20 thousand clusters of power-law sizes
around shared themes, with low-rank spread inside each; queries are held-out members moved towards another direction and
blurred, like embeddings of captions), and "uniform" on the sphere, where no approximate index does well. Wall seconds
depend on other programs, so CPU seconds of all threads are printed beside them.

With --shards, the vectors are written to disk as by many processes, and an index is built from them in a separate
process, whose peak memory is printed beside the size of the vectors.
"""

import argparse
import ctypes
import os
import resource
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
from realign.index.shards import Shards, ShardWriter
from realign.index.writing import write_embedded

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


class Clusters:
    """Draws vectors and caption-like queries."""

    clusters, shapes, rank = 20_000, 64, 24

    def __init__(self, rng):
        weights = np.arange(1, self.clusters + 1) ** -0.8
        decay = np.arange(1, DIM + 1, dtype=np.float32)[:, None] ** -0.4  # few directions hold most of the variance
        mix = decay * rng.standard_normal((DIM, DIM), dtype=np.float32) / (np.linalg.norm(decay) / DIM**0.5) / DIM**0.5
        themes = rng.standard_normal((200, DIM), dtype=np.float32)
        centres = themes[rng.integers(200, size=self.clusters)]
        centres += 0.8 * rng.standard_normal((self.clusters, DIM), dtype=np.float32)
        self.centres, self.weights = centres @ mix, weights / weights.sum()
        self.spread = rng.standard_normal((self.shapes, self.rank, DIM), dtype=np.float32) / self.rank**0.5
        self.gap = unit(rng.standard_normal((1, DIM), dtype=np.float32))

    def draw(self, count, rng):
        which = rng.choice(self.clusters, size=count, p=self.weights)
        vectors = self.centres[which]
        for shape in range(self.shapes):
            rows = np.flatnonzero(which % self.shapes == shape)
            factors = rng.standard_normal((len(rows), self.rank), dtype=np.float32)
            vectors[rows] += 1.2 * factors @ self.spread[shape]
            vectors[rows] += 0.3 * rng.standard_normal((len(rows), DIM), dtype=np.float32)
        return unit(vectors)

    def queries(self, count, rng):
        vectors = self.draw(count, rng)
        blur = rng.standard_normal((count, DIM), dtype=np.float32) / DIM**0.5
        return unit(vectors + 0.5 * self.gap + 0.6 * blur)


def clustered(count, queries, rng):
    clusters = Clusters(rng)
    return clusters.draw(count, rng), clusters.queries(queries, rng)


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
    """Queries per second one by one and in one batch, and the answer to all of them."""
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
    """Save, then open and query in fresh processes; the files are in the page cache, as after a recent use."""
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


def peak():
    """Peak memory of this process, MB."""
    if sys.platform == "linux":  # getrusage includes the peak of the starting process
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def from_shards(count, queries, shards, threads, keep):
    """Write shards, build from them in a separate process, then open and query in others."""
    rng, folder = np.random.default_rng(0), Path(tempfile.mkdtemp(dir=keep))
    clusters = Clusters(rng)
    asked = clusters.queries(queries, rng)
    np.save(folder / "queries.npy", asked)
    best, scan = (torch.full((queries, 10), -2.0), torch.zeros(queries, 10, dtype=torch.long)), 0.0
    try:
        for number in range(shards):
            start, end = number * count // shards, (number + 1) * count // shards
            writer = ShardWriter(folder / "shards" / str(number))
            for low in range(start, end, 1 << 16):
                high = min(low + (1 << 16), end)
                vectors = clusters.draw(high - low, rng)
                items = [MotionItem(f"{i:08d}", ("a person walks forward",), "bench", 120) for i in range(low, high)]
                writer.add(vectors, items, range(low, high))
                rows = torch.from_numpy(vectors)
                found, wall, _ = timed(lambda rows=rows: torch.topk(torch.from_numpy(asked) @ rows.T, 10))
                scan += wall
                scores, places = torch.cat([best[0], found.values], 1), torch.cat([best[1], found.indices + low], 1)
                chosen = torch.topk(scores, 10)
                best = chosen.values, places.gather(1, chosen.indices)
            writer.close()
        np.save(folder / "exact.npy", best[1].numpy())
        raw = count * DIM * 4 / 2**20
        print(f"\nclustered: {count} x {DIM} in {shards} shards, {raw:.0f} MB, load {os.getloadavg()[0]:.1f}")
        print(f"exact scan of all: {1e3 * scan / queries:.1f} ms a query in batches of {queries}", flush=True)
        for step in ("build", "search"):
            command = [sys.executable, __file__, "--step", step, str(folder), "--threads", str(threads)]
            subprocess.run(command, check=True)
        for verify in ("default", "default"):
            command = [
                sys.executable,
                "-c",
                OPEN,
                str(folder / "index"),
                str(folder / "queries.npy"),
                str(threads),
                verify,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(f"opened in a fresh process: {done.stdout.strip()}", flush=True)
    finally:
        shutil.rmtree(folder)


def build_step(folder):
    """Build from the shards of a folder; the peak includes Python and its libraries."""
    before = peak()
    shards = Shards(sorted((folder / "shards").iterdir(), key=lambda path: int(path.name)))
    _, wall, cpu = timed(lambda: write_embedded(folder / "index", shards, fingerprint="bench"))
    raw = len(shards) * DIM * 4 / 2**20
    size = sum(path.stat().st_size for path in (folder / "index").iterdir()) / 2**20
    print(f"build {default_factory(len(shards))}: {wall:.0f} s, {cpu:.0f} s CPU, {len(shards) / wall:.0f} vectors/s")
    print(f"peak memory {peak():.0f} MB ({before:.0f} MB before the build), {peak() / raw:.2f} of the vectors; "
          f"on the disk {size:.0f} MB, {size / raw:.2f} of the vectors", flush=True)  # fmt: skip


def search_step(folder):
    """Query a memory-mapped index one by one and in one batch."""
    asked, exact = np.load(folder / "queries.npy"), np.load(folder / "exact.npy")
    index = MotionIndex.load(folder / "index", "bench")
    opened = peak()
    print(f"{'':24} {'q/s of 1':>8} {'CPU ms':>8} {'q/s all':>8} {'CPU ms':>8} recall@10")
    found, row = speeds(lambda q: index.search(q, 10).positions, asked)
    print(f"{index.factory:24} {row} {recall(found, exact):9.3f}")
    print(f"peak memory {opened:.0f} MB once opened, {peak():.0f} MB, pages of the file among it, after the searches")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000, help="vectors")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vectors", nargs="+", choices=["clustered", "uniform"], default=["clustered", "uniform"])
    parser.add_argument("--factories", nargs="+", help="FAISS factory strings; a set that fits n when left out")
    parser.add_argument("--shards", type=int, metavar="N", help="build from N shards on the disk; clustered alone")
    parser.add_argument("--folder", help="where shards and index are written (default: the system's temporary folder)")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    if args.step:
        {"build": build_step, "search": search_step}[args.step[0]](Path(args.step[1]))
        return
    if args.shards:
        from_shards(args.n, args.queries, args.shards, args.threads, args.folder)
        return
    lists = 1 << round(np.log2(args.n**0.5))
    kinds = ["Flat", f"IVF{lists},Flat", f"IVF{lists},SQ8", f"OPQ64,IVF{lists},PQ64", "HNSW32"]
    for name in args.vectors:
        make = {"clustered": clustered, "uniform": uniform}[name]
        compare(
            name, *make(args.n, args.queries, np.random.default_rng(0)), args.factories or kinds, name == "clustered"
        )


if __name__ == "__main__":
    main()
