"""Options and notes of several commands."""

import argparse
import gc
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realign.errors import InputWarning, Renamed, renamed
from realign.files import local_path as local_path  # what options name models by
from realign.files import local_set as local_set
from realign.hub import HubName, HubSet, fetch

if TYPE_CHECKING:
    from realign.motion.clip import MotionClip

SAMPLERS = ("ddim", "ddpm", "ancestral", "dpm", "unipc", "lcm", "euler", "heun")
"""What `--scheduler` may name: five for diffusions, one for those distilled to few steps, two for flows."""


def note(text: str) -> None:
    """Print a line on standard error, so that results on standard output can be piped."""
    print(f"realign: note: {text}", file=sys.stderr)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """The option that lets a checkpoint name classes of others."""
    parser.add_argument(
        "--trust-code", action="store_true",
        help="let checkpoints name classes outside realign, whose code then runs here (default: they are refused)",
    )  # fmt: skip


def fetch_named(options: argparse.Namespace) -> None:
    """Download what options name on the Hub, before a command starts, and put its folder in their place."""
    for name, value in vars(options).items():
        if isinstance(value, HubSet):
            from realign.data.store import PackedMotions

            setattr(options, name, PackedMotions.open(value).folder)
        elif isinstance(value, HubName):
            setattr(options, name, fetch(value))
        elif isinstance(value, list) and any(isinstance(each, HubName) for each in value):
            setattr(options, name, [fetch(each) if isinstance(each, HubName) else each for each in value])


def add_threads(parser: argparse.ArgumentParser) -> None:
    """The option that says how many threads compute on the CPU."""
    parser.add_argument(
        "--threads", type=int, metavar="N",
        help="threads that compute on the CPU (default: OMP_NUM_THREADS, else one for each motion or query at once, up "
        "to the cores that this process may use)",
    )  # fmt: skip


def add_motion_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of motion files that a command reads."""
    parser.add_argument(
        "--fps", type=float, help="true frames per second of the files (default: that in the file, or the skeleton's)"
    )
    parser.add_argument("--rig", metavar="YAML", help="joint names, rate and axes of an unknown rig in a .bvh or .glb")
    parser.add_argument(
        "--up", metavar="AXIS",
        help="axis that points up: x, y, z, =-x, =-y, =-z (default: found in a .bvh or .glb, z in an .npz, else y)",
    )  # fmt: skip
    parser.add_argument(
        "--units", metavar="UNIT",
        help="unit of joints in a .npy: m, cm, mm or in (default: found by the length of the legs)",
    )  # fmt: skip


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of files that hold rotations."""
    parser.add_argument(
        "--output-fps", type=float, metavar="FPS",
        help="frames per second of a .bvh, .npz or .glb, whose rotations are interpolated (default: the motion's; "
        "Blender's add-ons for AMASS refuse less than 30)",
    )  # fmt: skip
    parser.add_argument(
        "--smooth", type=float, metavar="SECONDS",
        help="standard deviation of a Gaussian over the rotations of a .bvh, .npz or .glb (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--body-models", type=Path, metavar="DIR",
        help="folder with an SMPL+H or SMPL model, with whose pelvis and rest pose a .npz is written (default: a "
        "T-pose with the pelvis at the origin); also the bodies of an .npz that is read",
    )  # fmt: skip


def export_options(
    options: argparse.Namespace, reads: Sequence[Path] = (), skeleton: str | None = None
) -> dict[str, Any]:
    """What `save_motions` takes of the options of `add_export_options`, checked for the file to write.

    Args:
        options: Of the command.
        reads: Files of motions; body models are also for an .npz among them, and then left out for a file that needs
            none.
        skeleton: Name of the motions' skeleton, if it is known.
    """
    from realign.motion.rigid_files import RigidFiles
    from realign.render.save import check_output

    given = {"fps": options.output_fps, "body_models": options.body_models, "smooth": options.smooth}
    if options.output.suffix.lower() != ".npz" and any(path.suffix.lower() == ".npz" for path in reads):
        given["body_models"] = None
    check_output(options.output, skeleton, RigidFiles(**given))
    return given


def read_motions(path: Path, options: argparse.Namespace, caption: str = "") -> "list[MotionClip]":
    """All motions of a file, by the options of `add_motion_options`."""
    from realign.motion.clip import MotionClip

    return MotionClip.load_all(
        path, fps=options.fps, caption=caption, rig=options.rig, up=options.up, units=options.units,
        body_models=options.body_models,
    )  # fmt: skip


@contextmanager
def loading() -> Iterator[None]:
    """Switch off garbage collection while importing and loading, which takes a fifth of the time."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Print warnings about old names and doubtful input as notes on standard error."""
    with warnings.catch_warnings():
        show, told = warnings.showwarning, set()

        def tell(message: Warning | str, category: type[Warning], *about: Any, **more: Any) -> None:
            if issubclass(category, Renamed | InputWarning):
                if str(message) not in told:
                    note(str(message))
                told.add(str(message))
            else:
                show(message, category, *about, **more)

        warnings.showwarning = tell
        warnings.simplefilter("always", Renamed)
        warnings.simplefilter("always", InputWarning)
        yield


class OldName(argparse.Action):
    """An option under its old name: sets that of the new name, with a note."""

    def __init__(self, option_strings: list[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, **options, help=argparse.SUPPRESS)

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        """Set the value and print a note."""
        renamed(str(option_string), f"--{self.dest.replace('_', '-')}")
        setattr(namespace, self.dest, values)


def add_guidance_scale(parser: Any) -> None:
    """The scale of classifier-free guidance, with its old name."""
    parser.add_argument(
        "--guidance-scale", type=float, metavar="W", help="of classifier-free guidance (default: the model's)"
    )
    parser.add_argument("--cfg", dest="guidance_scale", type=float, action=OldName)
