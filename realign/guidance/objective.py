"""The objective of guidance and best-of-N: the reward of arXiv 2511.19217, for captions."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from realign.batch import TextFeatures
from realign.errors import InputError
from realign.guidance.config import USUAL, GuidanceConfig
from realign.index.motion_index import MotionIndex, SearchResult
from realign.nn.embedder import JointEmbedding
from realign.precision import exact_float32
from realign.text.base import encode_captions

_PART = re.compile(r"_\d+(\.\d+)?-\d+(\.\d+)?$")  # what the id of a captioned part ends with
_SPARE = 8  # motions searched beyond those wanted, in place of the excluded ones


class Rating(NamedTuple):
    """Rewards of B finished motions for their captions.

    Attributes:
        total: mu text + eta motion.
        text: Cosine of each motion and its caption.
        motion: Cosine of each motion and its anchor; None where eta is 0.
    """

    total: Float[Tensor, "B"]
    text: Float[Tensor, "B"]
    motion: Float[Tensor, "B"] | None


class RewardObjective:
    """R = mu R_text + eta R_motion for motions and captions; each term is a cosine, each sample's own.

    R_text compares a motion with its caption, R_motion with the clean embedding of an anchor: a real motion that the
    index finds for the caption, or the mean cosine to several, weighted by the softmax of their similarity to the
    caption. Embeddings have unit norm, so R is one product: <E_motion(x_t, t), mu E_text(c) + eta anchor>.

    Args:
        reward: The model whose embeddings are compared, in evaluation mode.
        index: Clean embeddings of real motions by the same model; needed where eta is not 0.
        config: mu, eta, anchors and their temperature.

    Raises:
        InputError: A weight or a number does not make sense, eta has no index, another model made the index, or the
            reward is still training.
    """

    def __init__(
        self,
        reward: JointEmbedding,
        index: MotionIndex | None = None,
        config: GuidanceConfig = USUAL,
    ) -> None:
        if config.eta and index is None:
            raise InputError(
                f"eta={config.eta} weighs the similarity to real motions, which needs an index of them: name one made "
                "with this reward, or set eta to 0."
            )
        if index is not None and config.anchors > len(index):
            raise InputError(f"anchors={config.anchors} is not between 1 and the {len(index)} motions of the index.")
        if reward.model.training:
            raise InputError("The reward is in training mode, where dropout makes its gradient random; call eval().")
        if index is not None and index.fingerprint != reward.fingerprint:
            raise InputError(
                f"The index was made by the model {index.fingerprint!r}, but the reward is {reward.fingerprint!r}; "
                "build an index with this reward."
            )
        self.reward, self.index, self.config = reward, index, config

    def target(self, captions: Sequence[str], exclude: Sequence[str] | None = None) -> Float[Tensor, "B E"]:
        """mu E_text(c) + eta anchor of each caption: R is the product of a motion's unit embedding with it.

        Captions are encoded and anchors searched here, once for all sampling steps.

        Args:
            captions: One a sample.
            exclude: Id of each sample's own motion. It is not used as an anchor, nor are its mirror image, its parts,
                and the motion that it is a part of.

        Raises:
            InputError: The index holds too few other motions.
        """
        device = self.reward.device
        # float32, and not inference tensors: gradients are taken later
        with torch.inference_mode(False), torch.no_grad(), exact_float32(device):
            text = self.reward.embed_captions(captions).clone()
            return self.config.mu * text + self._pull(text, exclude)

    def anchored(
        self, captions: Sequence[str], exclude: Sequence[str] | None = None
    ) -> tuple[TextFeatures, Float[Tensor, "B E"]]:
        """Features of captions that are embedded anew at every step, and eta anchor, which `target` adds to them.

        Args:
            captions: One a sample.
            exclude: As for `target`.

        Raises:
            InputError: As `target`.
        """
        device = self.reward.device
        with torch.inference_mode(False), torch.no_grad(), exact_float32(device):
            features = encode_captions(self.reward.text_encoder, captions).to(device).clone()
            text = self.reward.model.embed_text(features)
            return features, self._pull(text, exclude)

    def _pull(self, text: Float[Tensor, "B E"], exclude: Sequence[str] | None) -> Float[Tensor, "B E"]:
        """eta times the anchor; zero if eta is 0."""
        return self.config.eta * self.anchor(text, exclude) if self.config.eta else torch.zeros_like(text)

    def anchor(self, text: Float[Tensor, "B E"], exclude: Sequence[str] | None = None) -> Float[Tensor, "B E"]:
        """The anchor of R_motion: the embedding of the nearest motion, or a weighted mean of the nearest few.

        Args:
            text: Embeddings of captions.
            exclude: As for `target`.

        Raises:
            InputError: No index, or too few other motions in it.
        """
        if self.index is None:
            raise InputError("There is no index to find anchors in; name one made with this reward.")
        positions = self._nearest(self.index, text, exclude)
        found = torch.from_numpy(self.index.vectors(positions.flatten().numpy())).to(text)
        found = found.unflatten(0, tuple(positions.shape))
        scores = torch.einsum("bke,be->bk", found, text)
        return torch.einsum("bk,bke->be", (scores / self.config.temperature).softmax(1), found)

    def score(
        self, motion: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"], target: Float[Tensor, "B E"]
    ) -> Float[Tensor, "B"]:
        """R of finished motions.

        Args:
            motion: Motion features, not normalised.
            lengths: Frames of each.
            target: From `target`.
        """
        with torch.no_grad(), exact_float32(self.reward.device):
            return (self.reward.embed_motions(motion.float(), lengths) * target).sum(-1)

    def rate(self, motion: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"], captions: Sequence[str]) -> Rating:
        """R of finished motions and its two terms.

        Args:
            motion: Motion features, not normalised.
            lengths: Frames of each.
            captions: One a motion.
        """
        mu, eta = self.config.mu, self.config.eta
        with torch.inference_mode(False), torch.no_grad(), exact_float32(self.reward.device):
            made = self.reward.embed_motions(motion.float(), lengths)
            text = self.reward.embed_captions(captions)
            by_text = (made * text).sum(-1)
            if not eta:
                return Rating(mu * by_text, by_text, None)
            by_motion = (made * self.anchor(text)).sum(-1)
            return Rating(mu * by_text + eta * by_motion, by_text, by_motion)

    def anchors_of(self, caption: str) -> SearchResult | None:
        """The real motions that make up the anchor of a caption, best first; None where eta is 0."""
        if not self.config.eta or self.index is None:
            return None
        with torch.inference_mode(False), torch.no_grad(), exact_float32(self.reward.device):
            return self.index.search(self.reward.embed_captions([caption]), self.config.anchors)

    def _nearest(
        self, index: MotionIndex, text: Float[Tensor, "B E"], exclude: Sequence[str] | None
    ) -> Int[Tensor, "B K"]:
        """Positions of the nearest motions that are not excluded."""
        if exclude is None:
            return torch.from_numpy(index.search(text, self.config.anchors).positions)
        k = min(self.config.anchors + _SPARE, len(index))
        while True:
            result = index.search(text, k)
            kept = [
                [int(place) for place, name in zip(places, names, strict=True) if _recording(name) != _recording(own)]
                for places, names, own in zip(result.positions, result.ids, exclude, strict=True)
            ]
            if all(len(row) >= self.config.anchors for row in kept):
                return torch.tensor([row[: self.config.anchors] for row in kept])
            if k == len(index):
                raise InputError(
                    f"The index of {k} motions holds fewer than {self.config.anchors} besides the excluded ones; ask "
                    "for fewer anchors or build it from more motions."
                )
            k = min(2 * k, len(index))


def _recording(name: str) -> str:
    """Id of the recording that a clip comes from: without the mark of mirroring, without the range of a part."""
    return _PART.sub("", re.sub(r"^M(?=\d)", "", name))
