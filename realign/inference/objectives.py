"""What steers motions, read from files: paths of the root, and lists of constraints and rewards."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

from realign.errors import InputError
from realign.files import read_lines, read_text
from realign.guidance.constrained import ConstraintConfig
from realign.guidance.constraints import Constraint
from realign.guidance.paths import RootPath
from realign.inference.constraining import keep
from realign.motion.clip import MotionClip
from realign.motion.skeleton import Skeleton


def read_path(path: Path) -> RootPath:
    """A path of the root from a .csv of ``x,z`` or ``seconds,x,z``, with or without a header, or an array in a .npy.

    Raises:
        InputError: The file is missing or holds something else.
    """
    try:
        if path.suffix.lower() == ".npy":
            rows = np.load(path, allow_pickle=False)
        else:
            lines = [re.split(r"[,;\t]", line) for line in read_lines(path)]
            if lines and not _is_number(lines[0][0]):
                lines = lines[1:]
            rows = np.array([[float(cell) for cell in line] for line in lines])
    except InputError:  # already tells the line and the remedy
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a path ({error}); write lines of x,z or seconds,x,z.") from error
    if rows.ndim != 2 or rows.shape[1] not in (2, 3) or rows.dtype.kind not in "fiu":
        raise InputError(f"{path} holds {rows.shape}, not a path; write lines of x,z or seconds,x,z.")
    points = torch.from_numpy(rows[:, -2:].astype(np.float32))
    return RootPath(points, rows[:, 0].tolist() if rows.shape[1] == 3 else None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class Objectives(NamedTuple):
    """What steers motions beside the guidance of the options.

    Attributes:
        constraints: In the world.
        config: When and how strongly they steer.
        rewards: Of each further reward, the arguments of `TextToMotion.load_guidance`.
    """

    constraints: list[Constraint]
    config: ConstraintConfig
    rewards: list[dict[str, Any]]


def read_objectives(path: Path, skeleton: Skeleton) -> Objectives:
    """Objectives from a .yaml: lists `constraints` and `rewards`, and the fields of `ConstraintConfig`.

    Files of constraints lie beside it; rewards are named as by `--reward`.

    Raises:
        InputError: The file cannot be read, or holds something else.
    """
    try:
        given = yaml.safe_load(read_text(path))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read ({' '.join(str(error).split())}); name a .yaml.") from error
    lists = [given.pop(name, []) for name in ("constraints", "rewards")] if isinstance(given, dict) else []
    if not any(lists) or not all(isinstance(each, list) for each in lists):
        raise InputError(f"{path} holds no objectives; write a list named constraints or rewards.")
    wrong = next((each for each in lists[1] if not isinstance(each, dict) or "reward" not in each), None)
    if wrong is not None:
        raise InputError(f"{path}: {wrong!r} names no reward; write {{reward: CHECKPOINT, strength: 100}}.")
    unknown = given.keys() - ConstraintConfig.__dataclass_fields__.keys()
    if unknown:
        raise InputError(f"{path} has an unknown option {min(map(str, unknown))!r}; leave it out.")
    try:
        config = ConstraintConfig(**given)
    except TypeError as error:
        raise InputError(f"{path}: an option is not a number ({error}); give one.") from error
    return Objectives([_read_one(each, path, skeleton) for each in lists[0]], config, lists[1])


def _read_one(given: Any, path: Path, skeleton: Skeleton) -> Constraint:
    if isinstance(given, dict) and isinstance(given.get("keep"), str) and given.keys() <= {"keep", "frames", "joints"}:
        lists = [given.get(name) or [] for name in ("frames", "joints")]
        frames, joints = (each if isinstance(each, list) else [each] for each in lists)
        return keep(MotionClip.load(path.parent / given["keep"]), frames, joints, skeleton.name)
    if isinstance(given, dict) and isinstance(given.get("path"), str) and given.keys() == {"path"}:
        return read_path(path.parent / given["path"])
    raise InputError(
        f"{path}: {given!r} is not a constraint; write {{keep: FILE, frames: [...], joints: [...]}} or {{path: FILE}}."
    )
