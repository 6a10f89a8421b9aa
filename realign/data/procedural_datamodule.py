from pathlib import Path

from realign.data.datamodule import MotionDataModule
from realign.data.prepare.run import prepare
from realign.data.procedural import write_procedural_folder
from realign.errors import InputError
from realign.file_names import META
from realign.files import atomic_path, cache_folder


class ProceduralDataModule(MotionDataModule):
    """Motions computed from sines, prepared at first use, to try a configuration in seconds without a download.

    Args:
        clips: Number of clips.
        batch_size: Samples of a batch in one process; 8 if no global batch is given either.
        num_workers: Worker processes of a loader.
        folder: Folder of the prepared set; ``$REALIGN_CACHE/procedural``, else ``~/.cache/realign/procedural``.
        seed: Seed of the motions and of order, captions, crops and mirroring.
        global_batch_size: Samples of one step over all processes.
    """

    def __init__(
        self,
        clips: int = 72,
        batch_size: int | None = None,
        num_workers: int = 0,
        folder: str | None = None,
        seed: int = 0,
        global_batch_size: int | None = None,
    ) -> None:
        data = Path(folder) if folder else cache_folder("procedural") / f"{clips}-{seed}"
        if batch_size is None and global_batch_size is None:
            batch_size = 8
        super().__init__(
            str(data), batch_size=batch_size, num_workers=num_workers, seed=seed, global_batch_size=global_batch_size
        )
        self.data, self.clips = data, clips
        self.prepare_data()  # a task reads the statistics before the trainer would call it

    def prepare_data(self) -> None:
        """Make the prepared set if it does not exist; a second process keeps the set of the first."""
        folder = Path(self.data)
        if (folder / META).is_file():
            return
        try:
            with atomic_path(folder) as place:
                prepare(write_procedural_folder(place.with_name("source"), self.clips, self.seed), place)
        except OSError as error:
            if not (folder / META).is_file():
                raise InputError(f"{folder} cannot be written ({error}); set folder to one that can be.") from None
