"""How much faster cached sentence features are than encoding them: MiniLM, 512 captions, batches of 64."""

import argparse
import tempfile
import time
from collections.abc import Callable

import torch
from table import report

from realign.text import CachedTextEncoder, MiniLMEncoder, TextEncoder

CAPTIONS = [f"a person walks {i} steps forward, turns to the left and raises the right hand" for i in range(512)]


def rate(encoder: TextEncoder) -> float:
    start = time.perf_counter()
    for first in range(0, len(CAPTIONS), 64):
        encoder(CAPTIONS[first : first + 64])
    return len(CAPTIONS) / (time.perf_counter() - start)


def best(make: Callable[[], TextEncoder], repeats: int = 5) -> float:
    return max(rate(make()) for _ in range(repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--captions", type=int, default=512)
    options = parser.parse_args()
    del CAPTIONS[options.captions :]
    plain = MiniLMEncoder().to(options.device)
    start = time.perf_counter()
    plain(CAPTIONS[:1])
    print(f"load, imports included          {time.perf_counter() - start:10.2f} s")
    direct = best(lambda: plain, 2)
    with tempfile.TemporaryDirectory() as folder:
        first = rate(CachedTextEncoder(plain, folder))
        disk = best(lambda: CachedTextEncoder(plain, folder))
        warm = CachedTextEncoder(plain, folder)
        rate(warm)
        memory = best(lambda: warm)
    for name, value in (("plain", direct), ("cached, first", first), ("from disk", disk), ("from memory", memory)):
        print(f"{name:<16}{value:12,.0f} captions/s {value / direct:10.1f} x plain")
        if name != "plain":
            report(f"captions/s, {name} over encoding", value / direct)


if __name__ == "__main__":
    main()
