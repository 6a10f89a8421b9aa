"""Time of the four retrieval protocols, both directions, beside the usual code that sorts every row.

python benchmarks/bench_retrieval_metrics.py --n 4384 --threads 2
"""

import argparse
import os
import time

import numpy as np
import torch
from table import report

from realign.metrics.retrieval import retrieval_protocols, small_batches


def sorted_ranks(scores, right):
    """The usual code: sort every row, find the right answer's places, average them when tied."""
    ordered = -np.sort(-scores, axis=1)
    best = np.where(right, scores, -np.inf).max(1, keepdims=True)
    rows, places = np.nonzero(ordered == best)
    return np.bincount(rows, places) / np.bincount(rows)


def sorted_table(scores, right):
    table = {}
    for direction, ranks in (("t2m", sorted_ranks(scores, right)), ("m2t", sorted_ranks(scores.T, right.T))):
        table |= {f"{direction}/R@{k}": float((ranks < k).mean()) for k in (1, 2, 3, 5, 10)}
        table[f"{direction}/MedR"] = float(np.median(ranks)) + 1
    return table


def sorted_protocols(scores, ids, near, subset):
    eye = np.eye(len(ids), dtype=bool)
    chosen = [ids.index(name) for name in subset]
    batches = small_batches(ids).numpy()
    parts = [sorted_table(scores[np.ix_(b, b)], eye[:32, :32]) for b in batches]
    tables = {
        "all": sorted_table(scores, eye),
        "threshold": sorted_table(scores, near | eye),
        "dissimilar": sorted_table(scores[np.ix_(chosen, chosen)], eye[:100, :100]),
        "small_batches": {name: float(np.mean([part[name] for part in parts])) for name in parts[0]},
    }
    return {f"{protocol}/{name}": value for protocol, table in tables.items() for name, value in table.items()}


def timed(function, repeats):
    """Result, best wall seconds and best CPU seconds of all threads."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        result = function()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return result, min(walls), min(cpus)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=4384, help="pairs of sentence and motion")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="where ours computes (default: cpu)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    text = torch.randn(args.n, 64, generator=generator)
    text = torch.nn.functional.normalize(text[torch.arange(args.n) % (args.n * 9 // 10)], dim=1)  # a tenth are copies
    motion = torch.nn.functional.normalize(text + 0.15 * torch.randn(args.n, 64, generator=generator), dim=1)
    scores, text_similarity = text @ motion.T, text @ text.T
    scores = (scores * 1e4).round() / 1e4  # ties everywhere
    ids = [f"{i * 7919 % 999983:06d}" for i in range(args.n)]
    subset = ids[:100]
    ours_scores, ours_similarity = scores.to(args.device), text_similarity.to(args.device)
    near = text_similarity.numpy() > 2 * 0.95 - 1

    ours, wall, cpu = timed(
        lambda: retrieval_protocols(ours_scores, ids, text_similarity=ours_similarity, subset=subset), args.repeats
    )
    usual, usual_wall, usual_cpu = timed(lambda: sorted_protocols(scores.numpy(), ids, near, subset), 1)
    print(
        f"{args.n} x {args.n}, both directions, four protocols, {args.threads} threads, load {os.getloadavg()[0]:.1f}"
    )
    print(f"counting: {wall:.3f} s wall, {cpu:.3f} s CPU    sorting: {usual_wall:.3f} s wall, {usual_cpu:.3f} s CPU")
    report("retrieval protocols, sorting over counting", usual_wall / wall)
    print(f"largest difference of a value: {max(abs(ours[name] - usual[name]) for name in usual):.1e}")


if __name__ == "__main__":
    main()
