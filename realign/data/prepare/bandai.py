"""Captions for one public data set, Bandai-Namco Research Motiondataset, which has labels but no captions.

`prepare` uses them for the data set itself, and for a folder without `texts/` whose `index.csv` holds these labels. The
label gives the action.
Turns, directions, hands, heights and counts are measured on the joints (`bandai_measures`), so a caption does not
contradict its clip: a file labelled "turn left" whose body turns right is described as turning right. The words are in
`bandai_words`.
"""

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realign.data.prepare.bandai_measures import Hand, Measures, measure
from realign.data.prepare.bandai_words import ACTS, NUMBERS, PARTS, STYLES, SUBJECTS, TRAVEL


@dataclass(frozen=True)
class Part:
    """One action in four wordings: `plain`, `other`, `doing` (participle), and `exact` with measurements."""

    plain: str
    other: str
    doing: str
    exact: str


def number(count: int) -> str:
    """A count in words up to twelve, in digits above."""
    return NUMBERS[count] if 0 <= count < len(NUMBERS) else str(count)


def _metres(length: float) -> str:
    rounded = round(length) if length >= 2 else round(length * 2) / 2
    if rounded < 0.75:
        return "half a meter"
    return "one meter" if rounded == 1 else f"{rounded:g} meters"


def _turn_words(turns: tuple[float, ...]) -> tuple[str, str]:
    """Turns as "turns left and then right" and, in degrees, as "turns about 90 degrees to the left"."""
    if not turns:
        return "", ""
    sides = ["left" if turn > 0 else "right" for turn in turns]
    if len(turns) == 1:
        degrees = round(abs(turns[0]) / 15) * 15
        plain = f"turns around to the {sides[0]}" if degrees >= 150 else f"turns {sides[0]}"
        return plain, f"turns about {degrees} degrees to the {sides[0]}"
    if len(turns) > 3:
        return "turns around several times", "turns around several times"
    plain = "turns " + " and then ".join(sides)
    return plain, plain


def _travel(label: str, m: Measures) -> Part:
    verb, doing, other = TRAVEL[label]
    if m.forward < -0.5 * m.walked:
        direction = "backward"
    elif abs(m.leftward) > 0.3 * m.walked:
        side = "left" if m.leftward > 0 else "right"
        direction = f"diagonally forward to the {side}" if m.forward > 0.3 * m.walked else f"sideways to the {side}"
    else:
        direction = "forward"
    turn, exact_turn = _turn_words(m.turns)
    turning = turn.replace("turns", "turning", 1)
    steps = f"takes {number(m.steps)} steps {direction}, {doing} about {_metres(m.walked)}"
    if m.steps < 2:
        steps = f"{verb} {direction} for about {_metres(m.walked)}"
    return Part(
        plain=f"{verb} {direction}" + (f" and {turn}" if turn else ""),
        other=f"{other} {direction}" + (f", {turning}" if turn else ""),
        doing=f"{doing} {direction}" + (f" and {turning}" if turn else ""),
        exact=steps + (f", and {exact_turn}" if turn else ""),
    )


def _level(hand: Hand) -> str:
    if hand.over_head:
        return "above the head"
    return "to about shoulder height" if hand.peak < 0.13 else "to about head height"


def _hands(label: str, m: Measures) -> Part:
    """A raise or a wave of the hands that the label names."""
    kind, _, which = label.rpartition("-")[0].rpartition("-")
    verb, other, doing = PARTS[kind]
    hand = "both hands" if which == "both" else f"the {which} hand"
    used = (m.left, m.right) if which == "both" else ((m.left,) if which == "left" else (m.right,))
    if kind == "wave":
        waves = round(sum(h.waves for h in used) / len(used))
        if waves >= 2:
            times = "twice" if waves == 2 else f"about {number(waves)} times"
            return Part(f"waves {hand}", f"moves {hand} to and fro", f"waving {hand}", f"waves {hand} {times}")
        return Part(f"waves {hand}", f"gives a wave with {hand}", f"waving {hand}", f"waves {hand}")
    levels = {_level(h) for h in used}
    level = levels.pop() if len(levels) == 1 else "up"
    return Part(f"{verb} {hand}", f"{other} up {hand}", f"{doing} {hand}", f"{verb} {hand} {level}")


def _act(label: str, m: Measures) -> Part:
    plain, other, doing = ACTS[label]
    raised = [name for name, hand in (("left", m.left), ("right", m.right)) if hand.raised]
    if label == "bye" and m.right.raised:
        raised = ["right"]  # a one-handed action; the other hand may be up for a second action
    hand = "both hands" if len(raised) == 2 else f"the {raised[0]} hand" if raised else "a hand"
    plain, other, doing = (text.format(hand=hand) for text in (plain, other, doing))
    exact = plain
    if label == "bow" and m.bow >= 20:
        depth = "deeply" if m.bow >= 45 else "slightly" if m.bow < 30 else ""
        exact = f"bows {depth}".strip() + f", bending the upper body about {round(m.bow / 10) * 10} degrees forward"
    return Part(plain, other, doing, exact)


def part(label: str, m: Measures) -> Part:
    """Words for one content label, with measured turns, directions and heights."""
    if label in TRAVEL:
        return _travel(label, m)
    return _hands(label, m) if label.endswith(("-hand", "-hands")) else _act(label, m)


def knows(content: str) -> bool:
    """Whether there are words for every label of a content field ("a", "a+b" at once, "a>b" in turn)."""
    return all(
        label in TRAVEL or label in ACTS or label.endswith(("-hand", "-hands"))
        for label in content.replace(">", "+").split("+")
    )


def in_order(content: str, m: Measures) -> bool | None:
    """Whether the joints show "a>b" in that order; None if hands and trunk do not show an order."""
    first, second = (_moments(label, m) for label in content.split(">"))
    alone = [(first[k], second[k]) for k in first.keys() & second.keys() if None not in (first[k], second[k])]
    a = [first[k] for k in first if k not in second]
    b = [second[k] for k in second if k not in first]
    if alone or not a or not b:
        return None
    return float(np.mean(a)) < float(np.mean(b))


def _moments(label: str, m: Measures) -> dict[str, float]:
    """Times (s) of the largest movement of the body parts that a label moves."""
    if label == "bow":
        return {"trunk": m.bow_when}
    both = "both" in label or label == "byebye"
    found = {"left": m.left.when} if both or "left" in label else {}
    return found | ({"right": m.right.when} if both or "right" in label or label == "bye" else {})


def describe(clip_id: str, content: str, style: str, joints: NDArray[np.floating], fps: float = 20.0) -> list[str]:
    """Write four captions of one clip; the first is the plainest.

    Args:
        clip_id: Name of the clip; equal names get equal wordings.
        content: Label; "a+b" for a walk or run while doing b, "a>b" for a and then b.
        style: Manner in which the actor moves; may be empty.
        joints: Positions (F, 22, 3), metres, Y up.
        fps: Frames per second.
    """
    m = measure(joints, fps)
    rng = random.Random(clip_id)
    manners = STYLES.get(style, ("", "")) if style else ("", "")
    who = rng.choice(SUBJECTS[1:])
    if "+" in content:
        wordings = _together(*(part(label, m) for label in content.split("+")))
    elif ">" in content:
        parts = [part(label, m) for label in content.split(">")]
        wordings = _in_turn(*(reversed(parts) if in_order(content, m) is False else parts))
    else:
        one = part(content, m)
        wordings = (one.plain, one.plain, one.other, one.exact)
    plain, styled, other, exact = wordings
    seconds = f"in about {number(max(1, round(m.seconds)))} second{'s' if round(m.seconds) > 1 else ''}"
    captions = [
        f"a person {plain}",
        f"{who} {styled} {rng.choice(manners)}".strip(),
        f"{rng.choice(SUBJECTS)} {other}",
        f"{rng.choice(SUBJECTS)} {exact}" + (f", {rng.choice(manners)}" if style != "normal" and manners[0] else ""),
    ]
    if captions[3].split(" ", 2)[2:] == captions[0].split(" ", 2)[2:] or rng.random() < 0.15:
        captions[3] += f" {seconds}" if "," not in captions[3] else f", {seconds}"
    return list(dict.fromkeys(captions))


def _together(walk: Part, arms: Part) -> tuple[str, str, str, str]:
    return (
        f"{walk.plain} while {arms.doing}",
        f"{walk.plain} while {arms.doing}",
        f"{arms.plain} while {walk.doing}",
        f"{walk.exact}, while {arms.doing}",
    )


def _in_turn(first: Part, second: Part) -> tuple[str, str, str, str]:
    return (
        f"first {first.plain}, then {second.plain}",
        f"{first.plain} and then {second.plain}",
        f"{first.other}, and after that {second.plain}",
        f"{second.plain} after {first.doing}",
    )
