"""Model cards and checksums of folders that go to the Hub."""

from pathlib import Path
from typing import Any

import yaml
from safetensors import safe_open

from realign import __version__
from realign.checkpoint.saved import read_yaml
from realign.file_names import CARD, CONFIG, GUIDANCE, SUMS, WEIGHTS
from realign.files import sha256_file

_USES = {
    "GeneratorTask": 'realign generate "a person bows" --checkpoint {name}',
    "RewardTask": 'realign generate "a person bows" --reward {name}',
    "RetrieverTask": "realign index build --checkpoint {name} --data SET -o INDEX",
    "EvaluatorTask": "realign evaluate --evaluator {name} --data SET",
}


def usage(kind: type, name: str) -> str | None:
    """A command that uses weights of a class of tasks, or of a class that is built on it; None if there is none."""
    found = next((_USES[each.__name__] for each in kind.__mro__ if each.__name__ in _USES), None)
    return None if found is None else found.format(name=name)


def describe_weights(
    folder: Path, name: str, license_name: str | None = None, guidance: dict[str, Any] | None = None
) -> dict[str, Path]:
    """Write the model card, the guidance and the checksums of a folder of weights.

    Args:
        folder: A folder that `save_pretrained` wrote.
        name: ORG/NAME of the repository that it goes to.
        license_name: The licence, in the Hub's spelling.
        guidance: Content of its ``guidance.yaml``, which names repositories; None sends none.

    Returns:
        The files that go there, by name.
    """
    config = read_yaml(folder / CONFIG)
    options: dict[str, Any] = config.get("init_args") or {}
    task = str(config["class_path"]).rpartition(".")[2]
    with safe_open(folder / WEIGHTS, "pt") as weights:
        slices = [weights.get_slice(key) for key in weights.keys()]  # noqa: SIM118 (not a mapping)
        types = sorted({each.get_dtype() for each in slices})
        values = sum(_size(each.get_shape()) for each in slices)
    rows = {
        "class": config["class_path"],
        "skeleton": options.get("skeleton"),
        "text encoder": _class_of(options.get("text_encoder")),
        "values": f"{values:,} ({', '.join(types)})",
        "written by": f"realign {__version__}",
    }
    write_card(folder, name, task.removesuffix("Task"), rows, _USES.get(task), license_name)
    content = [CONFIG, WEIGHTS]
    if guidance is not None:
        (folder / GUIDANCE).write_text(yaml.safe_dump(guidance, sort_keys=False), encoding="utf-8")
        content.append(GUIDANCE)
    sums = "".join(f"{sha256_file(folder / each)}  {each}\n" for each in content)
    (folder / SUMS).write_text(sums, encoding="utf-8")
    return {each: folder / each for each in (CARD, SUMS, *content)}


def write_card(
    folder: Path, name: str, kind: str, rows: dict[str, Any], use: str | None, license_name: str | None = None
) -> Path:
    """Write README.md: metadata, a table and how the content is used.

    Args:
        folder: Where.
        name: ORG/NAME of the repository.
        kind: What it holds, in one word.
        rows: The table; None is left out.
        use: A command with the field ``{name}``.
        license_name: The licence, in the Hub's spelling.

    Returns:
        The file.
    """
    about = {"library_name": "realign", "tags": ["realign", "text-to-motion", kind.lower()]}
    about |= {"license": license_name} if license_name else {}
    table = "".join(f"| {key} | {value} |\n" for key, value in rows.items() if value is not None)
    usage = f"\n```bash\n{use.format(name=name)}\n```\n" if use else ""
    text = f"---\n{yaml.safe_dump(about, sort_keys=False)}---\n\n# {name}\n\n| | |\n|---|---|\n{table}{usage}"
    (folder / CARD).write_text(text, encoding="utf-8")
    return folder / CARD


def _class_of(part: Any) -> str | None:
    """The class of a component without its package; of the one inside, if it wraps another encoder."""
    if not isinstance(part, dict) or "class_path" not in part:
        return None
    inner = _class_of((part.get("init_args") or {}).get("encoder"))
    return inner or str(part["class_path"]).rpartition(".")[2]


def _size(shape: list[int]) -> int:
    size = 1
    for each in shape:
        size *= each
    return size
