import re
from pathlib import Path

import numpy as np

from realign import files
from realign.errors import InputError

_CHANNEL = re.compile(r"^([XYZ])(position|rotation|scale)$", re.IGNORECASE)
_HEAD = re.compile(
    r"\s*Frames[ \t]*:?[ \t]*(\S+)\s*\n\s*Frame[ \t]*Time[ \t]*:?[ \t]*(\S+)[ \t]*(?:\n|$)", re.IGNORECASE
)


def read_text(path: str | Path) -> str:
    """The file's text with plain newlines."""
    try:
        text = files.read_text(path, errors="replace")  # joint names may have any encoding
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; give one .bvh file.") from None
    if not text.strip():
        raise InputError(f"{path} is empty; export it again.")
    if not text.lstrip().upper().startswith("HIERARCHY"):
        raise InputError(f"{path} does not begin with HIERARCHY, so it is not a BVH file; give a .bvh motion file.")
    return text


def split_motion(text: str) -> tuple[str, str, str]:
    """The text before the line MOTION, that word, and the text after it."""
    mark = re.search(r"^[ \t]*MOTION\b", text, flags=re.MULTILINE | re.IGNORECASE)
    return (text[: mark.start()], "MOTION", text[mark.end() :]) if mark else (text, "", "")


def parse_hierarchy(
    header: str, path: str | Path
) -> tuple[list[str], list[int], list[list[float]], list[tuple[str, ...]]]:
    """Joint names, parents, offsets and channels from the text before MOTION."""
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[str, ...]] = []
    open_joints: list[int] = []
    # Braces may be on a line with other words; keywords begin a line.
    for line in re.sub(r"([{}])", r"\n\1\n", header).split("\n"):
        words = line.split()
        keyword = words[0].upper() if words else ""
        ends = line.strip().upper().startswith("END SITE")
        if not names and (ends or keyword in ("OFFSET", "CHANNELS")):
            raise InputError(f"{path}: {line.strip()[:60]!r} comes before any ROOT; export the file again.")
        if keyword in ("ROOT", "JOINT") or ends:
            parent = open_joints[-1] if open_joints else -1
            names.append(" ".join(words[1:]) if keyword != "END" else _end_name(names[parent], names))
            parents.append(parent)
            offsets.append([0.0, 0.0, 0.0])
            channels.append(())
        elif keyword == "{":
            open_joints.append(len(names) - 1)
        elif keyword == "}":
            if not open_joints:
                raise InputError(f"{path}: the hierarchy closes more braces than it opens; export the file again.")
            open_joints.pop()
        elif keyword == "OFFSET":
            offsets[-1] = _offset(words[1:], names[-1], path)
        elif keyword == "CHANNELS":
            channels[-1] = _channel_names(words[1:], names[-1], path)
        elif keyword not in ("", "HIERARCHY"):
            raise InputError(f"{path}: {line.strip()[:60]!r} is not a line of a BVH hierarchy; export the file again.")
    if open_joints or not names:
        raise InputError(f"{path}: the hierarchy leaves {len(open_joints)} braces open; export the file again.")
    return names, parents, offsets, channels


def _end_name(parent: str, names: list[str]) -> str:
    """An unused name for an End Site."""
    name, count = f"{parent}.end", 2
    while name in names:
        name, count = f"{parent}.end{count}", count + 1
    return name


def _offset(words: list[str], joint: str, path: str | Path) -> list[float]:
    """The three numbers of an OFFSET line."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != 3 or not np.isfinite(values).all():
        remedy = f"fix that line{_comma(words[0]) if words else ''}"
        raise InputError(f"{path}: OFFSET of joint {joint!r} is {' '.join(words)!r}, not three numbers; {remedy}.")
    return values


def _channel_names(words: list[str], joint: str, path: str | Path) -> tuple[str, ...]:
    """Channels of a CHANNELS line in order, spelt like ``Xposition``."""
    matches = [_CHANNEL.match(word) for word in words[1:]]
    channels = tuple(match.group(1).upper() + match.group(2).lower() for match in matches if match)
    if not words or words[0] != str(len(words) - 1) or len(channels) != len(matches):
        raise InputError(
            f"{path}: CHANNELS of joint {joint!r} is {' '.join(words)!r}; give the count and then as many channels, "
            "Xposition ... Zrotation."
        )
    return channels


def parse_motion(
    body: str, width: int, first_line: int, path: str | Path, fps: float | None
) -> tuple[np.ndarray, float]:
    """Channel values (T, width) and seconds per frame from the text after MOTION; `fps` overrules the latter."""
    match = _HEAD.match(body)
    if not match:
        raise InputError(
            f"{path}: 'Frames: N' and 'Frame Time: S' are missing after MOTION; the file is cut off, export it again."
        )
    try:
        frames, frame_time = int(match.group(1)), float(match.group(2)) if fps is None else 1.0 / fps
    except ValueError:
        frames, frame_time = 0, 0.0
    if frames < 1 or not 0.0 < frame_time < np.inf:
        raise InputError(
            f"{path}: 'Frames: {match.group(1)}' and 'Frame Time: {match.group(2)}' must be positive numbers; correct "
            "them, or give the true rate with --fps."
        )
    rows = body[match.end() :]
    line = first_line + body[: match.end()].count("\n") + 1
    try:
        values = np.array([float(word) for word in rows.split()])  # several times faster than np.loadtxt
    except ValueError:
        values = np.empty(0)
    if values.size != frames * width or not np.isfinite(values).all():
        raise InputError(f"{path}: {_what_is_wrong(rows, frames, width, line)}")
    return values.reshape(frames, width), frame_time


def _comma(word: str) -> str:
    """A further remedy for a number with a decimal comma."""
    return ", with points for decimals" if re.fullmatch(r"[-+\d.]*,[\d,eE+-]*", word) else ""


def _what_is_wrong(rows: str, frames: int, width: int, line: int) -> str:
    """The first faulty line of the motion values, and the remedy."""
    complete = 0
    for number, row in enumerate(rows.split("\n"), start=line):
        words = row.split()
        for column, word in enumerate(words, start=1):
            try:
                finite = np.isfinite(float(word))
            except ValueError:
                remedy = f"export the file again{_comma(word)}"
                return f"line {number}, value {column} is {word[:30]!r}, not a number; {remedy}."
            if not finite:
                return (
                    f"line {number}, value {column} is {word}, not a finite number; export the file again without gaps."
                )
        if words and len(words) != width:
            return (
                f"line {number} has {len(words)} values where the joints have {width} channels: it is cut off or "
                "damaged; export the file again."
            )
        complete += bool(words)
    return f"the header announces {frames} frames but the file holds {complete}; export it again or correct 'Frames:'."
