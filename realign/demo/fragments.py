"""Results as HTML. Every text of a visitor, a file or an index is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

from realign.demo.studio import Batch, Found, Generated
from realign.inference import MotionHit
from realign.motion.clip import MotionClip
from realign.render.save import SINGLE, SUFFIXES

_NAMES = {
    ".gif": "GIF", ".mp4": "MP4", ".html": "Player", ".png": "Poses", ".bvh": "BVH", ".npy": "Joints",
    ".npz": "AMASS", ".glb": "glTF",
}  # fmt: skip
_TOLD = {
    ".gif": "animated picture", ".mp4": "video", ".html": "this player in one file, which works offline",
    ".png": "a strip of poses", ".bvh": "skeleton with rotations, for Blender and others",
    ".npy": "joints in metres, as a NumPy array", ".npz": "rotations of SMPL+H", ".glb": "animated figure",
}  # fmt: skip


def generated(result: Generated) -> str:
    """The motions for a caption: players, rewards, anchors, downloads."""
    clips = result.clips
    compared = clips[0].unguided is not None
    parts = [_notes(result.notes), _player(result.shown, len(clips) * (1 + compared))]
    length = f"{clips[0].seconds:g} s"
    if compared:
        parts.append(_rewards(clips))
        parts.append(_anchors(result.anchors))
        parts.append(_downloads("Both, side by side", result.shown, [s for s in SUFFIXES if s not in SINGLE]))
    kind = "Guided motion" if compared else "Motion"
    parts.append(_downloads(f"{kind}{'s' * (len(clips) > 1)} ({length})", result.alone, SUFFIXES))
    return _page(parts)


def found(result: Found) -> str:
    """The hits of a search: players, a table of motions, one of captions for a motion."""
    parts = [_notes(result.notes)]
    if result.asked is not None:
        parts += ["<h4>The motion that was searched with</h4>", _player(result.asked, 1)]
    if result.players is not None:
        parts += ["<h4>The nearest motions</h4>", _player(result.players, len(result.motions))]
    rated = any(hit.probability is not None for hit in result.motions)
    rows = [
        (str(rank), f"{hit.score:.2f}", *([_percent(hit.probability)] if rated else []), _captions(hit),
         f"{hit.seconds:.1f} s", hit.id)
        for rank, hit in enumerate(result.motions, start=1)
    ]  # fmt: skip
    parts.append(_table(("", "similarity", *(["right"] if rated else []), "caption", "length", "id"), rows))
    if rated:
        parts.append("<p class='rd-faint'>Right: the probability that the motion shows what the sentence says.</p>")
    if result.captions:
        fitting = [(str(rank), f"{hit.score:.2f}", hit.caption) for rank, hit in enumerate(result.captions, start=1)]
        parts += ["<h4>Captions that fit the motion</h4>", _table(("", "similarity", "caption"), fitting)]
    if result.players is None:
        parts.append(
            "<p class='rd-faint'>This index keeps no motions to play, only their captions. An index that was built "
            "with <code>--with-motions</code>, or <code>realign demo --data</code>, shows them here.</p>"
        )
    else:
        parts.append(_downloads("The motions", result.players, SUFFIXES))
    return _page(parts)


def batch(result: Batch) -> str:
    """The motions of a batch: a player of all, a table, archives."""
    digits = len(str(len(result.clips) - 1))
    rated = any(clip.reward is not None for clip in result.clips)
    rows = [
        (f"motion_{place:0{digits}d}", clip.caption, f"{clip.seconds:g} s", *([_number(clip.reward)] if rated else []))
        for place, clip in enumerate(result.clips)
    ]
    head = ("file", "caption", "length", *(["reward"] if rated else []))
    return _page([
        _notes(result.notes),
        _downloads("All motions, as a .zip with captions.tsv", result.name, SINGLE),
        _downloads("All in one player", result.name, (".html",)),
        _player(result.name, len(result.clips)),
        _table(head, rows),
    ])  # fmt: skip


def refusal(sentence: str) -> str:
    """Why something was not done."""
    return _page([f"<p class='rd-refusal' role='alert'>{escape(sentence)}</p>"])


def hint(sentence: str) -> str:
    """What will stand in an empty place."""
    return _page([f"<p class='rd-hint'>{escape(sentence)}</p>"])


def _page(parts: Iterable[str]) -> str:
    return f"<div class='rd'>{''.join(parts)}</div>"


def _notes(notes: Sequence[str]) -> str:
    return "".join(f"<p class='rd-note'>{escape(note[:1].upper() + note[1:])}.</p>" for note in notes)


def _player(name: str, panels: int) -> str:
    """A player in a frame, which may run its script and nothing else."""
    size = "rd-few" if panels <= 2 else "rd-many"
    return (
        f"<iframe class='rd-player {size}' title='Interactive player' sandbox='allow-scripts' "
        f"src='motions/{escape(name)}/show.html'></iframe>"
    )


def _downloads(title: str, name: str, suffixes: Sequence[str]) -> str:
    links = "".join(
        f"<a href='motions/{escape(name)}/motion{suffix}' download title='{_TOLD[suffix]}'>{_NAMES[suffix]}</a>"
        for suffix in suffixes
    )
    return f"<div class='rd-downloads'><span>{escape(title)}</span>{links}</div>"


def _rewards(clips: Sequence[MotionClip]) -> str:
    """Rewards of guided and unguided motions, and what a reward is."""
    if any(clip.reward is None for clip in clips):
        return ""
    rows = []
    for place, clip in enumerate(clips, start=1):
        for kind, each in (("unguided", clip.unguided), ("guided", clip)):
            if each is not None:
                label = kind if len(clips) == 1 else f"{place}, {kind}"
                rows.append((label, *map(_number, (each.reward, each.text_reward, each.motion_reward))))
    return (
        _table(("motion", "reward", "likeness to the sentence", "likeness to the anchor"), rows)
        + "<p class='rd-faint'>The reward model scores how well a motion fits: the higher, the better. Guidance "
        "follows its gradient while the motion is sampled; both start from the same noise.</p>"
    )


def _anchors(anchors: Sequence[MotionHit]) -> str:
    if not anchors:
        return ""
    items = "".join(f"<li>{escape(_captions(hit))} <span>({hit.score:.2f})</span></li>" for hit in anchors)
    return f"<p class='rd-anchors'>Recorded motions that guided it (anchors), by their captions:</p><ul>{items}</ul>"


def _captions(hit: MotionHit) -> str:
    more = f" (+{len(hit.captions) - 1} more)" if len(hit.captions) > 1 else ""
    return "".join(hit.captions[:1]) + more


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(each)}</th>" for each in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(each)}</td>' for each in row)}</tr>" for row in rows)
    return f"<div class='rd-scroll'><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
