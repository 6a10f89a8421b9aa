"""What people see of generated motions, as the network says them and cleaned, beside recordings.

    python benchmarks/bench_clean.py --data prepared/mocap [--samples 8] [--checkpoint PATH] [--captions TEXT ...]

Each caption is generated `--samples` times with the generator's own options. The recordings beside them are as many
recorded motions of the shipped index that are nearest to the caption, and are measured as they are and cleaned. Prints
one table in Markdown, means over the motions, and the processor time of cleaning a motion.
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np
import torch

from realign import MotionSearch, TextToMotion
from realign.metrics.physics import physical_measures
from realign.motion.cleaning import clean_clip
from realign.motion.clip import MotionClip
from realign.motion.skeleton import get_skeleton

CAPTIONS = (
    *("a person walks forward", "a person turns left", "a person runs", "a person waves the right hand"),
    *("a person bows", "a person walks and turns left"),
)
COLUMNS = {
    "foot_speed_m_s": ("lower foot (m/s)", 1, 3),
    "foot_slide": ("sliding (%)", 100, 1),
    "foot_skating": ("skating (%)", 100, 1),
    "bone_range_m": ("bone range, max (cm)", 100, 2),
    "bone_range_mean_m": ("mean (cm)", 100, 2),
    "bone_variation": ("bone variation (%)", 100, 2),
    "penetration_m": ("penetration (mm)", 1000, 1),
    "jerk_m_s3": ("jerk (m/s^3)", 1, 0),
}


def measure(clip: MotionClip) -> dict[str, float]:
    skeleton = get_skeleton(clip.skeleton)
    found = physical_measures(
        torch.from_numpy(clip.joints)[None].double() * skeleton.metres,
        torch.ones(1, len(clip), dtype=torch.bool),
        feet=(skeleton.feet_left[1], skeleton.feet_right[1]),
        parents=skeleton.parents,
        fps=clip.fps,
    )
    return {name: float(value) for name, value in found.items()}


def moved(clips: Sequence[MotionClip], others: Sequence[MotionClip]) -> float:
    """Mean distance of the joints of one motion from those of the other (cm)."""
    apart = [np.linalg.norm(a.joints - b.joints, axis=-1).mean() for a, b in zip(clips, others, strict=True)]
    return 100 * get_skeleton(clips[0].skeleton).metres * float(np.mean(apart))


def line(name: str, rows: Sequence[dict[str, float]], distance: float | None) -> str:
    cells = [f"{scale * np.mean([r[key] for r in rows]):.{digits}f}" for key, (_, scale, digits) in COLUMNS.items()]
    return "| " + " | ".join([name, *cells, "–" if distance is None else f"{distance:.2f}"]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the prepared set that the shipped index was made from")
    parser.add_argument("--checkpoint", help="a generator (default: the shipped one)")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--captions", nargs="+", default=CAPTIONS)
    options = parser.parse_args()
    model, search = TextToMotion.from_pretrained(options.checkpoint), MotionSearch.from_pretrained()
    print("| | " + " | ".join(title for title, _, _ in COLUMNS.values()) + " | moved (cm) |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    every: dict[str, tuple[list[dict[str, float]], list[float]]] = {}

    def show(caption: str, name: str, clips: Sequence[MotionClip], distance: float | None = None) -> None:
        rows = [measure(clip) for clip in clips]
        print(line(f"{caption}, {name}", rows, distance), flush=True)
        kept = every.setdefault(name, ([], []))
        kept[0].extend(rows)
        kept[1].extend([] if distance is None else [distance])

    for caption in options.captions:
        raw, clean = (
            model.generate([caption], samples=options.samples, steps=options.steps, raw=said) for said in (True, False)
        )
        show(caption, "raw", raw)
        show(caption, "clean", clean, moved(clean, raw))
        (hits,) = search.by_text([caption], k=10 * options.samples)
        near = [hit for hit in hits if hit.source == "recorded"][: options.samples]
        recorded = search.clips(near, options.data)
        again = [clean_clip(clip) for clip in recorded]
        show(caption, "recorded", recorded)
        show(caption, "recorded, cleaned", again, moved(again, recorded))
    for name, (rows, distances) in every.items():
        print(line(f"**all, {name}**", rows, float(np.mean(distances)) if distances else None))
    longest = max(raw + recorded, key=len)
    start = time.process_time()
    for _ in range(5):
        clean_clip(longest)
    print(f"\ncleaning {len(longest)} frames: {1000 * (time.process_time() - start) / 5:.0f} ms of processor time")


if __name__ == "__main__":
    main()
