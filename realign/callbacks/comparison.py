"""What is measured about generated motions, gathered over batches and processes."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from realign.batch import MotionTextBatch
from realign.metrics.retrieval_metric import RetrievalMetrics
from realign.metrics.sample_means import SampleMeans
from realign.motion.skeleton import get_skeleton
from realign.tasks.embedding import EmbeddingTask
from realign.tasks.measures import measure_motions


class SampleMetrics(nn.Module):
    """Agreement with captions by some judges, and physical measures.

    Args:
        judges: Models that embed motions and captions, by name.
        skeleton: Name of the skeleton.
    """

    def __init__(self, judges: Mapping[str, EmbeddingTask], skeleton: str) -> None:
        super().__init__()
        self._judges = dict(judges)  # a plain dictionary: they are no parts of this module
        self.skeleton = get_skeleton(skeleton)
        self.recall = nn.ModuleDict({name: RetrievalMetrics() for name in judges})
        self.means: SampleMeans | None = None

    @torch.no_grad()
    def update(
        self, motion: Float[Tensor, "B F C"], batch: MotionTextBatch, values: Mapping[str, Float[Tensor, "B"]]
    ) -> None:
        """Add motions made for the captions of a batch.

        Args:
            motion: Their features, not normalised.
            batch: Captions, ids and lengths.
            values: Further numbers of each motion, the same names every time.
        """
        found = dict(values)
        for name, judge in self._judges.items():
            embedded, text = judge.embed_motions(motion, batch.lengths), judge.embed_captions(batch.captions)
            self.recall[name].update(text, embedded, batch.ids, batch.captions)  # type: ignore[operator]
            found[f"{name}_text"] = (embedded * text).sum(-1)
        found |= measure_motions(motion, batch.lengths, self.skeleton)
        if self.means is None:
            self.means = SampleMeans(list(found)).to(motion.device)
        self.means.update(batch.ids, found)

    def compute(self) -> dict[str, Tensor]:
        """Means, and R@1 from text to motion by every judge, over all processes; forgets what it has seen."""
        if self.means is None or not self.means.update_called:
            return {}
        found = self.means.compute()
        self.means.reset()
        for name, recall in self.recall.items():
            table = recall.compute()  # type: ignore[operator]
            found[f"r1_by_{name}"] = table.get("small_batches/t2m/R@1", table["all/t2m/R@1"])
            recall.reset()  # type: ignore[operator]
        return found
