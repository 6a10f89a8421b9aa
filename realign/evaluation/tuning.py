"""Choose a generator's guidance on validation clips: a small search in three stages, and the rule that decides."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from realign.errors import InputError
from realign.evaluation.results import Results, Row
from realign.evaluation.settings import Setting
from realign.files import atomic_path
from realign.guidance.config import GuidanceConfig, Point

Window = tuple[float, float]
HIGHER, LOWER, PLAIN = ("R@1",), ("FID",), ("foot_skating",)


@dataclass(frozen=True)
class Search:
    """What a search tries: points and strengths, then windows at the best, then strengths and intervals around it.

    Attributes:
        base: Options that the search leaves alone.
        sampling: Steps, scale of classifier-free guidance and scheduler of all settings.
        points: Where the gradient is taken.
        strengths: Tried at every point in the widest window.
        windows: (start, stop) as fractions of the steps; the first one is that of the first stage.
        factors: Of the best strength, tried last.
        intervals: Tried last.
    """

    base: GuidanceConfig
    sampling: Setting
    points: Sequence[Point] = ("x0", "x_t")
    strengths: Sequence[float] = (30, 100, 300, 1000, 3000, 10000)
    windows: Sequence[Window] = ((0.0, 1.0), (0.0, 0.6), (0.3, 1.0), (0.5, 1.0))
    factors: Sequence[float] = (0.5, 0.7, 1.4, 2.0)
    intervals: Sequence[int] = (1,)

    def stages(self) -> list[Callable[[GuidanceConfig], list[Setting]]]:
        """The settings of each stage, given the best of the stages before (`base` for the first)."""
        return [
            lambda _: [self._setting(self.base, point=p, strength=s) for p in self.points for s in self.strengths],
            lambda best: [self._setting(best, start=start, stop=stop) for start, stop in self.windows[1:]],
            lambda best: [
                *(self._setting(best, strength=_rounded(best.strength * factor)) for factor in self.factors),
                *(self._setting(best, interval=k) for k in self.intervals if k != best.interval),
            ],
        ]

    def unguided(self) -> Setting:
        """The row that all others are compared with."""
        return replace(self.sampling, guidance=GuidanceConfig(method="none"), name="unguided")

    def _setting(self, guidance: GuidanceConfig, **changed: object) -> Setting:
        guidance = replace(guidance, **changed)  # type: ignore[arg-type]
        name = (
            f"{guidance.point} {guidance.start:g}-{guidance.stop:g} every {guidance.interval} "
            f"strength {guidance.strength:g}"
        )
        return replace(self.sampling, guidance=guidance, name=name)


@dataclass(frozen=True)
class Verdict:
    """What the rule says of a guided row.

    Attributes:
        name: Of the row.
        gain: Mean over evaluators of the relative rise of R@1 and the relative fall of FID.
        worse: Measures that are worse than unguided by more than the tolerance; a row qualifies without any.
    """

    name: str
    gain: float
    worse: tuple[str, ...]

    @property
    def rank(self) -> tuple[bool, float]:
        """Greatest for the best row: those that qualify come first, then the gain decides."""
        return not self.worse, self.gain


def judge(results: Results, row: Row, unguided: Row, tolerance: float) -> Verdict:
    """Compare a guided row with the unguided one: means of the same captions, lengths and noise.

    Args:
        results: They hold both rows.
        row: Of a guided setting.
        unguided: Of the generator alone.
        tolerance: Fraction of the unguided value by which a measure may be worse.
    """
    gains, worse = [], []
    for evaluator in results.evaluators:
        for measure in (*HIGHER, *LOWER):
            change = _change(row, unguided, measure, evaluator) * (1 if measure in HIGHER else -1)
            gains.append(change)
            if change < -tolerance:
                worse.append(f"{measure} by {evaluator}")
    for measure in PLAIN:
        if _change(row, unguided, measure, None) > tolerance:
            worse.append(measure.replace("_", " "))
    return Verdict(row.name, 2 * math.fsum(gains) / len(gains), tuple(worse))


def search(
    plan: Search, run: Callable[[list[Setting]], Results], tolerance: float = 0.01
) -> tuple[GuidanceConfig, list[Verdict]]:
    """Run all stages.

    Args:
        plan: What to try.
        run: Measures settings and returns the results, those of earlier stages included.
        tolerance: As for `judge`.

    Returns:
        The guidance of the best row, or none where no row qualifies, and the verdicts, best first.
    """
    best, verdicts = plan.base, dict[str, Verdict]()
    tried: dict[str, GuidanceConfig] = {}
    for stage in plan.stages():
        settings = [each for each in stage(best) if each.name not in tried]
        tried |= {each.name: each.config for each in settings}
        results = run([plan.unguided(), *settings])
        rows = {row.name: row for row in results.rows}
        for setting in settings:
            verdicts[setting.name] = judge(results, rows[setting.name], rows["unguided"], tolerance)
        best = tried[max(verdicts.values(), key=lambda verdict: verdict.rank).name]
    ranked = sorted(verdicts.values(), key=lambda verdict: verdict.rank, reverse=True)
    return GuidanceConfig(method="none") if ranked[0].worse else best, ranked


def write_guidance(path: Path, guidance: GuidanceConfig, reward: str, index: str, known: str | None = None) -> None:
    """Write a ``guidance.yaml``.

    Args:
        path: The file.
        guidance: The options.
        reward: Name of the reward's folder, beside the generator's.
        index: Name of the folder of an index that the reward made.
        known: Name of the folder of an index whose calibration tells which captions the generator knows.
    """
    usual = GuidanceConfig()
    told = {name: value for name, value in guidance.concerning().items() if value != getattr(usual, name)}
    named: dict[str, str] = {"reward": reward, "index": index}
    if guidance.method != usual.method:
        named = {"method": guidance.method}
    if known is not None:
        named["known"] = known
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.safe_dump(named | told, sort_keys=False), encoding="utf-8")


def _change(row: Row, unguided: Row, measure: str, evaluator: str | None) -> float:
    """Relative change of a mean: from 0, any rise counts as 100 %."""
    found, base = (each.estimate(measure, evaluator) for each in (row, unguided))
    if found is None or base is None:
        raise InputError(f"{measure} was not measured for {row.name!r} and {unguided.name!r}; measure both again.")
    return found.mean / base.mean - 1 if base.mean else float(found.mean > 0)


def _rounded(strength: float) -> float:
    """Two significant digits: more would claim a precision that the search does not have."""
    return float(f"{strength:.1e}")
