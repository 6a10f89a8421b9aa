"""Measures of generated motions, over batches and processes."""

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
    """Agreement with captions and likeness to recorded motions by some models, and physical measures.

    Args:
        models: Models that embed motions and captions, by name.
        skeleton: Name of the skeleton.
    """

    def __init__(self, models: Mapping[str, MotionTextModel], skeleton: str) -> None:
        super().__init__()
        self._models = dict(models)  # a plain dictionary: they are not parts of this module
        self.skeleton = get_skeleton(skeleton)
        self.metrics = nn.ModuleDict({name: GenerationMetrics(identical=True, few=True) for name in models})
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
        for name, model in self._models.items():
            text = model.embed_captions(batch.captions)
            made, recorded = (model.embed_motions(each, batch.lengths) for each in (motion, batch.motion))
            self.metrics[name].update(text, made, batch.ids, batch.captions, recorded)  # type: ignore[operator]
            found[f"{name}_text"] = torch.cosine_similarity(made.float(), text.float())
        found |= measure_motions(motion, batch.lengths, self.skeleton)
        if self.means is None:
            self.means = SampleMeans(list(found)).to(motion.device)
        self.means.update(batch.ids, found)

    def compute(self) -> dict[str, Tensor]:
        """Means, and R@1, MM-Dist and FID by every model, over all processes; forgets what it has seen."""
        if self.means is None or not self.means.update_called:
            return {}
        found = self.means.compute()
        self.means.reset()
        for name, metric in self.metrics.items():
            table = metric.compute()  # type: ignore[operator]
            found |= {f"{_NAMES[each]}_by_{name}": table[each].to(metric.device).float() for each in _NAMES}
            metric.reset()  # type: ignore[operator]
        return found
