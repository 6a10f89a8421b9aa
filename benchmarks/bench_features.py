"""Clips per second through `clips_to_features`, beside a per-clip NumPy program, on one thread.

python benchmarks/bench_features.py [--clips 400] [--frames 90] [--data FOLDER of .npy joints]
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "motion"))

import plain_features
from made import person

from realign.motion import HUMANML3D, clips_to_features


def rate(function, clips, repeats):
    """Clips per second: the best of some runs, wall clock."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(clips)
        times.append(time.perf_counter() - start)
    return len(clips) / min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--frames", type=int, default=90, help="frames of made clips")
    parser.add_argument("--data", type=Path, help="folder of .npy joints to use instead of made clips")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.data:
        paths = sorted(args.data.glob("*.npy"))
        chosen = [np.load(path) for path in paths[:: max(1, len(paths) // args.clips)]]
    else:
        chosen = [person(seed, args.frames).float().numpy() for seed in range(args.clips)]
    clips = [torch.from_numpy(clip) for clip in chosen]
    clips_to_features(clips[:8])  # warm up
    ours = rate(clips_to_features, clips, 3)
    few = chosen[:: max(1, len(chosen) // 60)]
    plain = rate(lambda some: [plain_features.features(clip, HUMANML3D) for clip in some], few, 2)
    frames = sum(map(len, clips)) / len(clips)
    print(f"{len(clips)} clips of {frames:.0f} frames, one thread")
    print(f"clips_to_features {ours:.0f} clips/s, plain NumPy {plain:.0f} clips/s, ratio {ours / plain:.1f}")


if __name__ == "__main__":
    main()
