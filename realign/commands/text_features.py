"""Text features that `realign prepare` keeps beside a set."""

from pathlib import Path
from typing import TYPE_CHECKING

from realign.errors import InputError

if TYPE_CHECKING:
    from realign.commands.progress import Watch
    from realign.text.table import TextReader


def text_readers(name: str) -> "list[TextReader]":
    """The encoders of a name or a training configuration, and whether their words are read.

    Raises:
        InputError: There is no such name, or no encoder whose features are kept.
    """
    from realign.checkpoint.rebuild import build_part
    from realign.configuration import configs_folder, find_config, read_config, read_value
    from realign.text import TextEncoder
    from realign.text.table import TextReader

    named = configs_folder() / "base" / f"text_{name}.yaml"
    if Path(name).name == name and named.is_file():
        encoder = build_part(read_value(named, "text_encoder"), TextEncoder, named)  # type: ignore[type-abstract]
        return [TextReader(encoder, True)]
    from realign.tasks import Task
    from realign.tasks.space import SpaceTask

    path = find_config(name)
    model = read_config(name).get("model")
    task: object = build_part(model, Task, path) if isinstance(model, dict) else None  # type: ignore[type-abstract]
    readers = task.text_readers() if isinstance(task, SpaceTask) else []
    kept = [reader for reader in readers if reader.encoder.kept is not None]
    if not kept:
        raise InputError(
            f"The configuration {name} has no text encoder whose features are kept; wrap it in "
            "realign.text.CachedTextEncoder, or name minilm or clip."
        )
    return kept


def keep_text(folder: Path, reader: "TextReader", watch: "Watch | None") -> str:
    """Write the features of a set's captions if there are none yet; return a message."""
    import torch

    from realign.data.store import PackedMotions
    from realign.data.text_features import keep_features

    name = reader.encoder.fingerprint
    device = torch.device("cuda") if torch.cuda.is_available() else None
    told = None if watch is None else lambda done, total: watch(f"captions by {name}", done, total)
    table = keep_features(PackedMotions.open(folder), reader, device, told)
    if table is None:
        return f"text features of {name}: not kept"
    size = table.features.nbytes / 2**20
    what = "sentences and words" if reader.words else "sentences"
    return f"text features of {name}: {what} of {len(table)} distinct captions, {size:.0f} MiB in {table.folder}"
