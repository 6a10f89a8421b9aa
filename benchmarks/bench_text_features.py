"""Text features of many captions in one memory-mapped file: writing, opening and reading them.

    python benchmarks/bench_text_features.py CAPTIONS [--count 88000] [--width 384] [--repeated]

CAPTIONS is a JSON file, or one in gzip, of lists of captions by clip. They are repeated up to `--count`, a number being
added to each so that all differ; `--repeated` leaves them as they are, and the file then holds each once. Vectors are
random, as many for each caption as it has words and marks; the shapes and the writer are real. A few hundred captions
are read by MiniLM itself, for the values. Aims: opened in 0.1 s, a batch of 512 in 2 ms.
"""

import argparse
import gzip
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from table import report

from realign.batch import TextFeatures
from realign.data.prepare.captions import Caption
from realign.data.prepare.writer import PackedWriter
from realign.data.store import FORMAT_VERSION, PackedMotions, set_digest
from realign.data.text_features import keep_features, open_features
from realign.masking import lengths_to_mask
from realign.text import CachedTextEncoder, MiniLMEncoder, TextEncoder
from realign.text.table import FeatureTable, TextReader
from realign.text.words import split_words

BATCH = 512


class RandomEncoder(TextEncoder):
    """Random vectors, as many as a sentence has words and two marks."""

    fingerprint = "random"

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width
        self._pool = torch.randn(4096, width)

    @property
    def dim(self) -> int:
        return self._width

    def forward(self, texts: list[str]) -> TextFeatures:
        mask = lengths_to_mask(torch.tensor([2 + len(split_words(text)) for text in texts]))
        tokens = self._pool[: mask.shape[1]].expand(len(texts), -1, -1)
        return TextFeatures(tokens * mask[..., None], mask, self._pool[: len(texts)])


def write_set(folder: Path, captions: list[str]) -> PackedMotions:
    """A prepared set of clips of four frames, with two captions each."""
    folder.mkdir()
    writer = PackedWriter(folder, 263)
    still = np.zeros((4, 263), np.float32)
    for number in range(0, len(captions), 2):
        texts = [Caption(text) for text in captions[number : number + 2]]
        writer.add(f"{number:07d}", still, texts, 1, "recorded", 20.0, 4)
    clips = writer.finish()
    writer.close()
    for name in ("Mean", "Std"):
        np.save(folder / f"{name}.npy", np.ones(263, np.float32))
    meta = {"version": FORMAT_VERSION, "skeleton": "humanml3d", "fps": 20, "num_features": 263}
    meta |= {"content": set_digest(folder, "humanml3d"), "counts": {"clips": len(clips)}}
    (folder / "meta.json").write_text(json.dumps(meta))
    return PackedMotions.open(folder)


def seconds(call, repeats: int) -> tuple[float, float]:
    """The median and the longest of several calls."""
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return sorted(taken)[repeats // 2], max(taken)


def read_times(table: FeatureTable, label: str) -> None:
    rng = np.random.default_rng(0)
    captions = [""] * BATCH
    numbers = [table.rows[rng.integers(0, len(table.rows), BATCH), rng.integers(0, 2, BATCH)] for _ in range(100)]
    draw = iter(numbers)
    median, longest = seconds(lambda: table.read(next(draw), captions), len(numbers))
    found = table.read(numbers[0], captions)
    padded, _ = seconds(found.features, 20)
    print(
        f"{label:<22}batch of {BATCH}: {median * 1e3:.2f} ms (longest {longest * 1e3:.2f}), "
        f"{found.rows.nbytes / 2**20:.1f} MiB; padded in float32, on the CPU: {padded * 1e3:.2f} ms"
    )
    report(f"ms a batch of {BATCH}, {label}", median * 1e3, "at most 2")


def values(captions: list[str]) -> None:
    """How near the file is to what MiniLM gives."""
    exact = MiniLMEncoder()(captions)
    for name, each in (("words", exact.tokens[exact.mask]), ("sentences", exact.pooled)):
        error = (each.half().float() - each).abs()
        usual = each.abs() >= 2**-14
        print(
            f"MiniLM, {len(captions)} captions, {name}: largest difference "
            f"{(error / each.abs())[usual].max():.2e} of a value, {error[~usual].max():.1e} where it is below 6e-5"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("captions", type=Path)
    parser.add_argument("--count", type=int, default=88_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--repeated", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    content = args.captions.read_bytes()
    lists = json.loads(gzip.decompress(content) if args.captions.suffix == ".gz" else content)
    given = [text for texts in lists.values() for text in texts]
    rounds = (f"{text}{'' if args.repeated else f' {n}' * (n > 0)}" for n in range(10**6) for text in given)
    captions = [text for text, _ in zip(rounds, range(args.count), strict=False)]
    with tempfile.TemporaryDirectory() as temporary:
        packed = write_set(Path(temporary) / "set", captions)
        for words in (False, True):
            reader = TextReader(CachedTextEncoder(RandomEncoder(args.width), Path(temporary) / "cache"), words)
            label = "sentences and words" if words else "sentences"
            begin = time.perf_counter()
            table = keep_features(packed, reader)
            took = time.perf_counter() - begin
            print(
                f"{label:<22}{len(captions)} captions, {len(table)} distinct with left and right exchanged: "
                f"{table.features.nbytes / 2**20:.0f} MiB, written in {took:.1f} s without encoding"
            )
            opened, longest = seconds(lambda reader=reader: open_features(packed, reader), 9)
            print(f"{label:<22}opened in {opened * 1e3:.1f} ms (longest {longest * 1e3:.1f})")
            report(f"seconds to open, {label}", opened, "at most 0.1")
            read_times(table, label)
        cached = CachedTextEncoder(RandomEncoder(args.width), Path(temporary) / "cache")
        draws = np.random.default_rng(1).integers(0, len(captions), (12, BATCH))
        cached([captions[row] for row in draws[:6].ravel()])
        fresh = CachedTextEncoder(cached.encoder, Path(temporary) / "cache")
        draw = iter(draws)
        old, _ = seconds(lambda: fresh([captions[row] for row in next(draw)]), 6)
        print(f"free-text cache on disk, the same batches: {old * 1e3:.1f} ms")
    values(given[:300])


if __name__ == "__main__":
    main()
