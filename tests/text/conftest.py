from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = ["a", "person", "walks", "walk", "jumps", "forward", "and", "turns", "left"]


def save_tokenizer(folder: Path, start: list[str], end: str, pad: str) -> int:
    """A word-level tokenizer in the format of transformers; returns its number of words."""
    from transformers import PreTrainedTokenizerFast

    special = [pad, "[UNK]", *start, end]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([*special, *WORDS]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [(word, vocabulary[word]) for word in [*start, end]]
    tokenizer.post_processor = processors.TemplateProcessing(" ".join([*start, "$A", end]), special_tokens=marks)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token=pad, eos_token=end, model_max_length=64,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)  # fmt: skip
    return len(vocabulary)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> Path:
    """Folder of a tiny BERT with random weights."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    words = save_tokenizer(folder, ["[CLS]"], "[SEP]", "[PAD]")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=words, max_position_embeddings=64, **sizes)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory) -> Path:
    """Folder of a tiny sentence-T5: encoder, mean, dense layer to another width, normalisation."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense, Normalize, Pooling, Transformer
    from transformers import T5Config, T5EncoderModel

    source = tmp_path_factory.mktemp("t5")
    words = save_tokenizer(source, [], "</s>", "<pad>")
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    T5EncoderModel(T5Config(vocab_size=words, pad_token_id=0, **sizes)).save_pretrained(source)
    parts = [Transformer(str(source)), Pooling(16), Dense(16, 12, bias=False, activation_function=torch.nn.Tanh())]
    folder = tmp_path_factory.mktemp("sentence_t5")
    SentenceTransformer(modules=[*parts, Normalize()], device="cpu").save(str(folder))
    return folder
