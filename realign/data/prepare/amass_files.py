"""Find the recordings of HumanML3D's index in a folder of AMASS downloads."""

from collections import Counter
from functools import cached_property
from pathlib import Path

from realign.errors import InputError
from realign.files import data_files
from realign.motion.body_files import PACKED

NEWER = "_stageii"
"""End of the file names of SMPL-X downloads; those of SMPL+H end in _poses."""
_SITE = {
    "BioMotionLab_NTroje": ("BMLrub",),
    "DFaust_67": ("DFaust",),
    "MPI_HDM05": ("HDM05",),
    "MPI_Limits": ("PosePrior",),
    "MPI_mosh": ("MoSh",),
    "SSM_synced": ("SSM",),
    "TCD_handMocap": ("TCDHands",),
    "Transitions_mocap": ("Transitions",),
}
"""Folders of older releases, which the index names, with their present names on the AMASS site."""


class Recordings:
    """The .npz files of a folder of AMASS downloads.

    Args:
        root: The folder with the unpacked subsets (KIT, CMU ...), one folder deeper if need be, under either name.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._alike: dict[Path, dict[str, Path]] = {}
        self._found, self._lost = 0, list[str]()

    def find(self, source: str) -> Path | None:
        """The file of a recording.

        Args:
            source: Its path in the index, such as KIT/3/kick_high_left02_poses.npy.
        """
        subset, _, rest = source.removesuffix(".npy").partition("/")
        folders = self._folders(subset)
        exact = (file for folder in folders if (file := folder / f"{rest}.npz").is_file())
        found = next(exact, None) or next((path for folder in folders if (path := self._like(folder, rest))), None)
        self._found += found is not None
        if found is None:
            self._lost.append(source)
        return found

    def missing(self, source: str) -> tuple[str, str]:
        """Reason and detail for a recording that is missing."""
        subset = source.partition("/")[0]
        site = _SITE.get(subset, (subset,))[0]
        if self._folders(subset):
            return "no motion file", f"{source.removesuffix('.npy')}.npz is not in {self._folders(subset)[0]}"
        packed = next((path.name for path in self._packed if path.name.lower().startswith(site.lower())), None)
        told = f"; unpack {packed}" if packed else ""
        return f"AMASS subset missing: {site} (folder {subset}){told}", f"{source.removesuffix('.npy')}.npz"

    def check(self) -> None:
        """Refuse a folder without any of the recordings that `find` looked for.

        Raises:
            InputError: There are none.
        """
        if self._found or not self._lost:
            return
        subsets = [name for name, _ in Counter(source.partition("/")[0] for source in self._lost).most_common(3)]
        what = self._packed[0].name if self._packed else "the downloads"
        raise InputError(
            f"{self.root} holds none of the {len(self._lost)} recordings that the index names ({', '.join(subsets)}, "
            f"...); unpack {what} there ('SMPL+H G' of amass.is.tue.mpg.de), so that it holds "
            f"{self._lost[0].removesuffix('.npy')}.npz."
        )

    @cached_property
    def _places(self) -> dict[str, list[Path]]:
        """Folders that may be subsets, by normalised name, the deepest first."""
        near = [self.root, *sorted(path for path in self.root.iterdir() if path.is_dir())]
        far = [path for folder in near[1:] for path in sorted(folder.iterdir()) if path.is_dir()]
        places: dict[str, list[Path]] = {}
        for path in [*far, *near]:  # deeper folders hold fewer unrelated files
            places.setdefault(_plain(path.resolve().name), []).append(path)
        return places

    @cached_property
    def _packed(self) -> list[Path]:
        return [path for path in sorted(self.root.iterdir()) if path.suffix.lower() in PACKED]

    def _folders(self, subset: str) -> list[Path]:
        names = (subset, *_SITE.get(subset, ()))
        return [path for name in names for path in self._places.get(_plain(name), [])]

    def _like(self, folder: Path, rest: str) -> Path | None:
        """A file whose path differs only in blanks and in the ending of its release."""
        if folder not in self._alike:
            files = data_files(folder, ".npz", recursive=True)
            pairs = [(_key(path.relative_to(folder).with_suffix("").as_posix()), path) for path in files]
            self._alike[folder] = dict(reversed(pairs))  # the first of two wins: _poses before _stageii
        return self._alike[folder].get(_key(rest))


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def _key(path: str) -> str:
    return path.removesuffix("_poses").removesuffix(NEWER).replace(" ", "_")
