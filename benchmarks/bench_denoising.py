"""Seconds for one denoising step with classifier-free guidance, beside the same layers in plain PyTorch.

    python benchmarks/bench_denoising.py [--device cuda] [--threads 1] [--compile]

Both sides run the doubled batch of classifier-free guidance, in evaluation mode without gradients, with padding masks.
Rounds alternate between the two, and the fastest of each counts. On one CPU thread it is processor time that is taken,
so that other programs on the machine do not enter the figures. With --compile a third column is the compiled network of
realign in the same rounds, and the last one how many times as fast it is.
"""

import argparse
import time
from collections.abc import Callable
from copy import deepcopy

import torch
from table import report
from torch import Tensor, nn

from realign.batch import TextFeatures
from realign.masking import lengths_to_mask
from realign.nn import Denoiser, MdmDenoiser, MldDenoiser
from realign.nn.compiled import compile_networks

TEXT = 768


class Plain(nn.Module):
    """nn.TransformerEncoderLayer with input and output projections and, for the skip kind, its joining layers."""

    def __init__(self, width: int, hidden: int, layers: int, skip: bool) -> None:
        super().__init__()
        self.in_proj, self.out_proj, self.text = (
            nn.Linear(width, hidden),
            nn.Linear(hidden, width),
            nn.Linear(TEXT, hidden),
        )
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(hidden, 4, 1024, activation="gelu", batch_first=True) for _ in range(layers)
        )
        self.head = 2 if skip else 1  # step and text, or their sum
        self.skip_proj = nn.ModuleList(nn.Linear(2 * hidden, hidden) for _ in range(layers // 2 if skip else 0))

    def forward(self, x: Tensor, mask: Tensor, pooled: Tensor) -> Tensor:
        head = self.text(pooled)[:, None].expand(-1, self.head, -1)
        tokens = torch.cat([head, self.in_proj(x)], 1)
        padding = ~torch.cat([mask.new_ones(len(mask), self.head), mask], 1)
        kept: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            if self.skip_proj and i > len(self.skip_proj):
                tokens = self.skip_proj[i - len(self.skip_proj) - 1](torch.cat([tokens, kept.pop()], -1))
            tokens = layer(tokens, src_key_padding_mask=padding)
            kept.append(tokens)
            if i >= len(self.skip_proj):
                kept.pop()
        return self.out_proj(tokens[:, self.head :])


def seconds(call: Callable[[], object], device: torch.device) -> float:
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def compare(
    denoiser: Denoiser, plain: Plain, tokens: int, batch: int, device: torch.device, compiled: bool = False
) -> list[float]:
    """Seconds of ours, of plain PyTorch and of ours compiled, if asked for."""
    rows = 2 * batch
    x = torch.randn(rows, tokens, denoiser.width, device=device)
    mask = lengths_to_mask(torch.full((rows,), tokens, device=device))
    text = TextFeatures(
        torch.randn(rows, 12, TEXT, device=device),
        torch.ones(rows, 12, dtype=torch.bool, device=device),
        torch.randn(rows, TEXT, device=device),
    )
    t = torch.full((rows,), 500, device=device)
    denoiser, plain = denoiser.to(device).eval(), plain.to(device).eval()

    def ours() -> Tensor:
        return denoiser(x, t, mask, text)

    def theirs() -> Tensor:
        return plain(x, mask, text.pooled)

    calls = [ours, theirs]
    if compiled:
        fast = deepcopy(denoiser)
        compile_networks(fast)
        calls.append(lambda: fast(x, t, mask, text))

    rounds = 5 if device.type == "cpu" and batch > 1 else 20
    times = [[seconds(call, device) for call in calls] for _ in range(rounds)][1:]  # the first warms up
    return [min(each) for each in zip(*times, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--tiny", action="store_true", help="small networks, to see that everything runs")
    parser.add_argument("--compile", action="store_true", help="compare with the compiled network too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    print(f"{device}, {options.threads} threads")
    more = f" {'compiled s':>10} {'faster':>6}" if options.compile else ""
    print(f"{'generator':38} {'batch':>5} {'realign s':>10} {'plain s':>10} {'ratio':>6}{more}")
    cases = (
        ("MldDenoiser, 9 layers, 256, 49 x 256", MldDenoiser, Plain, 256, 256, 9, True, 49),
        ("MdmDenoiser, 8 layers, 512, 196 x 263", MdmDenoiser, Plain, 263, 512, 8, False, 196),
    )
    if options.tiny:
        cases = (("MldDenoiser, 3 layers, 32, 9 x 32", MldDenoiser, Plain, 32, 32, 3, True, 9),)
    with torch.inference_mode():
        for name, ours, plain, width, hidden, layers, skip, tokens in cases:
            for batch in (1, 32):
                torch.manual_seed(0)
                denoiser = ours(width, TEXT, hidden, layers)
                other = plain(width, hidden, layers, skip)
                ours_s, plain_s, *fast = compare(denoiser, other, tokens, batch, device, options.compile)
                told = "".join(f" {each:10.5f} {ours_s / each:6.2f}" for each in fast)
                print(f"{name:38} {batch:5d} {ours_s:10.5f} {plain_s:10.5f} {ours_s / plain_s:6.2f}{told}")
                report(f"denoising step, {name}, batch {batch}", ours_s / plain_s, "at most 1")
                for each in fast:
                    report(f"compiled over eager, {name}, batch {batch}", each / ours_s, "below 1")


if __name__ == "__main__":
    main()
