"""Measure a generator: real motions, then any number of settings, by any number of evaluators."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import torch

from realign.distributed import from_first, processes
from realign.errors import InputError, renamed
from realign.evaluation.clips import EvaluationClips
from realign.evaluation.models import EvaluationModels, check_independent
from realign.evaluation.replicate import REWARD, Made, Replicator
from realign.evaluation.results import REAL, Results, Row, open_results
from realign.evaluation.sampling import SettingSampler, recorded, sampled_once
from realign.evaluation.settings import PROTOCOLS, Precision, Protocol, Setting, default_settings, unique_settings
from realign.evaluation.speed import measure_speed
from realign.guidance.config import GuidanceConfig
from realign.index.motion_index import MotionIndex
from realign.interfaces import MotionTextModel, TextToMotionModel, frozen
from realign.nn.embedder import JointEmbedding
from realign.seeding import mix_seed
from realign.text.captions import encoders_of, warn_about

Watch = Callable[[str, int, int], None]
"""watch(what is being made, motions made, motions in all)"""


class Evaluation:
    """A generator, the clips whose captions it is given, and the evaluators that measure its motions.

    A motion depends only on the seed, the replication, its clip's id and the setting: all settings have the same
    captions, lengths and noise, and neither batches nor processes change the results. Where `torch.distributed` runs,
    every process samples some of the batches, and all return the same results.

    Args:
        generator: A trained generator.
        clips: Real clips; the generator gets their captions and lengths.
        evaluators: By name, any number of them, for second opinions.
        protocol: How to measure.
        reward: Guides, and scores the motions of every row; needed where a setting guides.
        index: Motions of the training set embedded by the reward; needed where a setting's eta is not 0.
        batch_size: Motions made at once.
        precision: What the generator computes in; ``bf16`` is faster where the hardware knows it.
        default: The generator's own guidance, for settings with the guidance ``default``; None is no guidance.

    Raises:
        InputError: Too few clips, parts that do not fit, an unknown precision, or an evaluator that shares weights
            with the reward.
    """

    def __init__(
        self,
        generator: TextToMotionModel,
        clips: EvaluationClips,
        evaluators: Mapping[str, MotionTextModel],
        protocol: Protocol = PROTOCOLS["guo"],
        *,
        reward: JointEmbedding | None = None,
        index: MotionIndex | None = None,
        batch_size: int = 32,
        precision: Precision = "fp32",
        default: GuidanceConfig | None = None,
    ) -> None:
        self.generator, self.clips, self.protocol = frozen(generator), clips, protocol
        self.reward, self.index, self.precision, self.default = reward, index, precision, default
        if precision not in get_args(Precision):
            raise InputError(f"Unknown precision {precision!r}; choose one of {', '.join(get_args(Precision))}.")
        by_name = dict(evaluators)
        if not by_name or batch_size < 1:
            raise InputError(f"Got {len(by_name)} evaluators and batch size {batch_size}; give at least 1 of each.")
        if reward is not None:
            for name, evaluator in by_name.items():
                check_independent(name, evaluator, reward)
        if REWARD in by_name:
            raise InputError(f"An evaluator is called {REWARD!r}, as the reward is; name it otherwise, by NAME=PATH.")
        if reward is not None:
            by_name[REWARD] = reward
        self._check_clips(batch_size)
        models = EvaluationModels(by_name, clips, generator.device)
        self.replicator = Replicator(clips, models, protocol, generator.device, batch_size)
        self._evaluators = list(evaluators)

    def __repr__(self) -> str:
        clips = f"{len(self.clips)} clips of {self.clips.split}, protocol {self.protocol.name}"
        return f"Evaluation({type(self.generator).__name__}, {clips}, evaluators {', '.join(self._evaluators)})"

    def run(
        self,
        settings: Sequence[Setting] | None = None,
        *,
        replications: int = 20,
        multimodality: int = 0,
        time_captions: int = 0,
        output: str | Path | None = None,
        watch: Watch | None = None,
        sentences: int | None = None,
    ) -> Results:
        """Measure real motions and every setting.

        Results that are in the output file are not computed again: a run that was killed continues, and new settings or
        replications are added.

        Args:
            settings: What to sample; None is what `realign evaluate` measures by itself: the generator unguided and,
                where it has a guidance of its own, guided as `TextToMotion.generate` guides it.
            replications: How often each is measured.
            multimodality: Replications of MModality, which takes many motions of each caption; none by default.
            time_captions: Captions to time each setting with; none by default.
            output: JSON file, written after every replication; None keeps the results in memory.
            watch: Is called with the progress.
            sentences: Old name of `time_captions`.

        Raises:
            InputError: Numbers or settings that make no sense, a reward that does not fit, or a file of other results.
        """
        if sentences is not None:
            renamed("sentences", "time_captions")
            time_captions = sentences
        for name, value, least in (
            ("replications", replications, 1),
            ("replications of MModality", multimodality, 0),
            ("captions to time", time_captions, 0),
        ):
            if value < least:
                raise InputError(f"{value} {name} cannot be made; ask for at least {least}.")
        first = processes()[0] == 0
        asked = default_settings(self.default) if settings is None else [e.resolved(self.default) for e in settings]
        samplers = {
            each.name: SettingSampler(each, self.generator, self.reward, self.index, self.precision)
            for each in unique_settings(asked)
        }
        if first:
            warn_about(self.clips.captions(), encoders_of(self.generator, self.reward))
        results = from_first(open_results(output, self.about()) if first else None) or Results({})
        rows = [
            results.row(REAL, None),
            *(results.row(name, self._told(each.setting)) for name, each in samplers.items()),
        ]
        work = _Work(self.replicator, watch, rows[1:], replications, multimodality)

        def save() -> None:
            if output is not None and first:
                results.save(output)

        groups = _groups(rows, samplers)
        for number in range(max(replications, multimodality)):
            for group in groups:
                for kept, count in (("replications", replications), ("multimodality", multimodality)):
                    if number < count and self._add(kept, number, group, samplers, f"{number + 1}/{count}", work):
                        save()
        for row in rows[1:]:
            if time_captions and row.speed is None:
                row.speed = from_first(self._time(samplers[row.name], time_captions) if first else None)
                save()
        return results

    def _add(
        self,
        kept: str,
        number: int,
        group: Sequence[Row],
        samplers: Mapping[str, SettingSampler],
        label: str,
        work: "_Work",
    ) -> bool:
        """Add a record to the rows of a group that lack it, from one sampling; whether there were any.

        Args:
            kept: replications, or multimodality, which recorded motions do not have.
            number: Of the record.
            group: Rows of the same samples.
            samplers: By name.
            label: Of the progress.
            work: Counts the motions.
        """
        many = kept == "multimodality"
        due = [row for row in group if len(getattr(row, kept)) == number and not (many and row.setting is None)]
        if not due:
            return False
        names = [row.name for row in due]
        make = recorded(REAL, self.generator.device) if REAL in names else sampled_once([samplers[n] for n in names])
        measure = self.replicator.diversify if many else self.replicator.measure
        found = measure(names, make, number, work.made(f"MModality {label}" if many else label, due))
        for row in due:
            getattr(row, kept).append(found[row.name])
        return True

    def about(self) -> dict[str, Any]:
        """What the results of one table have in common."""
        packed, generator, models = self.clips.packed, self.generator, self.replicator.models.by_name
        return {
            "protocol": asdict(self.protocol),
            "data": {
                "set": packed.identity,
                "skeleton": packed.skeleton,
                "split": self.clips.split,
                "kind": self.clips.kind,
                "clips": len(self.clips),
            },
            "seed": self.clips.seed,
            "precision": self.precision,
            "generator": generator.fingerprint,
            "reward": None if self.reward is None else self.reward.fingerprint,
            "evaluators": {name: models[name].fingerprint for name in self.replicator.evaluators},
        }

    def _told(self, setting: Setting) -> dict[str, Any]:
        """Plain values of a row's setting, with the index of its anchors."""
        told = setting.told()
        if self.index is not None and told.get("eta"):
            told["index"] = self._index_digest
        return told

    @cached_property
    def _index_digest(self) -> str | None:
        """Computed once for all settings, since it reads the whole index."""
        return None if self.index is None else self.index.digest

    def _check_clips(self, batch_size: int) -> None:
        clips, least, world = self.clips, self.protocol.batch, processes()[1]
        count = min(len(clips), self.protocol.clips or len(clips))
        if count < least:
            raise InputError(
                f"{count} clips do not fill one batch of {least}, in which R-precision ranks; evaluate at least "
                f"{least}."
            )
        if (count - 1) // batch_size + 1 < world:
            raise InputError(
                f"{count} clips in batches of {batch_size} cannot be shared by {world} processes; use fewer or "
                "smaller batches."
            )
        if self.generator.skeleton != clips.packed.skeleton:
            raise InputError(
                f"The generator makes the skeleton {self.generator.skeleton!r}, but {clips.packed.folder} shows "
                f"{clips.packed.skeleton!r}; take a set of the generator's skeleton."
            )

    def _time(self, sampler: SettingSampler, captions: int) -> dict[str, Any]:
        places = self.clips.draw(captions, "speed")
        batches = list(self.clips.batches(places, "speed", 1))

        def sample(number: int) -> None:
            batch = batches[number]
            sampler(batch, torch.tensor([mix_seed(self.clips.seed, "speed", *batch.ids)]))

        return measure_speed(self.generator, [batch.captions[0] for batch in batches], sample, self.reward)


class _Work:
    """Counts the motions that are still to be made, and those that are."""

    def __init__(
        self, replicator: Replicator, watch: Watch | None, rows: Sequence[Row], replications: int, many: int
    ) -> None:
        left = sum(max(0, replications - len(row.replications)) for row in rows) * replicator.motions()
        left += sum(max(0, many - len(row.multimodality)) for row in rows) * replicator.many()
        self.watch, self.done, self.left = watch, 0, left

    def made(self, label: str, rows: Sequence[Row]) -> Made:
        """What to tell of every batch of rows that are made together; recorded motions cost nothing."""
        counted = sum(row.setting is not None for row in rows)

        def tell(count: int) -> None:
            self.done = min(self.done + count * processes()[1] * counted, self.left)
            if self.watch is not None:
                self.watch(f"{rows[0].name} {label}", self.done, self.left)

        return tell


def _groups(rows: Sequence[Row], samplers: Mapping[str, SettingSampler]) -> list[list[Row]]:
    """Rows of the same samples together; recorded motions are a group of their own."""
    groups: dict[Setting | None, list[Row]] = {}
    for row in rows:
        groups.setdefault(samplers[row.name].setting.sampled if row.name in samplers else None, []).append(row)
    return list(groups.values())
