"""Whether familiarity tells captions of other actions, and whether the probabilities of hits hold; draws both curves.

The curves are those that `realign calibrate` measured on its test split. With --data, the folder of the motion-capture
set and of HumanML3D's captions, more sentences are judged:

- known: captions of the test split, and captions that people wrote for clips of HumanML3D that are not in the set, if
  they walk, run, jog, wave or bow, and no word of theirs is absent from the captions trained on;
- foreign: the set's clips in no split (sword and shield), and people's captions with an action of ACTIONS that occurs
  in no caption trained on: alone, or together with an action that does occur (mixed).
"""

import argparse
import gzip
import json
from pathlib import Path

import numpy as np
from table import report

from realign.files import read_lines, resolve_model
from realign.inference.known import KnownCaptions
from realign.metrics.calibration import auroc
from realign.text import MiniLMEncoder
from realign.text.unlike import vocabulary

ACTIONS = (
    "stumble clap crawl catch kneel scratch rub pull pour flap limp stagger clean stir drag toss strum swat swim "
    "scrub eat pet salute thrust dig flip drum swipe bowl chop bat write pray cough drive moonwalk skate juggle "
    "breakdance mop fold sneeze yawn hug knock cartwheel handstand somersault pushup golf tennis baseball violin "
    "guitar piano shovel paddle dive hammer saw rake applaud drink lie sleep"
)
KNOWN, ALSO = "walk run jog wave bow", "raise lift turn step"
MOST = 600  # captions of each kind, the first in an order by id


def captions_of(folder: Path, listed: str) -> list[str]:
    texts = [folder / "texts" / f"{name}.txt" for name in read_lines(folder / listed)]
    return list(dict.fromkeys(line.split("#")[0].strip() for path in texts for line in read_lines(path)))


def sets(data: Path, stems: frozenset[str]) -> dict[str, list[str]]:
    """Sentences by kind."""
    with gzip.open(data / "humanml3d_captions.json.gz") as file:
        every = json.load(file)
    inside = set(read_lines(data / "mocap" / "all.txt"))
    people = list(dict.fromkeys(text for name in sorted(every) if name not in inside for text in every[name]))
    foreign, known = vocabulary([ACTIONS]) - stems, vocabulary([KNOWN])
    found: dict[str, list[str]] = {"known, people's": [], "foreign, people's": [], "mixed, people's": []}
    for text in people:
        words = vocabulary([text])
        if words & foreign:
            found["mixed, people's" if words & vocabulary([KNOWN, ALSO]) else "foreign, people's"].append(text)
        elif words & known and words <= stems:
            found["known, people's"].append(text)
    return {
        "known, test split": captions_of(data / "mocap", "test.txt"),
        "foreign, sword and shield": captions_of(data / "mocap", "foreign.txt"),
        **found,
    }


def measure(known: KnownCaptions, data: Path) -> None:
    kinds = {
        kind: [texts[place] for place in np.linspace(0, len(texts) - 1, min(MOST, len(texts))).astype(int)]
        for kind, texts in sets(data, known.calibration.words).items()
    }
    like, told = {}, {}
    for kind, texts in kinds.items():
        judged = known.judge(texts)
        like[kind] = np.array([each.likeness for each in judged])
        told[kind] = np.array([each.probability for each in judged])
        said = np.mean([each.told() is not None for each in judged])
        print(f"{kind:26} {len(texts):4}: familiarity below 50 % {(told[kind] < 0.5).mean():6.1%}, told {said:6.1%}")
    for one in (kind for kind in kinds if kind.startswith("known")):
        for other in (kind for kind in kinds if not kind.startswith("known")):
            value = auroc(like[one], like[other])
            report(f"AUROC, {one} / {other} ({value:.4f})", value, "" if "mixed" in other else "at least 0.97")


def draw(about: dict, path: Path) -> None:
    """Reliability of both probabilities, with the fraction of examples in each bin."""
    from matplotlib.figure import Figure

    figure = Figure((9, 4.4), layout="constrained")
    known, right = about["known"], about["right"]
    panels = (
        (f"A caption is known (AUROC {known['auroc']:.4f})", {"known and other captions": known["curve"]}),
        (
            f"A hit is right (calibration error {right['ece']:.3f})",
            {"known and other captions": right["curve"], "known captions": right["curve of known captions"]},
        ),
    )
    for axes, (title, curves) in zip(figure.subplots(1, 2), panels, strict=True):
        axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", linewidth=1, label="as told")
        for number, (name, curve) in enumerate(curves.items()):
            told, true, size = (np.array([each[key] for each in curve]) for key in ("told", "right", "size"))
            axes.bar(
                np.floor(told * 10).clip(0, 9) / 10 + 0.035 + 0.03 * number, size, 0.028, color=f"C{number}", alpha=0.3
            )
            many = size >= 0.01
            axes.plot(told[many], true[many], "o-", color=f"C{number}", label=f"{name}; bars: how many")
            axes.plot(
                told[~many], true[~many], "o", color=f"C{number}", markerfacecolor="white", label="under 1 % of them"
            )
        axes.set(xlabel="probability told", ylabel="fraction true", xlim=(0, 1), ylim=(0, 1.02), title=title)
        axes.legend(frameon=False, fontsize=8, loc="best")
    figure.savefig(path, dpi=110)
    print(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", default="index", help="a calibrated index (default: the shipped one)")
    parser.add_argument("--data", type=Path, help="folder with mocap/ and humanml3d_captions.json.gz")
    parser.add_argument("-o", "--output", type=Path, default=Path("calibration.png"))
    options = parser.parse_args()
    known = KnownCaptions.open(resolve_model(options.index), [MiniLMEncoder()])
    if known is None:
        parser.error(f"{options.index} is not calibrated; run realign calibrate")
    report("AUROC, held-out captions / other sentences", known.calibration.about["known"]["auroc"], "at least 0.97")
    report("calibration error of hits", known.calibration.about["right"]["ece"])
    if options.data:
        measure(known, options.data)
    draw(known.calibration.about, options.output)


if __name__ == "__main__":
    main()
