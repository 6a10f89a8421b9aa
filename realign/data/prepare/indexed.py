"""Clips that HumanML3D's index cuts out of recordings, with its captions and split lists, whatever gives the motion."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from realign.data.prepare.captions import Caption
from realign.data.prepare.humanml3d_cuts import Cut
from realign.data.prepare.humanml3d_repository import Repository
from realign.data.prepare.source import Item, LeftOut, Source, Splitter
from realign.data.store import SPLITS
from realign.errors import InputError


@dataclass(kw_only=True)
class IndexedRecordings(Source):
    """Recordings, cut, mirrored and captioned by HumanML3D's index and texts.

    Attributes:
        repository: Index, captions, split lists.
        splits_option: Folder with split lists, or percentages such as "80/5/15"; the repository's lists when None.
        cuts: Clips by name, with mirrored ones.
        paths: Files of the clips that were found, by name.
    """

    repository: Repository
    splits_option: str | None = None
    cuts: dict[str, Cut] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)

    @abstractmethod
    def find(self, cut: Cut) -> Path | tuple[str, str]:
        """The file that a clip is cut from, else a reason that groups and a detail."""

    def look_for(self, cuts: dict[str, Cut]) -> None:
        """Find the file of every clip; missing clips go to `problems`.

        Args:
            cuts: Clips of the index by name.
        """
        for name, cut in cuts.items():
            found = self.find(cut)
            for each in (name, f"M{name}"):
                if isinstance(found, Path):
                    self.paths[each], self.cuts[each] = found, replace(cut, mirrored=each != name)
                else:
                    self.problems.append((each, *found))

    def files(self) -> Iterable[Path]:
        """The files of the repository that are read, and split lists."""
        yield from self.repository.files()
        if self.splits_option and Path(self.splits_option).is_dir():
            yield from (path for name in SPLITS if (path := Path(self.splits_option) / f"{name}.txt").is_file())

    def items(self) -> list[Item]:
        """Every clip whose file was found; clips of one recording are adjacent."""
        splitter = Splitter(self.splits_option, self.repository.lists)
        items = []
        for name, cut in sorted(self.cuts.items(), key=lambda pair: (pair[1].source, pair[0].lstrip("M"), pair[0])):
            splits = splitter(name, name[1:] if cut.mirrored else None)
            if splits:
                items.append(Item(name, self.paths[name], splits=splits))
            else:
                self.problems.append((name, "in no split", "none of train.txt, val.txt and test.txt lists it"))
        return items

    def __getstate__(self) -> dict[str, Any]:
        """State that worker processes need."""
        return super().__getstate__() | {"paths": {}}

    def captions(self, item: Item) -> Sequence[Caption]:
        """Captions of a clip."""
        mirrored = self.cuts[item.id].mirrored
        try:
            return self.repository.captions(item.id[1:] if mirrored else item.id, mirrored)
        except (InputError, OSError) as error:
            raise LeftOut("unreadable captions", str(error)) from None
