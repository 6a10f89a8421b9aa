import pytest
import torch
from guo_parts import published_shapes
from torch import Tensor
from torch.nn import functional as F

from realign.errors import InputError
from realign.evaluators import GuoEvaluator
from realign.evaluators.parts_of_speech import TAGS, read_tokens, tag_numbers

SIZES = {"embedding": 6, "movement": 8, "motion_hidden": 10, "text_hidden": 7, "word_width": 5, "vocabulary": 20}
TOKENS = {
    "a man walks slowly to the left": "a/DET man/NOUN walk/VERB slowly/ADV to/ADP the/DET left/NOUN",
    "jump": "jump/NOUN",
}


@pytest.fixture(scope="module")
def evaluator() -> GuoEvaluator:
    torch.manual_seed(0)
    built = GuoEvaluator(30, **SIZES, max_frames=40).eval()
    built.take_tokens(TOKENS | {"no tags": ""})
    built.learn_words(list(TOKENS))
    return built


def motions() -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([17, 40, 8])
    motion = torch.randn(3, 40, 30, generator=torch.Generator().manual_seed(1))
    for row, length in enumerate(lengths.tolist()):
        motion[row, length:] = 0
    return motion, lengths


def plain_recurrent(weights: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """One sequence through the recurrent encoder, by the equations of a GRU, step by step."""
    inputs = tokens @ weights["input_emb.weight"].T + weights["input_emb.bias"]
    last = []
    for direction, (suffix, steps) in enumerate((("l0", inputs), ("l0_reverse", inputs.flip(0)))):
        state = weights["hidden"][direction, 0]
        for step in steps:
            given = weights[f"gru.weight_ih_{suffix}"] @ step + weights[f"gru.bias_ih_{suffix}"]
            kept = weights[f"gru.weight_hh_{suffix}"] @ state + weights[f"gru.bias_hh_{suffix}"]
            (r1, z1, n1), (r2, z2, n2) = given.chunk(3), kept.chunk(3)
            reset, update = (r1 + r2).sigmoid(), (z1 + z2).sigmoid()
            state = (1 - update) * (n1 + reset * n2).tanh() + update * state
        last.append(state)
    x = weights["output_net.0.weight"] @ torch.cat(last) + weights["output_net.0.bias"]
    x = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()
    x = x * weights["output_net.1.weight"] + weights["output_net.1.bias"]
    x = torch.where(x > 0, x, 0.2 * x)
    return weights["output_net.3.weight"] @ x + weights["output_net.3.bias"]


def plain_movement(weights: dict[str, Tensor], motion: Tensor) -> Tensor:
    """Two convolutions of width 4 and stride 2, padded with one zero on either side, as sums over windows."""
    x = motion
    for name in ("main.0", "main.3"):
        padded = torch.cat([torch.zeros(1, x.shape[1]), x, torch.zeros(1, x.shape[1])])
        windows = [padded[start : start + 4] for start in range(0, len(padded) - 3, 2)]
        x = torch.stack([(weights[f"{name}.weight"] * window.T[None]).sum((1, 2)) for window in windows])
        x = x + weights[f"{name}.bias"]
        x = torch.where(x > 0, x, 0.2 * x)
    return x @ weights["out_net.weight"].T + weights["out_net.bias"]


@torch.no_grad()
def test_motions_agree_with_a_plain_reference_in_the_order_given(evaluator: GuoEvaluator) -> None:
    motion, lengths = motions()
    found = evaluator.embed_motion(motion, lengths)
    for row, length in enumerate(lengths.tolist()):
        tokens = plain_movement(evaluator.movement_encoder.state_dict(), motion[row, :, :-4])
        expected = plain_recurrent(evaluator.motion_encoder.state_dict(), tokens[: length // 4])
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_sentences_agree_with_a_plain_reference_in_the_order_given(evaluator: GuoEvaluator) -> None:
    weights, table = evaluator.text_encoder.state_dict(), evaluator.words.vectors.weight
    captions = ["jump", "a man walks slowly to the left"]
    tags = [["OTHER", "Act_VIP", "OTHER"],
            ["OTHER", "DET", "NOUN", "Act_VIP", "Desc_VIP", "ADP", "DET", "Loc_VIP", "OTHER"]]  # fmt: skip
    found = evaluator.embed_text(captions)
    for row, caption in enumerate(captions):
        words = ["sos", *(token.split("/")[0] for token in TOKENS[caption].split()), "eos"]
        vectors = table[evaluator.words.find(words)[0]]
        one_hot = torch.zeros(len(words), 15)
        for place, tag in enumerate(tags[row]):
            one_hot[place, TAGS.index(tag)] = 1
        vectors = vectors + one_hot @ weights["pos_emb.weight"].T + weights["pos_emb.bias"]
        torch.testing.assert_close(found[row], plain_recurrent(weights, vectors), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_padding_is_always_to_the_same_length_and_matters(evaluator: GuoEvaluator) -> None:
    motion, lengths = motions()
    full = evaluator.embed_motion(motion, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = evaluator.embed_motion(motion[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(alone[0], full[row], rtol=1e-4, atol=1e-5)
    cropped = evaluator.motion_encoder(evaluator.movement_encoder(motion[2:, :8, :-4]), lengths[2:] // 4)
    assert (cropped[0] - full[2]).abs().max() > 1e-3


@pytest.mark.parametrize(("features", "channels"), [(263, 259), (251, 247)])
def test_names_and_shapes_are_those_of_the_publication(features: int, channels: int) -> None:
    with torch.device("meta"):
        evaluator = GuoEvaluator(features)
    for part, shapes in published_shapes(channels).items():
        state = getattr(evaluator, part).state_dict()
        assert {name: tuple(value.shape) for name, value in state.items()} == shapes


def test_words_and_tags() -> None:
    tokens = "a/DET person/NOUN walk/VERB car/NOUN slowly/ADV odd/XYZ 1/2/NUM"
    pairs = read_tokens(tokens, "unused")
    assert pairs[0] == ("sos", "OTHER") and pairs[-1] == ("eos", "OTHER") and ("1/2", "NUM") in pairs
    known = [word != "person" for word, _ in pairs]
    names = [TAGS[number] for number in tag_numbers(pairs, known)]
    assert names == ["OTHER", "DET", "OTHER", "Act_VIP", "Obj_VIP", "Desc_VIP", "OTHER", "NUM", "OTHER"]
    many = read_tokens(" ".join(f"w{i}/NOUN" for i in range(30)), "")
    assert len(many) == 22 and many[20] == ("w19", "NOUN") and many[21][0] == "eos"
    bare = read_tokens("", "Walks, left!")
    assert bare == [("sos", "OTHER"), ("walks", "OTHER"), ("left", "OTHER"), ("eos", "OTHER")]


def test_fixed_vectors_stay_and_captions_without_tags_warn() -> None:
    evaluator = GuoEvaluator(30, **SIZES, learn_vectors=False).eval()
    assert not evaluator.words.vectors.weight.requires_grad
    evaluator.take_tokens({"jump": "jump/NOUN"})
    evaluator.embed_text(["jump"])
    with pytest.warns(UserWarning, match="1 of 2 captions have no parts of speech"):
        evaluator.embed_text(["jump", "hop"])


def test_unsupported_lengths_are_refused(evaluator: GuoEvaluator) -> None:
    for length in (3, 41):
        with pytest.raises(InputError, match=f"4 to 40 frames, but one has {length}"):
            evaluator.embed_motion(torch.zeros(2, 48, 30), torch.tensor([8, length]))
    with pytest.raises(InputError, match="max_frames=3"):
        GuoEvaluator(30, max_frames=3)


def test_padding_counts_as_frames_of_zero(evaluator: GuoEvaluator) -> None:
    """The last movement token of a motion whose end is cut inside a window sees zeros, not the frames beyond."""
    motion, lengths = motions()
    with torch.no_grad():
        short = evaluator.embed_motion(motion[:1, :20], lengths[:1])
        padded = evaluator.embed_motion(F.pad(motion[:1, :20], (0, 0, 0, 20)), lengths[:1])
    assert torch.equal(short, padded)
