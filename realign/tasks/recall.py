"""Recall by noise level: how well sentences find their motions while these are still noisy."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from realign.metrics.retrieval_metric import RetrievalMetrics

Timesteps = Mapping[str, tuple[float, float] | None]

CLEAN: dict[str, tuple[float, float] | None] = {"clean": None}
BINS: dict[str, tuple[float, float] | None] = {
    f"t{5 + 10 * tenth:02d}": (tenth / 10, (tenth + 1) / 10) for tenth in range(10)
}
POINTS: dict[str, tuple[float, float] | None] = {"at30": (0.3, 0.3), "at60": (0.6, 0.6)}
"""Timesteps by name: a range of the schedule in shares of its length, from which every sample draws its step."""


class NoiseRecall(nn.Module):
    """R@1 from text to motion at several levels of noise, in small batches, identical captions counted as right.

    Batches of 32 as `retrieval_protocols` draws them; where there are fewer pairs, all of them make one batch.

    Args:
        timesteps: Names and ranges; None stands for clean motions.
    """

    def __init__(self, timesteps: Timesteps) -> None:
        super().__init__()
        self.timesteps = dict(timesteps)
        self.metrics = nn.ModuleDict({name: RetrievalMetrics(identical=True) for name in timesteps})

    def update(
        self,
        name: str,
        text: Float[Tensor, "B E"],
        motion: Float[Tensor, "B E"],
        ids: Sequence[str],
        captions: Sequence[str],
    ) -> None:
        """Add pairs at a level; arguments as in `RetrievalMetrics.update`."""
        self.metrics[name].update(text, motion, ids, captions)  # type: ignore[operator]

    def compute(self) -> dict[str, float]:
        """R@1 at every level with pairs, over all processes; forgets what it has seen."""
        found = {}
        for name, metric in self.metrics.items():
            if not metric.update_called:
                continue
            table = metric.compute()  # type: ignore[operator]
            found[name] = float(table.get("small_batches/t2m/R@1", table["all/t2m/R@1"]))
            metric.reset()  # type: ignore[operator]
        return found
