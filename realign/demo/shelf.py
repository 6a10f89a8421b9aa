"""Motions of the latest results, from which files are written when they are asked for."""

import io
import secrets
import tempfile
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from realign.demo.limits import UPLOADS, Limits
from realign.demo.upload import read_upload
from realign.errors import InputError
from realign.motion.clip import MotionClip
from realign.render.comparison import save_comparison
from realign.render.save import SINGLE, SUFFIXES, save_motions

_SLOW = (".gif", ".mp4")
_PICTURES = (".gif", ".mp4", ".png")


class Busy(Exception):
    """Too many requests wait already; one sentence."""


class Lane:
    """Lets few work at once and few wait.

    Args:
        at_once: That work at once.
        waiting: That may wait.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._work, self._places = threading.Semaphore(at_once), threading.Semaphore(at_once + waiting)
        self.waiting = waiting

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Wait for a turn.

        Raises:
            Busy: Too many wait already.
        """
        if not self._places.acquire(blocking=False):
            raise Busy(f"The demo is busy: {self.waiting} files wait to be written already; try again in a minute.")
        try:
            with self._work:
                yield
        finally:
            self._places.release()


class Shelf:
    """Keeps motions in memory under unguessable names; the oldest are forgotten.

    No file outlives the request that it is written for, and no name in a request becomes a path: files are written
    under names of our own into a new private folder.

    Args:
        limits: How much is kept and written at once.
        folder: Where temporary folders are made; None for the system's place.
    """

    def __init__(self, limits: Limits, folder: Path | None = None) -> None:
        self.limits, self.folder = limits, folder
        self._kept: OrderedDict[str, list[MotionClip]] = OrderedDict()
        self._lock = threading.Lock()
        self._quick, self._slow = Lane(2, limits.files), Lane(1, limits.files)

    def put(self, clips: Sequence[MotionClip]) -> str:
        """Keep motions; the name under which they are found."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[name] = list(clips)
            while len(self._kept) > self.limits.kept or self.size > self.limits.kept_bytes:
                self._kept.popitem(last=False)
        return name

    def get(self, name: str) -> list[MotionClip]:
        """The motions of a name.

        Raises:
            InputError: They are not kept any more, or never were.
        """
        with self._lock:
            if name not in self._kept:
                raise InputError("These motions are not kept any more; make or search them again.")
            self._kept.move_to_end(name)
            return self._kept[name]

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes of all motions that are kept."""
        return sum(clip.joints.nbytes for clips in self._kept.values() for clip in _every(clips))

    def file(self, name: str, suffix: str) -> tuple[bytes, str]:
        """Write the motions of a name in a format.

        Args:
            name: From `put`.
            suffix: One of `SUFFIXES`; guided motions are shown beside their unguided ones, if they have them.

        Returns:
            The bytes and the suffix: that of the format, or .zip if the format holds one motion and there are several.

        Raises:
            InputError: The motions are not kept any more, there is no such format, or it cannot show so many.
            Busy: Too many requests wait.
        """
        clips = self.get(name)
        paired = all(clip.unguided is not None for clip in clips)
        every = _every(clips) if paired else clips
        if suffix not in SUFFIXES:
            raise InputError(f"There is no format {suffix!r}; choose one of {' '.join(SUFFIXES)}.")
        if suffix in _PICTURES and len(every) > self.limits.drawn:
            raise InputError(
                f"{len(every)} motions are too many for a {suffix}; take .html, or a format of one motion."
            )
        many = suffix in SINGLE and len(every) > self.limits.drawn
        save = save_comparison if paired else save_motions
        with (self._slow if suffix in _SLOW or many else self._quick).enter(), self._private() as folder:
            written = save(folder / f"motion{suffix}", clips)
            if len(written) == 1:
                return written[0].read_bytes(), suffix
            return _zipped(written, [clip.caption for clip in every]), ".zip"

    def read(self, data: bytes, suffix: str, title: str) -> list[MotionClip]:
        """Read a dropped file by the project's readers, which execute nothing.

        Args:
            data: Its bytes.
            suffix: The ending of its name, which chooses the reader.
            title: What messages call it.

        Returns:
            Its first motions.

        Raises:
            InputError: The file is too large, of another kind or damaged, or holds no motion of a usual length.
            Busy: Too many requests wait.
        """
        kind = next((each for each in UPLOADS if each == suffix), None)
        if kind is None:
            raise InputError(f"{title!r} is not a motion that can be read here; drop a {', '.join(UPLOADS)} file.")
        if len(data) > self.limits.upload:
            raise InputError(f"{title!r} is larger than {self.limits.upload >> 20} MB; drop a shorter motion.")
        with self._quick.enter(), self._private() as folder:
            path = folder / f"motion{kind}"
            path.write_bytes(data)
            return read_upload(path, title, self.limits)

    @contextmanager
    def _private(self) -> Iterator[Path]:
        """A new folder that only this user may read, removed afterwards."""
        with tempfile.TemporaryDirectory(prefix="realign-demo-", dir=self.folder) as folder:
            yield Path(folder)


def _every(clips: Sequence[MotionClip]) -> list[MotionClip]:
    """Motions with the unguided ones that belong to them, each of which comes first."""
    return [each for clip in clips for each in (clip.unguided, clip) if each is not None]


def _zipped(paths: Sequence[Path], captions: Sequence[str]) -> bytes:
    """Files in one archive, with a list of their captions."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, path.name)
        lines = (f"{path.name}\t{caption}\n" for path, caption in zip(paths, captions, strict=True))
        archive.writestr("captions.tsv", "".join(lines))
    return made.getvalue()
