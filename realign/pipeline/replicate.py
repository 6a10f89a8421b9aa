"""One replication of an evaluation: motions made batch by batch, judged, and forgotten."""

import time
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from realign.batch import MotionTextBatch
from realign.errors import InputError
from realign.metrics.generation import Gaussian
from realign.metrics.generation_metric import GenerationMetrics, MultiModality
from realign.metrics.sample_means import SampleMeans
from realign.motion.skeleton import get_skeleton
from realign.pipeline.clips import Draw, EvaluationClips
from realign.pipeline.judges import Judging
from realign.pipeline.processes import share
from realign.pipeline.results import PLAIN
from realign.pipeline.settings import Protocol
from realign.seeding import mix_seed, sample_generators
from realign.tasks.measures import measure_motions

REWARD = "reward"
Make = Callable[[MotionTextBatch, list[torch.Generator]], Float[Tensor, "B F C"]]
"""make(batch, one generator a motion) -> motion features, not normalised"""
Made = Callable[[int], None]
"""Is told how many motions were just made."""


class Replicator:
    """Measures sets of motions for the captions and lengths of real clips.

    Args:
        clips: The real clips.
        judging: Evaluators, and the reward under its name if there is one.
        protocol: How to measure.
        device: Where motions are.
        batch_size: Motions at once.
    """

    def __init__(
        self, clips: EvaluationClips, judging: Judging, protocol: Protocol, device: torch.device, batch_size: int
    ) -> None:
        self.clips, self.judging, self.protocol = clips, judging, protocol
        self.device, self.batch_size = device, batch_size
        self.skeleton = get_skeleton(clips.packed.skeleton)
        self.evaluators = [name for name in judging.judges if name != REWARD]
        self._real: dict[str, Gaussian] | None = None

    def motions(self) -> int:
        """Motions of a replication."""
        return min(len(self.clips), self.protocol.clips or len(self.clips))

    def many(self) -> int:
        """Motions of a replication of MModality."""
        return min(len(self.clips), self.protocol.captions) * self.protocol.samples

    def measure(self, name: str, make: Make, number: int, made: Made) -> dict[str, Any]:
        """All measures but MModality, over all processes, as `Row.replications` keeps them.

        Args:
            name: What the motions are called.
            make: Makes them.
            number: Of the replication.
            made: Is told of every batch.

        Raises:
            InputError: Fewer finite motions than R-precision ranks at once.
        """
        start = time.perf_counter()
        protocol, scored = self.protocol, REWARD in self.judging.judges
        metrics = {
            evaluator: GenerationMetrics(
                real,
                identical=protocol.identical,
                size=protocol.batch,
                whole_batches=protocol.whole_batches,
                pairs=protocol.pairs,
                seed=mix_seed(self.clips.seed, number),
            ).to(self.device)
            for evaluator, real in self.real().items()
        }
        means = SampleMeans([measure for measure in PLAIN if scored or measure != REWARD]).to(self.device)
        places = self.clips.draw(protocol.clips, number)
        for batch in share(self.clips.batches(places, number, self.batch_size)):
            motion = make(batch, self._generators(batch, number))
            self._judge(batch, motion, metrics, means)
            made(len(batch))
        tables = {evaluator: _numbers(name, metric) for evaluator, metric in metrics.items()}
        (excluded,) = {int(table.pop("excluded")) for table in tables.values()}
        return {
            "clips": len(places) - excluded,
            "excluded": excluded,
            "seconds": round(time.perf_counter() - start, 3),
            "measures": {measure: float(value) for measure, value in means.compute().items()},
            "evaluators": tables,
        }

    def diversify(self, make: Make, number: int, made: Made) -> dict[str, Any]:
        """MModality over all processes, as `Row.multimodality` keeps it; arguments as in `measure`."""
        protocol, draw = self.protocol, f"many {number}"
        metrics = {
            name: MultiModality(protocol.caption_pairs, mix_seed(self.clips.seed, draw)).to(self.device)
            for name in self.evaluators
        }
        chosen = self.clips.draw(protocol.captions, draw)
        counted = dict.fromkeys((self.clips.ids[place] for place in chosen), 0)
        batches = self.clips.batches(
            [place for place in chosen for _ in range(protocol.samples)], draw, self.batch_size
        )
        for batch, numbers in share((batch, _count(batch, counted)) for batch in batches):
            motion = make(batch, self._generators(batch, draw, numbers))
            for name, metric in metrics.items():
                metric.update(self.judging.motions(name, motion, batch.lengths.to(self.device)), batch.ids, numbers)
            made(len(batch))
        tables = {name: metric.compute() for name, metric in metrics.items()}
        return {
            "excluded": max(int(table["excluded"]) for table in tables.values()),
            "evaluators": {name: float(table["MModality"]) for name, table in tables.items()},
        }

    def real(self) -> dict[str, Gaussian]:
        """What FID compares with, by evaluator: one draw of crops of all clips, the same for all replications."""
        if self._real is None:
            found: dict[str, list[Tensor]] = {name: [] for name in self.evaluators}
            for batch in self.clips.batches(self.clips.places, "real", self.batch_size):
                for name, parts in found.items():
                    parts.append(self.judging.motions(name, batch.motion.to(self.device), batch.lengths))
            self._real = {name: Gaussian.of(torch.cat(parts)) for name, parts in found.items()}
        return self._real

    def _judge(
        self,
        batch: MotionTextBatch,
        motion: Float[Tensor, "B F C"],
        metrics: dict[str, GenerationMetrics],
        means: SampleMeans,
    ) -> None:
        lengths = batch.lengths.to(self.device)
        values = measure_motions(motion, lengths, self.skeleton)
        embedded = {name: self.judging.motions(name, motion, lengths) for name in self.judging.judges}
        if REWARD in embedded:
            values[REWARD] = (embedded[REWARD] * self.judging.text(REWARD, batch.captions)).sum(1)
        # the same motions for every measure: what is too large for one of them counts for none
        finite = torch.stack([motion.flatten(1).sum(1), *values.values(), *(e.sum(1) for e in embedded.values())])
        finite = finite.isfinite().all(0)
        kept = [each for each, good in zip(batch.ids, finite.tolist(), strict=True) if good]
        means.update(kept, {measure: value[finite] for measure, value in values.items()})
        # a draw may word the same label in two ways: motions are alike where their first captions are
        shown = self.clips.first_captions(batch.ids)
        for name, metric in metrics.items():
            known = embedded[name].masked_fill(~finite[:, None], torch.nan)
            metric.update(self.judging.text(name, batch.captions), known, batch.ids, shown)

    def _generators(
        self, batch: MotionTextBatch, draw: Draw, numbers: list[int] | None = None
    ) -> list[torch.Generator]:
        """The randomness of each motion, by seed, draw, clip and its number among the motions of one caption."""
        counted = numbers if numbers is not None else [0] * len(batch)
        seeds = [mix_seed(self.clips.seed, draw, *each) for each in zip(batch.ids, counted, strict=True)]
        return sample_generators(seeds, "evaluate")


def _count(batch: MotionTextBatch, counted: dict[str, int]) -> list[int]:
    """The number of each motion among those of its caption, going on from `counted`."""
    numbers = []
    for name in batch.ids:
        numbers.append(counted[name])
        counted[name] += 1
    return numbers


def _numbers(name: str, metric: GenerationMetrics) -> dict[str, float]:
    try:
        return {measure: float(value) for measure, value in metric.compute().items()}
    except InputError as error:
        raise InputError(f"Too few motions of {name!r} are free of NaN: {error}") from error
