"""Opening a prepared set, and samples a second: of a plain dataset, of the loaders, and of a loop that trains.

    python benchmarks/bench_data.py PREPARED [--batch 32] [--device cuda] [--tiny] [--only-feeding]

PREPARED is a folder made by `realign prepare`; the plain side, which loads one .npy file a motion, gets its files
written from it into a temporary folder. The loop is the bare one of bench_training.py, on tensors that lie on the
device; beside it are loaders with 0, 2 and 4 workers, which give motions and the text features that the model reads,
pinned for CUDA. Aims: first batch of 32 under 0.15 s after opening, however many clips; 5,000 samples/s in one process;
4 workers feed 3 times what the loop eats.
"""

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Iterable
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_training import Case, cases
from table import report
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


class Feeding(MotionDataModule):
    """Loaders as training has them on a device."""

    device = torch.device("cpu")

    def _options(self) -> dict[str, Any]:
        return {"num_workers": self.num_workers, "pin_memory": self.device.type == "cuda"}


def feeds(loader: Iterable, device: torch.device, seconds: float = 3.0) -> float:
    """Samples a second that reach the device, the workers having been started."""
    seen, begin = 0, 0.0
    for number, batch in enumerate(islice(chain.from_iterable(repeat(loader)), 100_000)):
        batch.to(device)
        if number == 8:
            begin = time.perf_counter()
        elif number > 8:
            seen += len(batch)
            if time.perf_counter() - begin > seconds:
                break
    if device.type == "cuda":
        torch.cuda.synchronize()
    return seen / (time.perf_counter() - begin)


def eats(case: Case, batch: int, device: torch.device, seconds: float = 3.0) -> float:
    """Samples a second of a bare training loop."""
    layers = case.layers.to(device).train()
    optimizer = torch.optim.AdamW(layers.parameters(), fused=device.type == "cuda")
    begin, steps = 0.0, -2
    while steps < 3 or time.perf_counter() - begin < seconds:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            case.loss(layers).backward()
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
        if steps == 0:
            if device.type == "cuda":
                torch.cuda.synchronize()
            begin = time.perf_counter()
        elif device.type == "cuda" and steps % 10 == 0:
            torch.cuda.synchronize()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return batch * steps / (time.perf_counter() - begin)


def feeding(prepared: Path, batch: int, device: torch.device, tiny: bool) -> None:
    """Loaders beside the loop that they feed."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "set"
        write_repeated(PackedMotions.open(prepared), folder, 8)
        Feeding.device = device
        for name in ("generator over features", "generator over latents", "reward"):
            case = cases(batch, device, temporary, tiny)[name]()
            loop, told = eats(case, batch, device), []
            for workers in (0, 2, 4):
                data = Feeding(str(folder), batch_size=batch, num_workers=workers)
                data.read_text(case.task.text_readers())
                found = feeds(data.train_dataloader(), device)
                told.append(f"{workers} workers {found:,.0f}")
            again = eats(case, batch, device)
            print(f"{name}: the loop eats {loop:,.0f} and {again:,.0f} samples/s; loaders give {', '.join(told)}")
            report(f"samples of 4 workers over those of the loop, {name}", 2 * found / (loop + again), "at least 3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--tiny", action="store_true", help="small networks")
    parser.add_argument("--only-feeding", action="store_true", help="leave the plain dataset out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    feeding(args.prepared, args.batch, args.device, args.tiny)
    if not args.only_feeding:
        against_plain(args)


def against_plain(args: argparse.Namespace) -> None:
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
