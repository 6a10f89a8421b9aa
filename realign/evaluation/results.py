"""Results of an evaluation: a file that grows with every replication, and means with intervals."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from realign.errors import InputError
from realign.evaluation.estimate import Estimate
from realign.evaluation.published import compared, read_figures
from realign.files import atomic_path
from realign.system import locked

FORMAT = 1
REAL = "real"


@dataclass
class Row:
    """Measures of real motions, or of one setting.

    Attributes:
        name: Of the setting; ``real`` for recorded motions.
        setting: The setting's fields; None for real motions.
        replications: One record each: ``clips``, ``excluded`` (motions that are not finite), ``seconds`` of sampling,
            ``measures`` (physical ones, and the reward), ``evaluators`` (measures by the evaluator's name) and
            ``kinds`` (a record of the same motions for each kind of clips).
        multimodality: MModality, one record a replication: ``excluded``, and ``evaluators`` (by name).
        speed: Seconds for one caption, see `realign.evaluation.speed`; None where not measured.
        published: Figures of a table, as configurations hold them: a number or [mean, interval] by measure.
    """

    name: str
    setting: dict[str, Any] | None
    replications: list[dict[str, Any]] = field(default_factory=list)
    multimodality: list[dict[str, Any]] = field(default_factory=list)
    speed: dict[str, Any] | None = None
    published: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        evaluator = next(iter(self.replications[0]["evaluators"]), None) if self.replications else None
        found = {name: self.estimate(name, evaluator) for name in ("R@1", "FID") if evaluator is not None}
        told = [f"{name} {each}" for name, each in found.items() if each is not None]
        return f"Row({', '.join([repr(self.name), f'{len(self.replications)} replications', *told])})"

    @property
    def excluded(self) -> int:
        """Motions with a value that is not finite, over all replications but those of MModality."""
        return sum(record["excluded"] for record in self.replications)

    @property
    def excluded_multimodality(self) -> int:
        """Motions with a value that is not finite, over all replications of MModality."""
        return sum(record["excluded"] for record in self.multimodality)

    @property
    def kinds(self) -> list[str]:
        """Kinds of clips that were measured apart."""
        return sorted({kind for record in self.replications for kind in record.get("kinds", {})})

    def estimate(self, measure: str, evaluator: str | None = None, kind: str | None = None) -> Estimate | None:
        """Mean and interval of a measure; None if it was not measured.

        Args:
            measure: R@1, R@2, R@3, MM-Dist, FID, Diversity or MModality of an evaluator; or, without an evaluator,
                reward or one of `realign.metrics.physics.physical_measures`, such as foot_speed_m_s.
            evaluator: Its name.
            kind: Clips of that kind alone; MModality is of all clips.
        """
        values = self._values(measure, evaluator, kind)
        return Estimate.of(values) if values else None

    def difference(self, base: "Row", measure: str, evaluator: str | None = None) -> Estimate | None:
        """Mean and interval of the difference to another row, replication by replication; None without replications.

        In a replication, all settings have the same captions, lengths and noise. Their effect on both rows cancels out,
        so that the interval is narrower than those of the rows.

        Args:
            base: The other row, such as the unguided generator's.
            measure: As for `estimate`.
            evaluator: Its name.
        """
        pairs = zip(self._values(measure, evaluator), base._values(measure, evaluator), strict=False)
        differences = [own - other for own, other in pairs]
        return Estimate.of(differences, difference=True) if differences else None

    def _values(self, measure: str, evaluator: str | None, kind: str | None = None) -> list[float]:
        records = self.replications
        if kind is not None:
            records = [record["kinds"][kind] for record in records if kind in record.get("kinds", {})]
        if measure == "MModality":
            values = [record["evaluators"].get(evaluator) for record in self.multimodality if kind is None]
        elif evaluator is None:
            values = [record["measures"].get(measure) for record in records]
        else:
            values = [record["evaluators"].get(evaluator, {}).get(measure) for record in records]
        return [float(value) for value in values if value is not None]


@dataclass
class Results:
    """All rows of an evaluation, real motions first.

    Attributes:
        about: What every row has in common: protocol, data, seed, models. Only results that have it in common can be
            continued.
        rows: The rows.
    """

    about: dict[str, Any]
    rows: list[Row] = field(default_factory=list)

    def __repr__(self) -> str:
        rows = "".join(f"\n  {row!r}" for row in self.rows)
        return f"Results({len(self.rows)} rows{rows})"

    @property
    def evaluators(self) -> list[str]:
        """Names of the evaluators."""
        return list(self.about["evaluators"])

    def row(self, name: str, setting: dict[str, Any] | None) -> Row:
        """The row of a setting, a new one where there is none.

        Raises:
            InputError: Another setting has that name.
        """
        for row in self.rows:
            if row.name == name:
                if row.setting != setting:
                    raise InputError(f"The results hold other settings under {name!r}; call these by another name.")
                return row
        self.rows.append(Row(name, setting))
        return self.rows[-1]

    def save(self, path: str | Path) -> None:
        """Write all as JSON, completely or not at all, with means and intervals for readers.

        Rows and further replications that another process has written there meanwhile are kept.

        Raises:
            InputError: The file holds results with another `about`, or of other settings under a name.
        """
        with locked(path):
            whole = self._joined_to(path)
            rows = [asdict(row) | {"summary": self._summary(row)} for row in whole.rows]
            content = {"format": FORMAT, "about": self.about, "rows": rows}
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def _joined_to(self, path: str | Path) -> "Results":
        """These results and further ones of a file, in the order of the file; another kind of file is ignored."""
        try:
            whole = Results.load(path)
        except InputError as error:
            if isinstance(error.__cause__, OSError) and Path(path).is_file():
                raise
            return self
        _check_same(path, whole.about, self.about)
        for row in self.rows:
            found = whole.row(row.name, row.setting)
            found.replications = row.replications + found.replications[len(row.replications) :]
            found.multimodality = row.multimodality + found.multimodality[len(row.multimodality) :]
            found.speed = row.speed or found.speed
            found.published = row.published or found.published
        return whole

    @classmethod
    def load(cls, path: str | Path) -> "Results":
        """Results from a file.

        Raises:
            InputError: The file is something else.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']}")
            return cls(content["about"], [_read_row(row) for row in content["rows"]])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} holds no results of an evaluation ({error}); choose another output file."
            ) from error  # fmt: skip

    def _summary(self, row: Row) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for evaluator, measure in [
            *((name, measure) for name in self.evaluators for measure in LEARNED),
            *((None, measure) for measure in PLAIN),
        ]:
            estimate = row.estimate(measure, evaluator)
            if estimate is not None:
                found[measure if evaluator is None else f"{evaluator}/{measure}"] = asdict(estimate)
        if row.published:
            found["published"] = self.compared(row)
        return found | {"replications": len(row.replications), "excluded": row.excluded + row.excluded_multimodality}

    def compared(self, row: Row) -> dict[str, dict[str, float | None]]:
        """The published figures of a row beside the measures by the first evaluator, see `compared`."""
        estimates = {name: row.estimate(name, self.evaluators[0]) for name in row.published}
        measured = {name: each.mean for name, each in estimates.items() if each is not None}
        return compared(read_figures(row.published, LEARNED), measured)


def _read_row(row: dict[str, Any]) -> Row:
    """A row of the file; one of the first version calls `guidance_scale` cfg, and keeps some options apart."""
    found = Row(**{each.name: row[each.name] for each in fields(Row) if each.name != "published"})
    found.published = row.get("published", {})
    read_figures(found.published, LEARNED)
    if isinstance(found.setting, dict) and isinstance(found.setting.get("options"), dict):
        found.setting |= found.setting.pop("options")
    if isinstance(found.setting, dict) and "cfg" in found.setting:
        scale = found.setting.pop("cfg")
        old, new = f"cfg={scale}", f"guidance_scale={scale}"
        found.name = " ".join(new if word == old else word for word in found.name.split(" "))
        found.setting |= {"name": found.name, "guidance_scale": scale}
    return found


LEARNED = ("R@1", "R@2", "R@3", "FID", "MM-Dist", "Diversity", "MModality")
PLAIN = (
    *("reward", "foot_skating", "foot_speed_m_s", "foot_slide", "penetration_m", "floating_m", "jerk_m_s3"),
    *("bone_variation", "bone_range_m", "bone_range_mean_m"),
)


def open_results(path: str | Path | None, about: dict[str, Any]) -> Results:
    """Results to continue: those in the file if it exists, else new ones.

    Args:
        path: The file; None keeps the results in memory.
        about: What they must have in common.

    Raises:
        InputError: The file holds something else, or results with another `about`.
    """
    if path is None:
        return Results(about)
    with locked(path):  # fails now if nothing can be written there
        if not Path(path).exists():
            return Results(about)
        found = Results.load(path)
    _check_same(path, found.about, about)
    return found


def _check_same(path: str | Path, found: dict[str, Any], about: dict[str, Any]) -> None:
    """Refuse results of another evaluation."""
    plain = json.loads(json.dumps(about))
    differs = [name for name in {**found, **plain} if found.get(name) != plain.get(name)]
    if differs:
        raise InputError(
            f"{path} holds results with another {differs[0]} ({found.get(differs[0])}, now "
            f"{plain.get(differs[0])}); choose another output file."
        )
