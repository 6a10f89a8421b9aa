"""Seconds to write a 196-frame GIF, beside a plain Matplotlib animation in the same run (aim: under 2 s on one core).

    python benchmarks/bench_render.py [--frames 196] [--plain-frames 12]

The plain version is the usual one: `FuncAnimation` over 3-d axes that are cleared and redrawn for every frame,
saved by Matplotlib's Pillow writer. It draws `--plain-frames` frames and is scaled up to `--frames`, set-up
left out.
CPU seconds of this process are printed beside the elapsed ones, since other programs on the machine stretch the latter.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.animation import FuncAnimation, PillowWriter

from realign.motion.clip import MotionClip
from realign.motion.skeleton import HUMANML3D
from realign.render.save import save_motions


def make_clip(frames: int, metres: float) -> MotionClip:
    """A person in the neutral pose who swings arms and legs on a trajectory of `metres`."""
    pose = np.zeros((22, 3))
    for joint, parent in enumerate(HUMANML3D.parents[1:], start=1):
        offset = np.array(HUMANML3D.rest_offsets)[joint]
        pose[joint] = pose[parent] + (offset if joint != 15 else (0, np.linalg.norm(offset), 0))
    pose[:, 1] -= pose[:, 1].min()
    joints = np.repeat(pose[None], frames, axis=0)
    swing = 0.25 * np.sin(np.arange(frames) * 0.35)[:, None]
    joints[:, [4, 7, 10, 19, 21], 2] += swing
    joints[:, [5, 8, 11, 18, 20], 2] -= swing
    joints[..., 2] += np.linspace(0, metres, frames)[:, None]
    return MotionClip(joints.astype(np.float32), 20.0, "a person walks forward and swings both arms")


def plain_animation(path: Path, clip: MotionClip, frames: int) -> None:
    """The usual animation."""
    figure = plt.figure(figsize=(4, 4), dpi=100)
    axes = figure.add_subplot(projection="3d")

    def update(frame: int) -> None:
        axes.clear()
        axes.view_init(elev=16, azim=-50)
        axes.set_xlim3d(-2, 2)
        axes.set_ylim3d(-1, 5)
        axes.set_zlim3d(0, 2)
        axes.set_title(clip.caption)
        trajectory = clip.joints[: frame + 1, 0]
        axes.plot(trajectory[:, 0], trajectory[:, 2], np.zeros(len(trajectory)), color="grey")
        for chain, colour in zip(HUMANML3D.chains, ("red", "blue", "black", "red", "blue"), strict=True):
            line = clip.joints[frame, list(chain)]
            axes.plot(line[:, 0], line[:, 2], line[:, 1], linewidth=3, color=colour)

    FuncAnimation(figure, update, frames=frames, interval=50).save(path, writer=PillowWriter(fps=20))
    plt.close(figure)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Elapsed and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=196)
    parser.add_argument("--plain-frames", type=int, default=12)
    options = parser.parse_args()
    matplotlib.use("Agg")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.gif"
        walk = make_clip(options.frames, 6.0)
        save_motions(path, [make_clip(2, 1.0)])  # imports and the font are loaded once a process
        plain_animation(path, walk, 1)
        few = seconds(lambda: plain_animation(path, walk, 2))
        more = seconds(lambda: plain_animation(path, walk, 2 + options.plain_frames))
        plain = [(b - a) / options.plain_frames * options.frames for a, b in zip(few, more, strict=True)]
        print(f"plain Matplotlib, {options.frames} frames (scaled up from {options.plain_frames}): "
              f"{plain[0]:.2f} s, CPU {plain[1]:.2f} s")  # fmt: skip
        for camera in ("follow", "fixed"):
            ours = seconds(lambda camera=camera: save_motions(path, [walk], camera=camera))
            print(f"realign, camera {camera}, {options.frames} frames: {ours[0]:.2f} s, CPU {ours[1]:.2f} s, "
                  f"{path.stat().st_size / 1e6:.2f} MB, {plain[1] / ours[1]:.1f} times as fast (CPU)")  # fmt: skip


if __name__ == "__main__":
    main()
