"""One replication of an evaluation: motions made, embedded and measured batch by batch."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from realign.batch import MotionTextBatch
from realign.distributed import share
from realign.errors import InputError
from realign.evaluation.clips import Draw, EvaluationClips
from realign.evaluation.models import EvaluationModels
from realign.evaluation.results import PLAIN
from realign.evaluation.settings import Protocol
from realign.evaluators.measures import measure_motions
from realign.metrics.generation import Gaussian
from realign.metrics.generation_metric import GenerationMetrics, MultiModality
from realign.metrics.sample_means import SampleMeans
from realign.motion.skeleton import get_skeleton
from realign.seeding import mix_seed

REWARD = "reward"
Make = Callable[[MotionTextBatch, Int[Tensor, "B"]], Mapping[str, Float[Tensor, "B F C"]]]
"""make(batch, one seed a motion) -> motion features, not normalised, by the name of what is measured"""
Made = Callable[[int], None]
"""Called with the number of motions that were just made."""


class Replicator:
    """Measures sets of motions for the captions and lengths of real clips.

    Args:
        clips: The real clips.
        models: Evaluators, and the reward under its name if there is one.
        protocol: How to measure.
        device: Where motions are.
        batch_size: Motions at once.
    """

    def __init__(
        self,
        clips: EvaluationClips,
        models: EvaluationModels,
        protocol: Protocol,
        device: torch.device,
        batch_size: int,
    ) -> None:
        self.clips, self.models, self.protocol = clips, models, protocol
        self.device, self.batch_size = device, batch_size
        self.skeleton = get_skeleton(clips.packed.skeleton)
        self.evaluators = [name for name in models.by_name if name != REWARD]
        self._real: dict[str | None, dict[str, Gaussian]] | None = None

    def motions(self) -> int:
        """Motions of a replication."""
        return min(len(self.clips), self.protocol.clips or len(self.clips))

    def many(self) -> int:
        """Motions of a replication of MModality."""
        return min(len(self.clips), self.protocol.captions) * self.protocol.samples

    def measure(self, names: Sequence[str], make: Make, number: int, made: Made) -> dict[str, dict[str, Any]]:
        """All measures but MModality, over all processes, by name and as `Row.replications` keeps them.

        Each kind of clips that fills a batch is also measured separately, on the same motions.

        Args:
            names: What the motions are called.
            make: Makes the motions.
            number: Of the replication.
            made: Is called after every batch.

        Raises:
            InputError: Fewer finite motions than R-precision ranks at once.
        """
        start = time.perf_counter()
        places = self.clips.draw(self.protocol.clips, number)
        tallies = {name: self._tallies(places, mix_seed(self.clips.seed, number)) for name in names}
        for batch in share(self.clips.batches(places, number, self.batch_size)):
            motions = make(batch, self._seeds(batch, number))
            for name in names:
                self._add(batch, motions[name], tallies[name])
            made(len(batch))
        seconds = round(time.perf_counter() - start, 3)
        return {name: _record(name, tallies[name]) | {"seconds": seconds} for name in names}

    def _tallies(self, places: list[int], seed: int) -> "dict[str | None, _Tally]":
        """Metrics of all motions, and of each kind that fills a batch."""
        kinds = self.clips.kinds([self.clips.ids[place] for place in places])
        counts: dict[str | None, int] = {None: len(places)}
        counts |= {kind: kinds.count(kind) for kind in sorted(set(kinds))}
        measures = [measure for measure in PLAIN if measure != REWARD or REWARD in self.models.by_name]
        return {
            kind: _Tally(count, self.real()[kind], self.protocol, measures, seed, self.device)
            for kind, count in counts.items()
            if kind is None or self.protocol.batch <= count < len(places)
        }

    def diversify(self, names: Sequence[str], make: Make, number: int, made: Made) -> dict[str, dict[str, Any]]:
        """MModality over all processes, by name and as `Row.multimodality` keeps it; arguments as in `measure`."""
        protocol, draw = self.protocol, f"many {number}"
        metrics = {
            (name, each): MultiModality(protocol.caption_pairs, mix_seed(self.clips.seed, draw)).to(self.device)
            for name in names
            for each in self.evaluators
        }
        chosen = self.clips.draw(protocol.captions, draw)
        counted = dict.fromkeys((self.clips.ids[place] for place in chosen), 0)
        batches = self.clips.batches(
            [place for place in chosen for _ in range(protocol.samples)], draw, self.batch_size
        )
        for batch, numbers in share((batch, _count(batch, counted)) for batch in batches):
            motions, lengths = make(batch, self._seeds(batch, draw, numbers)), batch.lengths.to(self.device)
            for (name, each), metric in metrics.items():
                metric.update(self.models.motions(each, motions[name], lengths), batch.ids, numbers)
            made(len(batch))
        tables = {key: metric.compute() for key, metric in metrics.items()}
        return {
            name: {
                "excluded": max(int(tables[name, each]["excluded"]) for each in self.evaluators),
                "evaluators": {each: float(tables[name, each]["MModality"]) for each in self.evaluators},
            }
            for name in names
        }

    def real(self) -> dict[str | None, dict[str, Gaussian]]:
        """Gaussians of real motions for FID, by kind (None: all) and evaluator, of one draw of crops that all
        replications share."""
        if self._real is None:
            parts: dict[str, list[Tensor]] = {name: [] for name in self.evaluators}
            kinds: list[str] = []
            for batch in self.clips.batches(self.clips.places, "real", self.batch_size):
                kinds += self.clips.kinds(batch.ids)
                for name, rows in parts.items():
                    rows.append(self.models.motions(name, batch.motion.to(self.device), batch.lengths))
            chosen: dict[str | None, Tensor] = {None: torch.arange(len(kinds))}
            chosen |= {kind: torch.tensor([i for i, each in enumerate(kinds) if each == kind]) for kind in set(kinds)}
            embedded = {name: torch.cat(rows) for name, rows in parts.items()}
            self._real = {
                kind: {name: Gaussian.of(rows[places.to(rows.device)]) for name, rows in embedded.items()}
                for kind, places in chosen.items()
                if len(places) > 1
            }
        return self._real

    def _add(self, batch: MotionTextBatch, motion: Float[Tensor, "B F C"], tallies: "dict[str | None, _Tally]") -> None:
        lengths = batch.lengths.to(self.device)
        values = measure_motions(motion, lengths, self.skeleton)
        embedded = {name: self.models.motions(name, motion, lengths) for name in self.models.by_name}
        if REWARD in embedded:
            values[REWARD] = (embedded[REWARD] * self.models.text(REWARD, batch.captions)).sum(1)
        # every measure counts the same motions: one that overflows in any of them is left out of all
        finite = torch.stack([motion.flatten(1).sum(1), *values.values(), *(e.sum(1) for e in embedded.values())])
        finite = finite.isfinite().all(0)
        shown = self.clips.actions(batch.ids)
        pairs = {
            name: (self.models.text(name, batch.captions), embedded[name].masked_fill(~finite[:, None], torch.nan))
            for name in self.evaluators
        }
        kinds = self.clips.kinds(batch.ids)
        for kind, tally in tallies.items():
            rows = [row for row, each in enumerate(kinds) if kind in (None, each)]
            tally.update(rows, batch.ids, shown, pairs, values, finite)  # also without rows: all processes must call it

    def _seeds(self, batch: MotionTextBatch, draw: Draw, numbers: list[int] | None = None) -> Int[Tensor, "B"]:
        """The seed of each motion, by that of the run, draw, clip and its number among the motions of one caption."""
        counted = numbers if numbers is not None else [0] * len(batch)
        return torch.tensor([mix_seed(self.clips.seed, draw, *each) for each in zip(batch.ids, counted, strict=True)])


class _Tally:
    """The measures of all motions of a replication, or of one kind."""

    def __init__(
        self,
        clips: int,
        real: dict[str, Gaussian],
        protocol: Protocol,
        measures: list[str],
        seed: int,
        device: torch.device,
    ) -> None:
        self.clips = clips
        self.metrics = {
            evaluator: GenerationMetrics(
                gaussian,
                identical=protocol.identical,
                size=protocol.batch,
                whole_batches=protocol.whole_batches,
                pairs=protocol.pairs,
                seed=seed,
            ).to(device)
            for evaluator, gaussian in real.items()
        }
        self.means = SampleMeans(measures).to(device)

    def update(
        self,
        rows: list[int],
        ids: Sequence[str],
        shown: Sequence[str],
        pairs: dict[str, tuple[Tensor, Tensor]],
        values: dict[str, Tensor],
        finite: Tensor,
    ) -> None:
        """Add some rows of a batch: their ids, captions, embeddings of caption and motion, and plain measures."""
        kept = [row for row in rows if finite[row]]
        self.means.update([ids[row] for row in kept], {measure: value[kept] for measure, value in values.items()})
        for name, metric in self.metrics.items():
            text, motion = pairs[name]
            metric.update(text[rows], motion[rows], [ids[row] for row in rows], [shown[row] for row in rows])

    def compute(self, name: str) -> dict[str, Any]:
        """The record of these motions."""
        tables = {evaluator: _numbers(name, metric) for evaluator, metric in self.metrics.items()}
        (excluded,) = {int(table.pop("excluded")) for table in tables.values()}
        return {
            "clips": self.clips - excluded,
            "excluded": excluded,
            "measures": {measure: float(value) for measure, value in self.means.compute().items()},
            "evaluators": tables,
        }


def _record(name: str, tallies: dict[str | None, _Tally]) -> dict[str, Any]:
    """The record of a replication, but for its seconds, with those of kinds."""
    record = tallies[None].compute(name)
    record["kinds"] = {}
    for kind, tally in tallies.items():
        if kind is not None:
            with suppress(InputError):  # too few motions of this kind are finite to fill a batch
                record["kinds"][kind] = tally.compute(f"{kind} {name}")
    return record


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
