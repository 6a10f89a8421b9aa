"""Recall by timestep: how well captions find noisy motions."""

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
"""Timesteps by name: a range of fractions of the schedule, from which every sample draws its timestep."""


class NoiseRecall(nn.Module):
    """R@1 from text to motion at several timesteps, in small batches; identical captions count as right.

    Batches of 32 as `retrieval_protocols` draws them; fewer pairs make one batch.

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
        """Add pairs at the timesteps of a name; arguments as in `RetrievalMetrics.update`."""
        self.metrics[name].update(text, motion, ids, captions)  # type: ignore[operator]

    def compute(self) -> dict[str, float]:
        """R@1 by name, over all processes; resets the metrics."""
        found = {}
        for name, metric in self.metrics.items():
            if not metric.update_called:
                continue
            table = metric.compute()  # type: ignore[operator]
            found[name] = float(table.get("small_batches/t2m/R@1", table["all/t2m/R@1"]))
            metric.reset()  # type: ignore[operator]
        return found
