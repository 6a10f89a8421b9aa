"""Results of an evaluator on recorded test motions: the figures of its model card, and their spread.

python benchmarks/bench_evaluator.py realign/pretrained/evaluator prepared/mocap
"""

import argparse

import torch
from torch import Tensor

from realign.data import MotionDataModule
from realign.metrics.generation import (
    Gaussian,
    diversity,
    euclidean_distances,
    frechet_distance,
    matching_batches,
    mm_dist,
    r_precision,
)
from realign.seeding import text_numbers
from realign.tasks import EvaluatorTask, load_task

DRAWS = 20


def embed(task: EvaluatorTask, data: MotionDataModule) -> tuple[Tensor, Tensor, Tensor]:
    task.take_tokens(data.caption_tokens("test"))
    texts, motions, labels = [], [], []
    data.setup("test")
    for batch in data.test_dataloader():
        texts.append(task.embed_captions(batch.captions).cpu())
        motions.append(task.embed_motions(batch.motion.to(task.device), batch.lengths).cpu())
        labels.append(text_numbers(batch.captions))
    return torch.cat(texts), torch.cat(motions), torch.cat(labels)


def report(name: str, values: list[Tensor]) -> None:
    stacked = torch.stack(values).double()
    shown = ", ".join(f"{each:.4f}" for each in stacked.mean(0).reshape(-1).tolist())
    spread = ", ".join(f"{each:.4f}" for each in stacked.std(0).reshape(-1).tolist())
    print(f"{name}: {shown} (standard deviation over {DRAWS} draws {spread})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("evaluator")
    parser.add_argument("data")
    parser.add_argument("--device", default="cpu", help="where motions and captions are embedded (default: cpu)")
    options = parser.parse_args()
    text, motion, labels = embed(
        load_task(options.evaluator, EvaluatorTask).to(options.device), MotionDataModule(options.data)
    )
    print(f"{len(motion)} test motions")
    for name, identical in (("R@1, R@2, R@3, identical captions counted", True), ("R@1, R@2, R@3, strict", False)):
        found = []
        for draw in range(DRAWS):
            rows = matching_batches(len(motion), 32, draw)
            same = labels[rows][:, :, None] == labels[rows][:, None, :] if identical else None
            found.append(r_precision(euclidean_distances(text[rows], motion[rows]), same))
        report(name, found)
    halves, half = [], len(motion) // 2
    for draw in range(DRAWS):
        order = torch.randperm(len(motion), generator=torch.Generator().manual_seed(draw))
        halves.append(frechet_distance(Gaussian.of(motion[order[:half]]), motion[order[half : 2 * half]]))
    report(f"FID of two halves of {half}", halves)
    print(f"their range: {float(min(halves)):.2f} to {float(max(halves)):.2f}")
    print(f"MM-Dist {float(mm_dist(text, motion)):.3f}, Diversity {float(diversity(motion)):.3f}")
    spread = torch.linalg.eigvalsh(torch.cov(motion.double().T))
    directions = spread.sum() ** 2 / spread.square().sum()
    print(f"variance of all channels {float(spread.sum()):.1f}, spread over {float(directions):.1f} directions")


if __name__ == "__main__":
    main()
