"""Training of step-aware reward models."""

import torch
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from jaxtyping import Bool, Float
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from realign.batch import MotionTextBatch, TextFeatures
from realign.checkpoint.load import load_model
from realign.diffusion import CLEAN_STEP, NoisePath
from realign.diffusion.vp import choose_path
from realign.errors import InputError
from realign.interfaces import RewardBatch, RewardModel
from realign.losses.contrastive import info_nce, near_duplicates
from realign.nn.embedder import JointEmbedding
from realign.nn.spaces import MotionSpace, check_widths
from realign.precision import exact_float32
from realign.seeding import derive, noise_like_mask, uniform
from realign.tasks.embedding import MotionEmbeddings
from realign.tasks.gather import gather_rows
from realign.tasks.recall import BINS, CLEAN, POINTS, NoiseRecall, Timesteps
from realign.tasks.space import SpaceTask
from realign.text.base import TextEncoder
from realign.text.table import TextReader


class RewardTask(SpaceTask, JointEmbedding):
    """Trains a reward model: one embedding space of captions and of motions at any timestep.

    The loss is that of TMR (Petrovich et al., ICCV 2023) with noise on the motions' side (arXiv 2511.19217): the CLEAN
    motion is reconstructed from either embedding, divergences pull both Gaussians together, and InfoNCE over the
    batches of all processes separates right pairs from wrong ones.

    Args:
        model: The reward model.
        space: The space of the generator to guide.
        text_encoder: Frozen features of captions.
        scheduler: A diffusers scheduler: the noise that the generator to guide was trained with.
        path: That noise, instead of a scheduler, such as `realign.diffusion.FlowMatching`.
        checkpoint: Checkpoint or folder of a trained reward model or retriever to start from; from scratch when None.
        clean_probability: Fraction of training samples without noise; the others draw their timestep uniformly.
        paired: Train on every sample twice instead, without and with noise, and add both contrastive losses. Clean
            motions are then retrieved almost as well as by training without noise.
        sentence_encoder: Compares captions; the text encoder's pooled vector when None, which is not suitable for CLIP,
            whose vectors are too similar.
        similarity_threshold: Captions with a higher cosine are not negatives of each other. The default is 2 * 0.8 - 1,
            since TMR's 0.8 is on a scale from 0 to 1. With 1, only identical captions are excluded and, with the data
            module's option `exclude_same_first_caption`, clips whose first captions are the same.
        reconstruction_weight: Weight of the reconstructions, from the caption and from the motion.
        kl_weight: Weight of the divergences of both Gaussians from each other and from the unit Gaussian.
        latent_weight: Weight of the distance of both embeddings.
        contrastive_weight: Weight of InfoNCE.
        temperature: Of InfoNCE.
        optimizer: Makes the optimiser from the trainable parameters; AdamW at 1e-4 when None.
        lr_scheduler: Makes a learning-rate schedule counted in steps; a constant rate when None.
        skeleton: Name of the skeleton; taken from the data when None.

    Raises:
        InputError: When the parts do not fit each other.
    """

    def __init__(
        self,
        model: RewardModel,
        space: MotionSpace,
        text_encoder: TextEncoder,
        scheduler: SchedulerMixin | None = None,
        path: NoisePath | None = None,
        checkpoint: str | None = None,
        clean_probability: float = 0.5,
        paired: bool = False,
        sentence_encoder: TextEncoder | None = None,
        similarity_threshold: float = 0.6,
        reconstruction_weight: float = 1.0,
        kl_weight: float = 1e-5,
        latent_weight: float = 1e-5,
        contrastive_weight: float = 0.1,
        temperature: float = 0.1,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        skeleton: str | None = None,
    ) -> None:
        super().__init__(space, text_encoder, choose_path(scheduler, path), optimizer, lr_scheduler, skeleton)
        self.remember_options()
        check_widths("reward model", model, space, text_encoder)
        self.model = model
        if not 0 <= clean_probability <= 1:
            raise InputError(f"clean_probability is a fraction between 0 and 1, but is {clean_probability}.")
        if temperature <= 0:
            raise InputError(f"temperature={temperature} must be positive.")
        self.sentence_encoder = sentence_encoder
        self.checkpoint, self.clean_probability, self.paired = checkpoint, clean_probability, paired
        self.similarity_threshold, self.temperature = similarity_threshold, temperature
        representation = {"reconstruction": reconstruction_weight, "kl": kl_weight, "latent": latent_weight}
        self.weights = {"contrastive": contrastive_weight, **representation}
        self.recall = NoiseRecall(CLEAN | BINS | POINTS)

    @property
    def validation_timesteps(self) -> Timesteps:
        """Timesteps of recall in validation: clean, and tenths of the schedule."""
        return CLEAN | BINS

    def start(self, stage: str) -> None:
        """Load the weights of a checkpoint.

        Raises:
            InputError: Its file is missing or holds another model, or as `SpaceTask.start`.
        """
        if self.checkpoint:
            self._load(load_model(self.checkpoint, JointEmbedding, trust_code=self.trust_code))  # type: ignore[type-abstract]
            self.forget_checkpoints()
        super().start(stage)

    def forget_checkpoints(self) -> None:
        """Remove the paths, since the weights are now part of this task's checkpoints."""
        self.checkpoint = self.hparams["checkpoint"] = None
        super().forget_checkpoints()

    def _load(self, trained: JointEmbedding) -> None:
        own, other = (
            f"{task.model.signature} in {type(task.space).__name__} over {task.text_encoder.fingerprint}"
            for task in (self, trained)
        )
        if own != other:
            raise InputError(
                f"{self.checkpoint} holds the model {other}, but this one is configured as {own}; give it the "
                "options that the checkpoint was trained with."
            )
        for name in ("model", "space", "normalizer"):
            getattr(self, name).load_state_dict(getattr(trained, name).state_dict())

    def losses(self, batch: MotionTextBatch, purpose: str) -> dict[str, Float[Tensor, ""]]:
        """Reconstruction, divergence, latent and contrastive losses at each sample's timestep."""
        x, tokens = self.clean_tokens(batch)
        seeds = derive(batch.seeds, f"reward {purpose}")
        t = self.path.draw(seeds, "timestep", x.device)
        if not self.paired:
            t = t.masked_fill(uniform(seeds, "clean", x.device) < self.clean_probability, CLEAN_STEP)
        x_t = self.path.interpolate(x, noise_like_mask(seeds, "noise", tokens, self.space.width), t)
        views = 1 + self.paired
        if self.paired:
            x_t, t = torch.cat([x, x_t]), torch.cat([torch.full_like(t, CLEAN_STEP), t])
            x, tokens = x.repeat(2, 1, 1), tokens.repeat(2, 1)
        features = self.read_text(batch)
        drawn = torch.cat([derive(seeds, f"view {view}") for view in range(views)]) if purpose == "train" else None
        text, motion, further = self.model.learn(RewardBatch(x_t, t, tokens, x, features, drawn))
        told = [self.contrast(*self._gather(text, view, batch, features)) for view in motion.chunk(views)]
        losses = {name: torch.stack([each[name] for each in told]).sum() for name in told[0]} | further
        weighted = [self.weights.get(name, 1.0) * value for name, value in losses.items()]
        losses["loss"] = torch.stack(weighted).sum()
        return losses

    def contrast(
        self, text: Float[Tensor, "B E"], motion: Float[Tensor, "B E"], excluded: Bool[Tensor, "B B"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Losses, by the names of their weights, that separate right pairs from wrong ones.

        Args:
            text: Means of the captions of all processes.
            motion: Means of their motions.
            excluded: Pairs that are not negatives.
        """
        return {"contrastive": info_nce(text, motion, excluded, self.temperature)}

    def _gather(
        self, text: Float[Tensor, "B E"], motion: Float[Tensor, "B E"], batch: MotionTextBatch, features: TextFeatures
    ) -> tuple[Float[Tensor, "G E"], Float[Tensor, "G E"], Bool[Tensor, "G G"]]:
        """Rows of all processes, and which pairs of them are not negatives."""
        labels = self.caption_labels(batch.captions)
        text, motion, labels, reference = gather_rows(text, motion, labels, self.reference(batch, features))
        return text, motion, near_duplicates(labels, reference, self.similarity_threshold)

    def reference(self, batch: MotionTextBatch, features: TextFeatures) -> Float[Tensor, "B D"]:
        """Sentence embeddings, by which near-duplicate captions are found."""
        if self.sentence_encoder is None:
            return features.pooled
        found = self._read(self.sentence_encoder, batch)
        return self.sentence_encoder(batch.captions).pooled.to(self.device) if found is None else found.pooled

    def text_readers(self) -> list[TextReader]:
        """The model's, and what compares captions."""
        own = [TextReader(self.text_encoder, self.model.reads_words)]
        return own if self.sentence_encoder is None else [*own, TextReader(self.sentence_encoder, False)]

    def predict_step(self, batch: MotionTextBatch, batch_idx: int) -> MotionEmbeddings:
        """Embeddings of clean motions and their captions, for an index."""
        return MotionEmbeddings.of(self, batch)

    def validation_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Log the losses, computed in float32, and gather embeddings at every timestep of recall."""
        with exact_float32(self.device):
            super().validation_step(batch, batch_idx)
            self.observe(batch, self.validation_timesteps)

    def test_step(self, batch: MotionTextBatch, batch_idx: int) -> None:
        """Log the losses, computed in float32, and gather embeddings at every timestep of recall."""
        with exact_float32(self.device):
            super().test_step(batch, batch_idx)
            self.observe(batch, CLEAN | BINS | POINTS)

    def on_validation_epoch_end(self) -> None:
        """Log recall by timestep: ``val/r1_clean``, and ``val/r1_t05`` for the tenth of the schedule around 5 %."""
        super().on_validation_epoch_end()
        self._log_recall("val")

    def on_test_epoch_end(self) -> None:
        """Log recall by timestep, and at 30 and 60 % of the schedule exactly: ``test/r1_at30``."""
        super().on_test_epoch_end()
        self._log_recall("test")

    def _log_recall(self, stage: str) -> None:
        for name, value in self.recall.compute().items():
            self.log(f"{stage}/r1_{name}", value, sync_dist=True)

    @torch.no_grad()
    def observe(self, batch: MotionTextBatch, timesteps: Timesteps) -> None:
        """Add a batch to the recall, at given timesteps and with the same noise at every call."""
        x, tokens = self.clean_tokens(batch)
        text = self.embed_captions(batch.captions)
        for name, drawn in timesteps.items():
            seeds = derive(batch.seeds, f"recall {name}")
            t = self.path.draw(seeds, "timestep", x.device, drawn)
            noise = 0 * x if drawn is None else noise_like_mask(seeds, "noise", tokens, self.space.width)
            motion = self.model.embed_motion(self.path.interpolate(x, noise, t), t, tokens)
            self.recall.update(name, text, motion, batch.ids, batch.captions)
