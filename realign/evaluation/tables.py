"""Results as rows of Markdown and LaTeX, and as a picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from realign.errors import optional_packages
from realign.evaluation.estimate import METHODS, PUBLISHED, Estimate
from realign.evaluation.results import Results, Row
from realign.evaluation.settings import CLEAN
from realign.files import atomic_path


@dataclass(frozen=True)
class Column:
    """A measure as a table shows it.

    Attributes:
        measure: Its name in the results.
        title: Its name in the table.
        better: ``up``, ``down``, or ``real`` (near real motions is better).
        digits: After the decimal point.
        scale: Factor of the shown value.
    """

    measure: str
    title: str
    better: str
    digits: int = 3
    scale: float = 1.0


LEARNED = (
    Column("R@1", "R@1", "up"),
    Column("R@2", "R@2", "up"),
    Column("R@3", "R@3", "up"),
    Column("FID", "FID", "down"),
    Column("MM-Dist", "MM-Dist", "down"),
    Column("Diversity", "Diversity", "real"),
    Column("MModality", "MModality", "up"),
)
PHYSICAL = (
    Column("reward", "Reward", "up"),
    Column("foot_skating", "Skating (%)", "down", 1, 100),
    Column("foot_speed_m_s", "Lower foot (m/s)", "down", 3),
    Column("foot_slide", "Sliding (%)", "down", 1, 100),
    Column("penetration_m", "Penetration (mm)", "down", 1, 1000),
    Column("floating_m", "Floating (mm)", "real", 1, 1000),
    Column("jerk_m_s3", "Jerk (m/s^3)", "real", 0),
    Column("bone_variation", "Bone variation (%)", "down", 2, 100),
    Column("bone_range_m", "Bone range, max (cm)", "down", 2, 100),
    Column("bone_range_mean_m", "mean (cm)", "down", 2, 100),
)
_DIRECTIONS = f"{METHODS['student']}; above 0 is better where ↑, worse where ↓, and neither where →"
_MARKDOWN = {"up": " ↑", "down": " ↓", "real": " →"}
_LATEX = {"up": r"$\uparrow$", "down": r"$\downarrow$", "real": r"$\rightarrow$"}


def markdown(results: Results) -> str:
    """Tables for every evaluator, and of physical measures and the reward, also for each kind of clips; differences to
    the first setting; and speed if it was measured."""
    about = results.about
    data = about["data"]
    only = f" {data['kind']}" if data["kind"] else ""
    parts = [
        f"Protocol {about['protocol']['name']}, {data['clips']}{only} clips of the {data['split']} split, seed "
        f"{about['seed']}, sampled in {about['precision']}, {_raw(results)}; {_about_means(results)}."
    ]
    for evaluator, kind in _blocks(results):
        columns = _columns(results, evaluator, kind)
        title = f"Evaluator: {evaluator}" if evaluator else "Physical measures" + _and_reward(columns)
        title += f"; {kind} clips apart" if kind else ""
        head = ["Setting", *(column.title + _MARKDOWN[column.better] for column in columns)]
        rows = [[_title(row), *(_cells(row, columns, evaluator, kind, "{} ± {}"))] for row in results.rows]
        parts.append(f"**{title}**\n\n" + _pipes(head, rows))
    settings = [row for row in results.rows if row.setting is not None]
    for evaluator in [*results.evaluators, None] if len(settings) > 1 else []:
        base, *others = settings
        columns = _columns(results, evaluator)
        head = [f"Less {base.name}", *(column.title + _MARKDOWN[column.better] for column in columns)]
        rows = [
            [
                row.name,
                *(_cell(row.difference(base, each.measure, evaluator), each, "{} ± {}", "+") for each in columns),
            ]
            for row in others
        ]
        title = f"Evaluator: {evaluator}" if evaluator else "Physical measures" + _and_reward(columns)
        parts.append(f"**{title}; differences, replication by replication** ({_DIRECTIONS})\n\n" + _pipes(head, rows))
    parts += _published(results)
    timed = [row for row in results.rows if row.speed]
    if timed:
        head = ["Setting", "AITS p50 (s)", "p95 (s)", "text p50 (s)", "text p95 (s)", "device"]
        keys = ("p50_s", "p95_s", "text_p50_s", "text_p95_s")
        lines = [
            [row.name, *(f"{row.speed[key]:.4f}" for key in keys), row.speed["device"]] for row in timed if row.speed
        ]
        parts.append("**Seconds for one caption, the text encoding apart**\n\n" + _pipes(head, lines))
    return "\n\n".join(parts) + "\n"


def _raw(results: Results) -> str:
    """Whether motions are as the network says them."""
    clean = any((row.setting or {}).get(CLEAN) for row in results.rows)
    return "motions raw, as the network says them" + (f", but for rows called {CLEAN}" if clean else "")


def _published(results: Results) -> list[str]:
    """Figures of a published table beside those of the first evaluator, and their differences."""
    rows = [row for row in results.rows if row.published]
    columns = [each for each in LEARNED if any(each.measure in row.published for row in rows)]
    lines = []
    for row in rows:
        found = results.compared(row)
        measured = [row.estimate(each.measure, results.evaluators[0]) for each in columns]
        figures = [found.get(each.measure, {}) for each in columns]
        told = [
            Estimate(figure["mean"], figure["interval"]) if figure else None  # type: ignore[arg-type]
            for figure in figures
        ]
        differences = [figure.get("difference") for figure in figures]
        lines += [
            [f"{row.name}, measured", *(_cell(each, c, "{} ± {}") for each, c in zip(measured, columns, strict=True))],
            [f"{row.name}, published", *(_cell(each, c, "{} ± {}") for each, c in zip(told, columns, strict=True))],
            [
                f"{row.name}, difference",
                *(
                    _cell(None if each is None else Estimate(each), c, "{}", "+")
                    for each, c in zip(differences, columns, strict=True)
                ),
            ],
        ]
    head = ["Row", *(column.title + _MARKDOWN[column.better] for column in columns)]
    title = f"Published figures, beside the evaluator {results.evaluators[0]}"
    return [f"**{title}**\n\n" + _pipes(head, lines)] if lines else []


def latex(results: Results) -> str:
    """The same tables as rows for a tabular environment, one block an evaluator, with a comment for a head."""
    blocks, form = [f"% {_about_means(results)}\n"], "${}^{{\\pm {}}}$"
    for evaluator, kind in _blocks(results):
        columns = _columns(results, evaluator, kind)
        head = ["Setting", *(_escape(column.title) + _LATEX[column.better] for column in columns)]
        rows = [head, *([_escape(_title(r)), *_cells(r, columns, evaluator, kind, form)] for r in results.rows)]
        title = f"% {evaluator or 'physical measures'}" + (f", {kind} clips" if kind else "")
        blocks.append(f"{title}\n" + "".join(" & ".join(row) + " \\\\\n" for row in rows))
    return "\n".join(blocks)


def draw(path: str | Path, results: Results) -> Path:
    """Draw all measures as bars with their intervals: real motions as a line, one bar a setting.

    Args:
        path: The picture, in a format that matplotlib writes.
        results: What to draw.

    Returns:
        The path.
    """
    with optional_packages():
        from matplotlib.figure import Figure

    chosen = [
        (name, [c for c in _columns(results, name) if c.measure != "R@2"]) for name in [*results.evaluators, None]
    ]
    wide = max(len(columns) for _, columns in chosen)
    figure = Figure(figsize=(2.3 * wide, 2.4 * len(chosen) + 0.5), layout="constrained")
    axes = figure.subplots(len(chosen), wide, squeeze=False)
    rows = [row for row in results.rows if row.setting is not None]
    colors = [f"C{number}" for number in range(len(rows))]
    for line, (evaluator, columns) in zip(axes, chosen, strict=True):
        for place, column in zip(line, columns, strict=False):
            found = [row.estimate(column.measure, evaluator) or Estimate(math.nan) for row in rows]
            heights = [column.scale * each.mean for each in found]
            place.bar(range(len(rows)), heights, color=colors)
            for number, each in enumerate(found):
                if each.interval is not None:
                    place.errorbar(number, heights[number], column.scale * each.interval, color="black", capsize=3)
            real = results.rows[0].estimate(column.measure, evaluator)
            if real is not None:
                place.axhline(column.scale * real.mean, color="black", linestyle="--", linewidth=1)
            place.set_title(column.title + _MARKDOWN[column.better], fontsize=9)
            place.set_xticks([])
        line[0].set_ylabel(evaluator or "physics")
        for place in line[len(columns) :]:
            place.set_axis_off()
    handles = [axes[0][0].patches[number] for number in range(len(rows))]
    handles.append(axes[0][0].lines[-1])
    names = [*(row.name for row in rows), results.rows[0].name]
    figure.legend(handles, names, loc="outside lower center", ncols=min(3, len(names)), fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
    return Path(path)


def write_tables(path: str | Path, results: Results) -> list[Path]:
    """Write Markdown, LaTeX and the picture beside a results file.

    Args:
        path: The results file.
        results: What it holds.

    Returns:
        The files.
    """
    written = []
    for suffix, text in ((".md", markdown(results)), (".tex", latex(results))):
        written.append(Path(path).with_suffix(suffix))
        with atomic_path(written[-1]) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [*written, draw(Path(path).with_suffix(".png"), results)]


def _blocks(results: Results) -> list[tuple[str | None, str | None]]:
    """What has its own table: evaluators, then (None) plain measures; of all clips, then of each kind."""
    kinds = sorted({kind for row in results.rows for kind in row.kinds})
    return [(evaluator, kind) for kind in [None, *kinds] for evaluator in [*results.evaluators, None]]


def _about_means(results: Results) -> str:
    """The number of replications, and the method of the intervals."""
    many = sorted({len(row.multimodality) for row in results.rows if row.multimodality})
    told = "means over the replications in brackets"
    told += f" ({', '.join(map(str, many))} of MModality)" if many else ""
    columns = [(each.measure, name) for name in [*results.evaluators, None] for each in _columns(results, name)]
    found = [row.estimate(*column) for row in results.rows for column in columns]
    methods = {each.method for each in found if each is not None and each.method is not None}
    if len(methods) > 1:
        return f"{told}, ± half of a 95 % interval: {METHODS['papers']}, and below {PUBLISHED} {METHODS['student']}"
    return "".join([told, *(f", ± half of a 95 % interval ({METHODS[method]})" for method in methods)])


def _columns(results: Results, evaluator: str | None, kind: str | None = None) -> Sequence[Column]:
    """The measures that some row has."""
    every = PHYSICAL if evaluator is None else LEARNED
    return [each for each in every if any(row.estimate(each.measure, evaluator, kind) for row in results.rows)]


def _and_reward(columns: Sequence[Column]) -> str:
    return ", and the reward's cosine of motion and caption" if any(c.measure == "reward" for c in columns) else ""


def _title(row: Row) -> str:
    """Name, replications, and the number of motions that were left out."""
    told = [str(len(row.replications))]
    for count, where in ((row.excluded, ""), (row.excluded_multimodality, " of MModality")):
        if count:
            told.append(f"{count} with NaN left out{where}")
    return f"{row.name} ({', '.join(told)})"


def _cells(row: Row, columns: Sequence[Column], evaluator: str | None, kind: str | None, form: str) -> list[str]:
    return [_cell(row.estimate(column.measure, evaluator, kind), column, form) for column in columns]


def _cell(found: Estimate | None, column: Column, form: str, sign: str = "") -> str:
    if found is None:
        return "–"
    mean = f"{column.scale * found.mean:{sign}.{column.digits}f}"
    if found.interval is None:
        return mean
    return form.format(mean, f"{column.scale * found.interval:.{column.digits}f}")


def _pipes(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _escape(text: str) -> str:
    """Plain text for LaTeX."""
    for sign, written in (("\\", r"\textbackslash "), ("^", r"\^{}"), ("–", "--")):
        text = text.replace(sign, written)
    for sign in "%_&#$":
        text = text.replace(sign, "\\" + sign)
    return text
