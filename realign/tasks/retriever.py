"""Training and evaluation of text-motion retrieval."""

from jaxtyping import Bool, Float
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from realign.batch import MotionTextBatch
from realign.diffusion.path import Clean
from realign.errors import InputError
from realign.files import read_lines
from realign.interfaces import RewardModel
from realign.losses.contrastive import hard_negative_loss
from realign.metrics.retrieval_metric import RetrievalMetrics
from realign.nn.spaces import MotionSpace
from realign.precision import exact_float32
from realign.tasks.recall import CLEAN, Timesteps
from realign.tasks.reward import RewardTask
from realign.text.base import TextEncoder


class RetrieverTask(RewardTask):
    """Trains a reward model on clean motions alone, which makes it TMR, and tests it by the protocols of TMR.

    Args:
        model: The reward model.
        space: The space of the motions.
        text_encoder: Frozen features of captions.
        checkpoint: Checkpoint or folder of a trained reward model or retriever to start from; from scratch when None.
        sentence_encoder: Compares captions; the text encoder's pooled vector when None.
        similarity_threshold: Captions with a higher cosine are not negatives of each other; see `RewardTask`.
        reconstruction_weight: Weight of the reconstructions, from the caption and from the motion.
        kl_weight: Weight of the divergences of both Gaussians from each other and from the unit Gaussian.
        latent_weight: Weight of the distance of both embeddings.
        contrastive_weight: Weight of InfoNCE.
        temperature: Of InfoNCE, and of the hard negatives.
        hard_negative_weight: Weight of the loss on hard negatives, which are ranked above the match; 0 leaves it out.
        hard_negatives: Hard negatives of each query.
        margin: Difference of cosines that the loss demands of a match.
        identical: In the test, a motion with the same caption as the query counts as right, too, for data with repeated
            captions; TMR's protocols do not.
        subset: File with the ids of the dissimilar subset, one a line; chosen from the test set when None.
        optimizer: Makes the optimiser from the trainable parameters; AdamW at 1e-4 when None.
        lr_scheduler: Makes a learning-rate schedule counted in steps; a constant rate when None.
        skeleton: Name of the skeleton; taken from the data when None.

    Raises:
        InputError: When the parts do not fit each other, or the subset cannot be read.
    """

    def __init__(
        self,
        model: RewardModel,
        space: MotionSpace,
        text_encoder: TextEncoder,
        checkpoint: str | None = None,
        sentence_encoder: TextEncoder | None = None,
        similarity_threshold: float = 0.6,
        reconstruction_weight: float = 1.0,
        kl_weight: float = 1e-5,
        latent_weight: float = 1e-5,
        contrastive_weight: float = 0.1,
        temperature: float = 0.1,
        hard_negative_weight: float = 0.0,
        hard_negatives: int = 5,
        margin: float = 0.05,
        identical: bool = False,
        subset: str | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        skeleton: str | None = None,
    ) -> None:
        super().__init__(
            model=model,
            space=space,
            text_encoder=text_encoder,
            path=Clean(),
            checkpoint=checkpoint,
            clean_probability=1.0,
            sentence_encoder=sentence_encoder,
            similarity_threshold=similarity_threshold,
            reconstruction_weight=reconstruction_weight,
            kl_weight=kl_weight,
            latent_weight=latent_weight,
            contrastive_weight=contrastive_weight,
            temperature=temperature,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            skeleton=skeleton,
        )
        if hard_negatives < 1:
            raise InputError(
                f"hard_negatives={hard_negatives} must be at least 1; set hard_negative_weight to 0 for none."
            )
        self.hard_negatives, self.margin = hard_negatives, margin
        if hard_negative_weight:
            self.weights["hard_negative"] = hard_negative_weight
        self.protocols = RetrievalMetrics(identical=identical, subset=None if subset is None else _ids(subset))

    @property
    def validation_timesteps(self) -> Timesteps:
        """Clean motions alone."""
        return CLEAN

    def contrast(
        self, text: Float[Tensor, "B E"], motion: Float[Tensor, "B E"], excluded: Bool[Tensor, "B B"]
    ) -> dict[str, Float[Tensor, ""]]:
        """InfoNCE, and the loss on hard negatives if it has a weight; arguments as in `RewardTask`."""
        losses = super().contrast(text, motion, excluded)
        if "hard_negative" in self.weights:
            options = (self.hard_negatives, self.margin, self.temperature)
            losses["hard_negative"] = hard_negative_loss(text, motion, excluded, *options)
        return losses

    def test_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Gather embeddings of clean motions and their captions."""
        motion, text = self.embed_motions(batch.motion, batch.lengths), self.embed_captions(batch.captions)
        with exact_float32(self.device):
            reference = self.reference(batch, self.encode_text(batch.captions))
        self.protocols.update(text, motion, batch.ids, batch.captions, reference)

    def on_test_epoch_end(self) -> None:
        """Log all protocols in both directions, such as ``test/all/t2m/R@1`` in 0..1 and ``test/all/t2m/MedR``."""
        for name, value in self.protocols.compute().items():
            self.log(f"test/{name}", value.float(), sync_dist=True)
        self.protocols.reset()


def _ids(path: str) -> list[str]:
    """The lines of a file."""
    try:
        return read_lines(path)
    except OSError as error:
        raise InputError(f"The list of the dissimilar subset {path} cannot be read: {error}.") from error
