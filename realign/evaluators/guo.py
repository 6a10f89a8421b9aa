"""The evaluator of Guo et al. ("Generating Diverse and Natural 3D Human Motions from Text", CVPR 2022)."""

import warnings
from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from realign.errors import InputError
from realign.evaluators.base import CONTACTS, Evaluator
from realign.evaluators.parts_of_speech import TAGS, read_tokens, tag_numbers
from realign.text.words import WordVectors

UNIT = 4  # frames of one movement token


class GuoEvaluator(Evaluator):
    """Recurrent networks over movement tokens and over words with parts of speech.

    `movement_encoder`, `motion_encoder` and `text_encoder` carry the names and shapes of the published weights. Every
    motion is padded with zeros to `max_frames` first: its last movement token depends on the padding, and published
    figures use that length. Embeddings come in the order given.

    Args:
        features: Channels C of the motion features, contacts included: 263 (HumanML3D) or 251 (KIT-ML).
        embedding: Width E of the embeddings.
        movement: Width of the movement tokens.
        motion_hidden: Width of the recurrent network over them.
        text_hidden: Width of the recurrent network over words.
        word_width: Width of a word vector.
        vocabulary: Words that have a vector of their own.
        learn_vectors: Train the word vectors; without it they stay as they were given (GloVe).
        unknown: Fraction of words treated as unknown while training.
        max_frames: Length that motions are padded to.

    Raises:
        InputError: When a number does not make sense.
    """

    def __init__(
        self,
        features: int = 263,
        embedding: int = 512,
        movement: int = 512,
        motion_hidden: int = 1024,
        text_hidden: int = 512,
        word_width: int = 300,
        vocabulary: int = 1024,
        learn_vectors: bool = True,
        unknown: float = 0.0,
        max_frames: int = 196,
    ) -> None:
        super().__init__(features, embedding)
        if max_frames < UNIT:
            raise InputError(f"max_frames={max_frames} must be at least {UNIT}.")
        sizes = (features, embedding, movement, motion_hidden, text_hidden, word_width, vocabulary, max_frames)
        self._signature = f"guo-{'-'.join(map(str, sizes))}"
        self.max_frames = max_frames
        self.movement_encoder = MovementEncoder(features - CONTACTS, movement)
        self.motion_encoder = RecurrentEncoder(movement, motion_hidden, embedding)
        self.text_encoder = WordEncoder(word_width, text_hidden, embedding)
        self.words = WordVectors(word_width, vocabulary, buckets=1, unknown=unknown)
        self.words.vectors.requires_grad_(learn_vectors)
        self._tokens: list[Mapping[str, str]] = []  # the latest first

    @property
    def signature(self) -> str:
        """The kind of network and its sizes, which the weights do not tell."""
        return self._signature

    def embed_motion(self, motion: Float[Tensor, "B F C"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B E"]:
        """Embeddings of motions; arguments as in `Evaluator`.

        Raises:
            InputError: A motion is shorter than one movement token or longer than the padded length.
        """
        shortest, longest = int(lengths.min()), int(lengths.max())
        if shortest < UNIT or longest > self.max_frames:
            raise InputError(
                f"This evaluator reads motions of {UNIT} to {self.max_frames} frames, but one has "
                f"{shortest if shortest < UNIT else longest}; leave it out or cut it."
            )
        padded = F.pad(motion[:, : self.max_frames], (0, 0, 0, max(0, self.max_frames - motion.shape[1])))
        return self.motion_encoder(self.movement_encoder(padded[..., :-CONTACTS]), lengths // UNIT)

    def embed_text(self, captions: Sequence[str]) -> Float[Tensor, "B E"]:
        """Embeddings of captions, by the words and tags that `take_tokens` was given; see `read_tokens` otherwise."""
        found = [self._words_of(caption) for caption in captions]
        self._complain([caption for words, caption in zip(found, captions, strict=True) if not words], len(captions))
        pairs = [read_tokens(words, caption) for words, caption in zip(found, captions, strict=True)]
        rows, known = self.words.find([word for caption in pairs for word, _ in caption])
        tags = tag_numbers([pair for caption in pairs for pair in caption], known.tolist())
        lengths = torch.tensor([len(caption) for caption in pairs])
        one_hot = F.one_hot(torch.tensor(tags, device=rows.device), len(TAGS)).to(self.words.vectors.weight)
        vectors, one_hot = (
            nn.utils.rnn.pad_sequence(list(each.split(lengths.tolist())), batch_first=True)
            for each in (self.words.vectors(rows), one_hot)
        )
        return self.text_encoder(vectors, one_hot, lengths)

    def learn_words(self, captions: Iterable[str]) -> None:
        """Build the vocabulary if there is none."""
        if not self.words.ready:
            tokens = (read_tokens(self._words_of(caption), caption) for caption in captions)
            self.words.learn([word for word, _ in each] for each in tokens)

    def take_tokens(self, tokens: Mapping[str, str]) -> None:
        """Store words and tags by caption; they are not part of the weights."""
        self._tokens.insert(0, tokens)

    def _words_of(self, caption: str) -> str:
        return next((words for each in self._tokens if (words := each.get(caption, ""))), "")

    def _complain(self, bare: Sequence[str], asked: int) -> None:
        """Warn about captions without tags if the vectors were trained with tags."""
        if bare and not self.words.vectors.weight.requires_grad and not self.training:
            warnings.warn(
                f"{len(bare)} of {asked} captions have no parts of speech ({bare[0]!r} first) and are read as "
                "plain words; figures are those of the publication only with the text files of the data set.",
                stacklevel=3,
            )


class MovementEncoder(nn.Module):
    """One token for every four frames: two strided convolutions and a linear map.

    Args:
        channels: Channels of a frame, without contacts.
        width: Width M of a token.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (channels, width):
            layers += [nn.Conv1d(inputs, width, 4, stride=2, padding=1), nn.Dropout(0.2), nn.LeakyReLU(0.2)]
        self.main = nn.Sequential(*layers)
        self.out_net = nn.Linear(width, width)
        self.apply(_initialise)

    def forward(self, motion: Float[Tensor, "B F D"]) -> Float[Tensor, "B N M"]:
        """Movement tokens."""
        return self.out_net(self.main(motion.mT).mT)


class RecurrentEncoder(nn.Module):
    """The last states of a bidirectional GRU with a learned first one, through two linear layers.

    Args:
        width: Width D of the tokens.
        hidden: Width of the recurrent network.
        embedding: Width E of the output.
    """

    def __init__(self, width: int, hidden: int, embedding: int) -> None:
        super().__init__()
        self.input_emb = nn.Linear(width, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
        self.output_net = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.LayerNorm(hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, embedding)
        )
        self.hidden = nn.Parameter(torch.randn(2, 1, hidden))
        self.input_emb.apply(_initialise)
        self.output_net.apply(_initialise)

    def forward(self, tokens: Float[Tensor, "B N D"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B E"]:
        """One vector for every sequence; padding is not read."""
        inputs = self.input_emb(tokens)
        packed = pack_padded_sequence(inputs.float(), lengths.cpu(), batch_first=True, enforce_sorted=False)
        with torch.autocast(tokens.device.type, enabled=False):  # not every device packs sequences of bfloat16
            last = self.gru(packed, self.hidden.expand(-1, len(tokens), -1).contiguous())[1]
        return self.output_net(torch.cat([last[0], last[1]], -1))


class WordEncoder(RecurrentEncoder):
    """A recurrent encoder whose tokens are word vectors, each with a vector for its part of speech added.

    Args:
        width: Width D of a word vector.
        hidden: Width of the recurrent network.
        embedding: Width E of the output.
    """

    def __init__(self, width: int, hidden: int, embedding: int) -> None:
        super().__init__(width, hidden, embedding)
        self.pos_emb = nn.Linear(len(TAGS), width)
        self.pos_emb.apply(_initialise)

    def forward(  # type: ignore[override]
        self, words: Float[Tensor, "B L D"], tags: Float[Tensor, "B L P"], lengths: Int[Tensor, "B"]
    ) -> Float[Tensor, "B E"]:
        """One vector for every caption of words with one-hot tags."""
        return super().forward(words + self.pos_emb(tags), lengths)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv1d | nn.Linear):
        nn.init.xavier_normal_(module.weight)
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]
