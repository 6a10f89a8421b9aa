"""Text towers of open-clip-torch: any architecture and any pretrained tag that it lists."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

from torch import nn

from realign.errors import InputError, optional_packages
from realign.files import content_digest, sha256_file
from realign.hub import from_hub
from realign.text.base import FrozenTextEncoder, TokenLimit
from realign.text.clip_files import TextTower, read_text_tower, weights_files
from realign.text.towers import Tokenizer, count_tokens, wrap_tower

# The vision tower is built as small as can be and dropped: only the words are wanted.
_NO_VISION = {"layers": 1, "width": 8, "head_width": 8, "patch_size": 16, "image_size": 16}


class OpenClipEncoder(FrozenTextEncoder):
    """The text half of a CLIP model from open-clip-torch.

    The sentence vector is CLIP's text embedding, not normalised; the final layer norm and the text projection are
    applied to every word too, so that words and sentence have the same width. Words count up to and including the
    end-of-text token; longer captions are cut at the context length.

    Args:
        name: Architecture, one of ``open_clip.list_models()``.
        pretrained: One of the tags that ``open_clip.list_pretrained()`` gives for it, or weights: a file (safetensors,
            a ``state_dict``, or OpenAI's own such as ViT-B-32.pt; pickled code is refused), or the folder of a CLIP
            model of transformers. None leaves random weights, the same ones each time. The activation is that of the
            tag, of the folder or of OpenAI's file, and otherwise that of `name`: QuickGELU for weights of OpenAI is
            in architectures such as ``ViT-L-14-quickgelu``.
        cache_dir: Folder for downloaded weights; that of the Hugging Face hub when None.
        max_tokens: Tokens at which captions are cut, marks included; the context length when None.
        words: ``projected`` as above; with ``hidden`` they stay as the final layer norm leaves them, all of the
            context counts, behind the end of the text too, and the sentence vector is the end-of-text word (as
            MotionDiffuse reads CLIP).

    Raises:
        InputError: Name or tag is unknown, or an option has no meaning.
    """

    def __init__(
        self,
        name: str = "ViT-L-14",
        pretrained: str | None = "openai",
        cache_dir: str | None = None,
        max_tokens: int | None = None,
        words: Literal["projected", "hidden"] = "projected",
    ):
        super().__init__()
        open_clip = _load()
        self.name = name.replace("/", "-")
        self.pretrained = pretrained
        self.cache_dir = cache_dir
        config = open_clip.get_model_config(self.name)
        if config is None:
            raise InputError(f"open-clip-torch has no model {name!r}; {_suggest(name, open_clip.list_models())}.")
        if words not in ("projected", "hidden"):
            raise InputError(f"Words are projected or hidden, not {words!r}.")
        context = int(config["text_cfg"].get("context_length", 77))
        if max_tokens is not None and not 3 <= max_tokens <= context:
            raise InputError(f"max_tokens must lie between 3 and the {context} of {name!r}, but is {max_tokens}.")
        self.max_tokens, self.words = max_tokens, words
        self._embed_dim = int(config["embed_dim"])
        self._dim = int(config["text_cfg"].get("width", 0)) if words == "hidden" else self._embed_dim
        if not self._dim:
            raise InputError(f"The words of {name!r} are read projected only; leave words={words!r} out.")
        self._tag: dict[str, Any] = open_clip.get_pretrained_cfg(self.name, pretrained) if pretrained else {}
        if pretrained and not self._tag and not Path(pretrained).exists():
            tags = open_clip.list_pretrained_tags_by_model(self.name)
            raise InputError(
                f"{pretrained!r} is neither a file nor a pretrained tag of {name!r}; {_suggest(pretrained, tags)}."
            )

    @property
    def dim(self) -> int:
        """Width D of the word features and of the sentence vector."""
        return self._dim

    @cached_property
    def _weights_name(self) -> str:
        if not self.pretrained:
            return "random"
        if self._tag:
            return self.pretrained
        place = Path(self.pretrained)
        files = [(file.name, file) for file in weights_files(place)]
        return f"sha256-{(content_digest(files) if place.is_dir() else sha256_file(place))[:16]}"

    @property
    def fingerprint(self) -> str:
        """Name of the architecture and of its weights; weights from a file are named by their content."""
        read = [*(["hidden"] if self.words == "hidden" else []), *([str(self.max_tokens)] if self.max_tokens else [])]
        return "/".join(["open_clip", self.name, self._weights_name, *read])

    def token_limit(self) -> TokenLimit:
        """`max_tokens`, or the context length of the architecture, which is 77 for CLIP."""
        tokenizer = self.tokenizer()
        return TokenLimit(self.max_tokens or int(tokenizer.context_length), partial(count_tokens, tokenizer))

    def build_tokenizer(self) -> Tokenizer:
        """Load the tokenizer."""
        open_clip = _load()
        source = open_clip.get_model_config(self.name)["text_cfg"].get("hf_tokenizer_name")
        with _root_logger_untouched():
            if not source:
                return open_clip.get_tokenizer(self.name)
            return from_hub(
                lambda local: open_clip.get_tokenizer(self.name, cache_dir=self.cache_dir, local_files_only=local),
                f"The tokenizer {source!r} of {self.name!r}",
                "use a model with CLIP's own tokenizer, such as 'ViT-L-14', or run once with a network",
            )

    def build(self) -> nn.Module:
        """Load the text tower."""
        open_clip = _load()
        config = open_clip.get_model_config(self.name)
        text_config = {**config["text_cfg"], "hf_model_pretrained": False}  # weights come from the tag or the file
        # open-clip-torch only warns when a tag was trained with QuickGELU and the named architecture has GELU (ViT-L-14
        # with openai); the features would silently be others than the published ones.
        quick_gelu = bool(config.get("quick_gelu") or self._tag.get("quick_gelu"))
        weights = self._weights_file()
        tower = read_text_tower(Path(weights)) if weights else None
        if tower is not None:
            quick_gelu = tower.quick_gelu
        with _root_logger_untouched():
            try:
                model = open_clip.CustomTextCLIP(self._embed_dim, _NO_VISION, text_config, quick_gelu)
            except OSError as error:  # towers from Hugging Face fetch their configuration
                raise InputError(f"{self.name!r} could not be configured: {_first_line(error)}") from error
            model.visual = nn.Identity()
            if weights and tower is None:
                self._load(model, weights)
        if weights and tower is not None:
            self._lay(model.text, tower, weights)
        return wrap_tower(model.text, self.tokenizer(), self.max_tokens, self.words == "hidden")

    def _lay(self, text: Any, tower: TextTower, path: str) -> None:
        """Put the weights of a layout of others into the text tower."""
        shapes, wanted = ({name: each.shape for name, each in one.items()} for one in (tower.state, text.state_dict()))
        odd = [name for name in {**wanted, **shapes} if wanted.get(name) != shapes.get(name)]
        odd += ["the number of heads"] if tower.heads not in (None, getattr(text, "heads", tower.heads)) else []
        if odd:
            raise InputError(
                f"{path} holds weights of another model than {self.name!r}: {odd[0]} differs; give those of this model."
            )
        text.load_state_dict(tower.state)

    def _weights_file(self) -> str | None:
        if not self._tag:
            return self.pretrained
        open_clip = _load()
        hub = self._tag.get("hf_hub", "")
        quick = f"{self.name}-quickgelu"
        name = quick if self._tag.get("quick_gelu") and quick in open_clip.list_models() else self.name
        source = f"open_clip_model.safetensors from huggingface.co/{hub.rstrip('/')}"
        remedy = (
            f"fetch {source} elsewhere and give it as name={name}, pretrained=/path/to/the/file (--text-encoder of "
            "`realign import`)"
        )

        def load(local: bool) -> str:
            if local:
                return _cached(hub, self.cache_dir)
            return open_clip.download_pretrained(self._tag, cache_dir=self.cache_dir)

        return from_hub(load, f"The pretrained tag {self.pretrained!r} of {self.name!r}", remedy)

    def _load(self, model: nn.Module, path: str) -> None:
        open_clip = _load()
        try:
            result = open_clip.load_checkpoint(model, path, strict=False)
        except ImportError:  # a broken installation, not a broken file
            raise
        except Exception as error:  # readers of many formats, each with exceptions of its own
            raise InputError(
                f"{path} holds no weights for {self.name!r} that can be read safely ({_first_line(error)}); "
                "give a .safetensors file or a state_dict saved by torch.save."
            ) from error
        # A checkpoint holds the vision tower and, for CoCa, a caption decoder besides.
        foreign = [key for key in result.unexpected_keys if not key.startswith(("visual.", "text_decoder.", "logit_"))]
        missing = [key for key in result.missing_keys if not key.startswith("logit_")]
        if foreign or missing:
            raise InputError(
                f"{path} holds weights of another model than {self.name!r}: {(missing + foreign)[0]} differs."
            )


def _load() -> Any:
    """The open_clip module, or InputError when it is not installed."""
    with optional_packages():
        import open_clip
    return open_clip


def _cached(hub: str, cache_dir: str | None) -> str:
    """Path of downloaded weights, safetensors preferred as open-clip-torch does."""
    from huggingface_hub import try_to_load_from_cache

    repo, _, file = hub.rpartition("/")
    file = file or "open_clip_pytorch_model.bin"
    safe = "open_clip_model.safetensors" if file == "open_clip_pytorch_model.bin" else f"{Path(file).stem}.safetensors"
    for candidate in (safe, file):
        path = try_to_load_from_cache(repo, candidate, cache_dir=cache_dir)
        if isinstance(path, str):
            return path
    raise FileNotFoundError(hub)


@contextmanager
def _root_logger_untouched() -> Iterator[None]:
    """Keep open-clip-torch's calls of ``logging.info`` from installing a handler on the root logger."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def _suggest(word: str, known: list[str]) -> str:
    by_lower = {name.lower(): name for name in known}
    close = [by_lower[match] for match in get_close_matches(word.lower(), by_lower, n=5, cutoff=0.4)] or known[:5]
    return f"close to it: {', '.join(close)}" if close else "it has no pretrained tags, so give a file of weights"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
