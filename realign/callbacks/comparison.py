"""What is measured about generated motions, gathered over batches and processes."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from realign.batch import MotionTextBatch
from realign.evaluators.measures import measure_motions
from realign.interfaces import MotionTextModel
from realign.metrics.generation import (
    Gaussian,
    euclidean_distances,
    frechet_distance,
    matching_batches,
    mm_dist,
    r_precision,
)
from realign.metrics.ordered import OrderedMetric, text_numbers
from realign.metrics.sample_means import SampleMeans
from realign.motion.skeleton import get_skeleton

_BATCH = 32  # motions that R-precision ranks among


class JudgedMotions(OrderedMetric):
    """R@1 from text to motion in batches of 32, MM-Dist, and FID against the recorded motions of the same captions.

    Motions whose embedding is not finite are left out; fewer than 32 make one batch, and fewer than 2 no numbers.
    """

    text: list[Tensor]
    motion: list[Tensor]
    recorded: list[Tensor]
    labels: list[Tensor]

    def __init__(self) -> None:
        super().__init__("text", "motion", "recorded", "labels")

    def update(
        self,
        text: Float[Tensor, "B E"],
        motion: Float[Tensor, "B E"],
        recorded: Float[Tensor, "B E"],
        batch: MotionTextBatch,
    ) -> None:
        """Add the embeddings of captions, of the motions made for them, and of the recorded ones of a batch."""
        labels = text_numbers(batch.captions).to(text.device)
        self.add_rows(batch.ids, text=text.float(), motion=motion.float(), recorded=recorded.float(), labels=labels)

    def compute(self) -> dict[str, Tensor]:
        """``r1``, ``mm_dist`` and ``fid``; motions with an identical caption count as right."""
        _, rows = self.ordered_rows()
        finite = rows["motion"].isfinite().all(1)
        text, motion, labels = (rows[name][finite] for name in ("text", "motion", "labels"))
        if len(motion) < 2:
            return dict.fromkeys(("r1", "mm_dist", "fid"), motion.new_tensor(torch.nan))
        chosen = matching_batches(len(motion), min(_BATCH, len(motion))).to(motion.device)
        same = labels[chosen][:, :, None] == labels[chosen][:, None, :]
        (r1,) = r_precision(euclidean_distances(text[chosen], motion[chosen]), same, (1,))
        fid = frechet_distance(Gaussian.of(rows["recorded"]), motion)
        found = {"r1": r1, "mm_dist": mm_dist(text, motion), "fid": fid}
        return {name: value.to(motion) for name, value in found.items()}


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
        self.judged = nn.ModuleDict({name: JudgedMotions() for name in judges})
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
            self.judged[name].update(text, made, recorded, batch)  # type: ignore[operator]
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
            found |= {f"{measure}_by_{name}": value for measure, value in judged.compute().items()}  # type: ignore[operator]
            judged.reset()  # type: ignore[operator]
        return found
