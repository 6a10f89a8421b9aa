"""Sentence encoders in the format of transformers and sentence-transformers, from a folder, the hub or a package."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from torch import nn

from realign.errors import InputError, optional_packages
from realign.files import sha256_file
from realign.hub import from_hub
from realign.text.base import FrozenTextEncoder, TokenLimit
from realign.text.sentence import DENSE_FILES, SentenceHead, SentenceModel, read_max_length

# What an encoder needs of a repository on the hub: no pickled weights but those of small layers, no other frameworks.
_FILES = ["*.json", "*.txt", "*.model", "model*.safetensors", *(f"[0-9]_*/{name}" for name in DENSE_FILES)]
_REMEDY = (
    "run once with a network, or download the folder huggingface.co/{} elsewhere and name it as name_or_path "
    "(--text-encoder of `realign import`); MiniLMEncoder comes with its weights"
)


class HuggingFaceEncoder(FrozenTextEncoder):
    """A text model of transformers: BERT, DistilBERT, MiniLM, the encoder of T5 and sentence-T5, and so on.

    Words are the last hidden states. With ``pooling="auto"`` the sentence vector is the one that sentence-transformers
    gives: pooling, dense layers and normalisation are those that the folder's ``modules.json`` lists (the mean without
    that file). Dense layers are applied to every word as well, so that words and sentence have the same width; choose a
    pooling by name to leave them out. Only safetensors are read, and no code that comes with a model is run.

    Args:
        name_or_path: Name on the Hugging Face hub or a local folder.
        pooling: ``mean`` over words, the first (``cls``) or last (``eos``) word, or ``auto``.
        max_length: Words at which captions are cut; None for the model's own limit, at most 512.

    Raises:
        InputError: The folder does not exist, or an option has no meaning.
    """

    def __init__(
        self,
        name_or_path: str,
        pooling: Literal["auto", "mean", "cls", "eos"] = "auto",
        max_length: int | None = None,
    ):
        super().__init__()
        if pooling not in ("auto", "mean", "cls", "eos"):
            raise InputError(f"Pooling {pooling!r} is unknown; choose auto, mean, cls or eos.")
        if max_length is not None and max_length < 2:
            raise InputError(f"max_length must leave room for a word and its end, 2 at least, not {max_length}.")
        if name_or_path.startswith((".", "~", os.sep)) and not Path(name_or_path).expanduser().is_dir():
            raise InputError(f"There is no model folder at {name_or_path!r}; give a folder or a name on the hub.")
        self.name_or_path = name_or_path
        self.pooling = pooling
        self.max_length = max_length

    @cached_property
    def _dim(self) -> int:
        head = SentenceHead.read(self.folder, self.pooling)
        return head.width or int(self._from_folder("AutoConfig").hidden_size)

    @property
    def dim(self) -> int:
        """Width D of the word features and of the sentence vector."""
        return self._dim

    @cached_property
    def folder(self) -> Path:
        """Where the files are, after a download if need be."""
        local = Path(self.name_or_path).expanduser()
        return (
            local
            if local.is_dir()
            else from_hub(self._download, f"The model {self.name_or_path!r}", _REMEDY.format(self.name_or_path))
        )

    @cached_property
    def _weights_name(self) -> str:
        local = Path(self.name_or_path).expanduser()
        if not local.is_dir():
            return self.name_or_path
        # Content, not place: a copied or renamed folder is the same encoder.
        digest = sha256()
        for file in sorted(file for pattern in _FILES for file in local.glob(pattern)):
            digest.update(f"{file.relative_to(local)} {sha256_file(file)}\n".encode())
        return f"sha256-{digest.hexdigest()[:16]}"

    @property
    def fingerprint(self) -> str:
        """Name of the model, its pooling and limit; a local folder is named by its content."""
        return f"huggingface/{self._weights_name}/{self.pooling}/{self.max_length or 'full'}"

    def token_limit(self) -> TokenLimit:
        """`max_length`, or the model's own limit."""
        tokenizer = self.tokenizer()
        tokens = self.max_length or read_max_length(self.folder, tokenizer, self._from_folder("AutoConfig"))
        return TokenLimit(tokens, lambda text: len(tokenizer(text, verbose=False).input_ids))

    def build_tokenizer(self) -> Any:
        """Load the tokenizer."""
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else it warns in every worker forked later on
        with _quiet():
            return self._from_folder("AutoTokenizer")

    def build(self) -> nn.Module:
        """Load the model and the layers behind the pooling."""
        if not any(self.folder.glob("model*.safetensors")):
            raise InputError(
                f"{self.folder} has no model.safetensors, and pickled weights are not read; "
                "convert it with transformers: AutoModel.from_pretrained(...).save_pretrained(folder)."
            )
        tokenizer = self.tokenizer()
        with _quiet():
            config = self._from_folder("AutoConfig")
            model, report = self._from_folder(_model_kind(config), use_safetensors=True, output_loading_info=True)
        missing = [key for key in report["missing_keys"] if "pooler" not in key]
        if missing:
            raise InputError(f"The weights in {self.folder} are incomplete: {missing[0]} is missing; fetch them again.")
        head = SentenceHead.read(self.folder, self.pooling)
        return SentenceModel(model, tokenizer, self.token_limit().tokens, head)

    def _from_folder(self, kind: str, **options: Any) -> Any:
        folder = str(self.folder)
        try:
            with optional_packages():
                import transformers

                reader = getattr(transformers, kind)
                return reader.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
        except ImportError:  # a broken installation, not a broken folder
            raise
        except Exception as error:  # readers of many formats, each with exceptions of its own
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise InputError(f"{self.folder} cannot be read as a text encoder of transformers: {reason}.") from error

    def _download(self, local: bool) -> Path:
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(self.name_or_path, allow_patterns=_FILES, local_files_only=local))
        if local and not any(folder.glob("model*.safetensors")):
            raise FileNotFoundError(folder)
        return folder


def _model_kind(config: Any) -> str:
    """The loader that gives the encoder alone: that of T5 would otherwise ask for a decoder too."""
    from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING

    if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING:
        return "AutoModelForTextEncoding"
    if config.is_encoder_decoder:
        raise InputError(f"{config.model_type!r} has no text encoder of its own in transformers; choose another model.")
    return "AutoModel"


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the progress bars and reports of transformers; what matters of them is checked."""
    with optional_packages():
        from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
