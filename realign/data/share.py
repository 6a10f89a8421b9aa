"""Prepared sets on their way to the Hub."""

import json
from pathlib import Path

from realign.checkpoint.card import write_card
from realign.data.store import PackedMotions
from realign.file_names import META, SET_FILES


def describe_set(folder: Path, place: Path, name: str, license_name: str | None = None) -> dict[str, Path]:
    """Write the card of a prepared set, and its meta.json without paths of this machine.

    Args:
        folder: The set.
        place: An empty folder for what is written.
        name: ORG/NAME of the repository that it goes to.
        license_name: The licence, in the Hub's spelling.

    Returns:
        The files that go there, by name; the report stays, since it names paths.

    Raises:
        InputError: It is damaged, or was changed after it was made.
    """
    packed = PackedMotions.open(folder).check_content("prepare it again with --overwrite")
    meta, counts = packed.meta, packed.meta["counts"]
    rows = {each: counts.get(each) for each in ("motions", "captions", "frames")}
    rows |= {"skeleton": packed.skeleton, "frames per second": packed.fps, "captions from": meta.get("captions")}
    rows["hash"] = meta.get("content")
    card = write_card(place, name, "motions", rows, "realign index build --data {name} -o INDEX", license_name)
    about = meta | {"source": Path(str(meta.get("source", ""))).name}
    (place / META).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    files = {each: folder / each for each in SET_FILES if (folder / each).is_file()}
    return files | {META: place / META, card.name: card}
