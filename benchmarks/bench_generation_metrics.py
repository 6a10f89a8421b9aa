"""Time of R-precision, MM-Dist, FID and Diversity, beside the usual code: loops over batches and SciPy's sqrtm.

python benchmarks/bench_generation_metrics.py --n 4384 --threads 2
"""

import argparse
import os
import time

import numpy as np
import scipy.linalg
import torch
from table import report

from realign.metrics.generation import Gaussian
from realign.metrics.generation_metric import GenerationMetrics


def usual(text, motion, mean, covariance, random):
    """One replication as the field's programs compute it."""
    order = random.permutation(len(text))
    hits, distance, count = np.zeros(3), 0.0, 0
    for start in range(0, len(order) // 32 * 32, 32):
        rows = order[start : start + 32]
        x, y = text[rows], motion[rows]
        squares = -2 * x @ y.T + (x**2).sum(1)[:, None] + (y**2).sum(1)
        distances = np.sqrt(squares)
        distance += distances.trace()
        found = np.argsort(distances, axis=1) == np.arange(32)[:, None]
        hits += np.cumsum(found[:, :3], axis=1).sum(0)
        count += 32
    own_mean, own = motion.mean(0), np.cov(motion, rowvar=False)
    root = scipy.linalg.sqrtm(covariance @ own).real
    fid = ((mean - own_mean) ** 2).sum() + np.trace(covariance) + np.trace(own) - 2 * np.trace(root)
    pairs = random.choice(len(motion), 300, replace=False), random.choice(len(motion), 300, replace=False)
    diversity = np.linalg.norm(motion[pairs[0]] - motion[pairs[1]], axis=1).mean()
    return {
        **{f"R@{k}": hits[k - 1] / count for k in (1, 2, 3)},
        "MM-Dist": distance / count, "FID": fid, "Diversity": diversity,
    }  # fmt: skip


def timed(function):
    """Wall seconds, CPU seconds of all threads, and what came of it."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=4384, help="motions of a replication")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="where ours computes (default: cpu)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    spread = torch.logspace(0, -2, args.width)  # spectra of learned embeddings fall off like this
    real, text = (torch.randn(args.n, args.width, generator=generator) * spread for _ in range(2))
    motion = text + 5 * spread * torch.randn(args.n, args.width, generator=generator)
    ids, captions = [f"{i:06d}" for i in range(args.n)], [f"caption {i}" for i in range(args.n)]

    def replication(reference, seed):
        metric = GenerationMetrics(reference, whole_batches=True, seed=seed).to(args.device)
        metric.update(*there, ids, captions)
        return {name: float(value) for name, value in metric.compute().items()}

    there = text.to(args.device), motion.to(args.device)
    arrays = text.double().numpy(), motion.double().numpy()
    mean, covariance = real.double().numpy().mean(0), np.cov(real.double().numpy(), rowvar=False)
    setup, _, reference = timed(lambda: Gaussian.of(real.to(args.device)))
    ours, theirs = [], []
    for seed in range(args.repeats):  # in turn, so that both meet the same load
        random = np.random.default_rng(seed)
        theirs.append(timed(lambda random=random: usual(*arrays, mean, covariance, random)))
        ours.append(timed(lambda seed=seed: replication(reference, seed)))
    many, many_cpu, _ = timed(lambda: [replication(reference, seed) for seed in range(20)])
    fast, slow = (min(wall for wall, _, _ in runs) for runs in (ours, theirs))
    fast_cpu, slow_cpu = (min(cpu for _, cpu, _ in runs) for runs in (ours, theirs))
    print(f"{args.n} x {args.width}, {args.threads} threads, load {os.getloadavg()[0]:.1f}; best of {args.repeats}")
    report("generation measures, usual code over ours", slow / fast)
    print(f"one replication: {fast:.3f} s wall, usual code {slow:.3f} s, ratio {slow / fast:.1f}")
    print(f"                 {fast_cpu:.3f} s CPU,  usual code {slow_cpu:.3f} s, ratio {slow_cpu / fast_cpu:.1f}")
    print(f"20 replications: {many:.2f} s wall, {many_cpu:.2f} s CPU; real side once: {setup:.3f} s")
    for name in theirs[0][2]:
        values = [np.mean([result[name] for _, _, result in runs]) for runs in (ours, theirs)]
        print(f"{name:>10}: {values[0]:.6f}  usual {values[1]:.6f}")


if __name__ == "__main__":
    main()
