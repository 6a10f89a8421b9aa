"""What is measured about generated motions, gathered over batches and processes."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from realign.batch import MotionTextBatch
from realign.evaluators.measures import measure_motions
from realign.interfaces import MotionTextModel
from realign.metrics.generation_metric import GenerationMetrics
from realign.metrics.sample_means import SampleMeans
from realign.motion.skeleton import get_skeleton

_NAMES = {"R@1": "r1", "MM-Dist": "mm_dist", "FID": "fid"}  # of what is logged


class SampleMetrics(nn.Module):
    """Agreement with captions and likeness to recorded motions by some judges, and physical measures.

    Args:
        judges: Models that embed motions and captions, by name.
        skeleton: Name of the skeleton.
    """

    def __init__(self, judges: Mapping[str, MotionTextModel], skeleton: str) -> None:
        super().__init__()
        self._judges = dict(judges)  # a plain dictionary: they are no parts of this module
        self.skeleton = get_skeleton(skeleton)
        self.judged = nn.ModuleDict({name: GenerationMetrics(identical=True, few=True) for name in judges})
        self.means: SampleMeans | None = None

    @torch.no_grad()
    def update(
        self, motion: Float[Tensor, "B F C"], batch: MotionTextBatch, values: Mapping[str, Float[Tensor, "B"]]
    ) -> None:
        """Add motions made for the captions of a batch.

        Args:
            motion: Their features, not normalised.
            batch: Captions, ids, lengths and recorded motions.
            values: Further numbers of each motion, the same names every time.
        """
        found = dict(values)
        for name, judge in self._judges.items():
            text = judge.embed_captions(batch.captions)
            made, recorded = (judge.embed_motions(each, batch.lengths) for each in (motion, batch.motion))
            self.judged[name].update(text, made, batch.ids, batch.captions, recorded)  # type: ignore[operator]
            found[f"{name}_text"] = torch.cosine_similarity(made.float(), text.float())
        found |= measure_motions(motion, batch.lengths, self.skeleton)
        if self.means is None:
            self.means = SampleMeans(list(found)).to(motion.device)
        self.means.update(batch.ids, found)

    def compute(self) -> dict[str, Tensor]:
        """Means, and R@1, MM-Dist and FID by every judge, over all processes; forgets what it has seen."""
        if self.means is None or not self.means.update_called:
            return {}
        found = self.means.compute()
        self.means.reset()
        for name, judged in self.judged.items():
            table = judged.compute()  # type: ignore[operator]
            found |= {f"{_NAMES[each]}_by_{name}": table[each].to(judged.device).float() for each in _NAMES}
            judged.reset()  # type: ignore[operator]
        return found
