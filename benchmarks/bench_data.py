"""Opening a prepared set, and samples a second, against a plain dataset that loads one .npy file a motion.

    python benchmarks/bench_data.py PREPARED [--batch 32]

PREPARED is a folder made by `realign prepare`; the plain side gets its files written from it into a temporary folder.
Aims: first batch of 32 under 0.15 s after opening, however many clips; 5,000 samples/s in one process.
"""

import argparse
import random
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from realign.data.datamodule import MotionDataModule
from realign.data.store import CLIP, PackedMotions


class PlainDataset(Dataset):
    """What programs of the field do: read every file of the split at the start, crop and pad a sample at a time."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.items = []
        for name in names:
            motion = np.load(folder / "new_joint_vecs" / f"{name}.npy")
            if 40 <= len(motion) < 200:
                texts = [line.split("#")[0] for line in (folder / "texts" / f"{name}.txt").read_text().splitlines()]
                self.items.append((name, motion, texts))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        name, motion, texts = self.items[index]
        length = (len(motion) // 4 - (random.random() < 1 / 3)) * 4
        start = random.randint(0, len(motion) - length)
        padded = np.concatenate([motion[start : start + length], np.zeros((196 - length, motion.shape[1]), np.float32)])
        return padded, length, random.choice(texts), name


def plain_collate(samples):
    motions, lengths, texts, names = zip(*samples, strict=True)
    return torch.from_numpy(np.stack(motions)), torch.tensor(lengths), list(texts), list(names)


def write_plain(packed: PackedMotions, folder: Path) -> list[str]:
    (folder / "new_joint_vecs").mkdir(parents=True)
    (folder / "texts").mkdir()
    rows = packed.select("train")
    for row in rows.tolist():
        name = packed.id(row)
        np.save(folder / "new_joint_vecs" / f"{name}.npy", packed.motion(row))
        (folder / "texts" / f"{name}.txt").write_text("".join(f"{text}#\n" for text in packed.captions(row)))
    return packed.ids(rows)


def write_repeated(packed: PackedMotions, folder: Path, times: int) -> None:
    """The same set with its table of clips repeated: many clips, without as many gigabytes."""
    shutil.copytree(packed.folder, folder, ignore=shutil.ignore_patterns("features.npy", "clips.npy"))
    (folder / "features.npy").symlink_to(packed.folder.resolve() / "features.npy")
    np.save(folder / "clips.npy", np.tile(packed.clips, times).astype(CLIP))


def first_batch(folder: Path, batch: int) -> float:
    begin = time.perf_counter()
    next(iter(MotionDataModule(str(folder), batch_size=batch).train_dataloader()))
    return time.perf_counter() - begin


def best(measure, repeats: int = 5) -> float:
    return min(measure() for _ in range(repeats))


def rate(loader, passes: int = 3) -> float:
    def one() -> float:
        begin = time.perf_counter()
        seen = sum(len(b[1] if isinstance(b, tuple | list) else b) for b in loader)
        return (time.perf_counter() - begin) / seen

    return 1 / best(one, passes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--batch", type=int, default=32)
    args = parser.parse_args()
    torch.set_num_threads(1)
    packed = PackedMotions.open(args.prepared)
    with tempfile.TemporaryDirectory() as temporary:
        names = write_plain(packed, Path(temporary) / "plain")
        write_repeated(packed, Path(temporary) / "many", 8)

        def plain_first() -> float:
            begin = time.perf_counter()
            data = PlainDataset(Path(temporary) / "plain", names)
            next(iter(DataLoader(data, args.batch, shuffle=True, collate_fn=plain_collate)))
            return time.perf_counter() - begin

        cold, plain = first_batch(args.prepared, args.batch), best(plain_first, 3)
        ours = best(lambda: first_batch(args.prepared, args.batch))
        many = best(lambda: first_batch(Path(temporary) / "many", args.batch))
        print(
            f"{len(packed)} clips, open to first batch of {args.batch}: {ours * 1e3:.1f} ms "
            f"(first time {cold * 1e3:.1f} ms), plain {plain * 1e3:.1f} ms: {plain / ours:.1f} times faster"
        )
        print(f"{8 * len(packed)} clips: {many * 1e3:.1f} ms, {many / ours:.2f} of the time of {len(packed)}")
        data = PlainDataset(Path(temporary) / "plain", names)
        slow = rate(DataLoader(data, args.batch, shuffle=True, drop_last=True, collate_fn=plain_collate))
        for label, options in (
            ("padded to the longest", {"mirror": False}),
            ("padded to 196", {"pad_to": 196, "mirror": False}),
            ("with mirroring", {"mirror": True}),
        ):
            fast = rate(MotionDataModule(str(args.prepared), batch_size=args.batch, **options).train_dataloader())
            print(f"{label}: {fast:,.0f} samples/s, plain {slow:,.0f}: {fast / slow:.2f} times faster")


if __name__ == "__main__":
    main()
