import json
import multiprocessing
import pickle
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from text_parts import Counting, assert_half, kept

from realign.batch import MotionTextBatch
from realign.cli import main
from realign.data.datamodule import MotionDataModule
from realign.data.dataset import MotionTextDataset, collate
from realign.data.prepare.captions import swap_sides
from realign.data.store import PackedMotions
from realign.data.text_features import keep_features, open_features
from realign.errors import InputError, InputWarning
from realign.text import CachedTextEncoder, HashingEncoder
from realign.text.table import TextReader

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REALIGN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def packed(prepared: Path, tmp_path: Path) -> PackedMotions:
    return PackedMotions.open(shutil.copytree(prepared, tmp_path / "set"))


def texts_of(packed: PackedMotions) -> list[str]:
    return [packed.caption_at(place) for place in range(len(packed.caption_sizes))]


def written(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("features.npy") if path.with_name("rows.npy").is_file())


def test_every_caption_is_encoded_once_and_read_in_half_precision(packed: PackedMotions, tmp_path: Path) -> None:
    encoder = kept(tmp_path)
    table = keep_features(packed, TextReader(encoder, True))
    texts = texts_of(packed)
    distinct = {"", *texts, *map(swap_sides, texts)}
    assert sorted(encoder.encoder.asked[1:]) == sorted(distinct)  # the first call only tries the encoder
    assert len(table) == len(distinct) and table.rows.shape == (len(texts), 2)
    assert table.features.dtype == np.float16 and not table.features.flags.writeable
    for side, wanted in enumerate((texts, [swap_sides(text) for text in texts])):
        found, exact = table.read(table.rows[:, side], wanted).features(), HashingEncoder(8)(wanted)
        assert_half(found.tokens, exact.tokens)
        assert_half(found.pooled, exact.pooled)
        assert torch.equal(found.mask, exact.mask)
    assert not encoder.path.exists()  # nothing is kept twice


def test_features_are_found_by_caption(packed: PackedMotions, tmp_path: Path) -> None:
    table = pickle.loads(pickle.dumps(keep_features(packed, TextReader(kept(tmp_path), True))))
    text = texts_of(packed)[3]
    numbers = table.find(["", swap_sides(text), text])
    assert numbers.tolist() == [0, *table.rows[3, ::-1]]
    assert_half(table.read(numbers, ["", "", text]).features().pooled[0], HashingEncoder(8)([""]).pooled[0])
    assert table.find([text, f"{text} "]) is None


def test_pooled_features_take_one_row_each(packed: PackedMotions, tmp_path: Path) -> None:
    sentences = TextReader(kept(tmp_path), False)
    alone = keep_features(packed, sentences)
    assert alone.features.shape == (len(alone), 8)
    found = alone.read(np.array([1, 0, 2]), ["a", "b", "c"]).features()
    assert found.tokens.shape == (3, 0, 8) and found.mask.shape == (3, 0)
    words = TextReader(sentences.encoder, True)
    assert open_features(packed, words) is None
    keep_features(packed, words)
    assert len(written(packed.folder)) == 2
    shutil.rmtree(alone.folder)
    assert torch.equal(open_features(packed, sentences).read(np.array([1, 0, 2]), ["a", "b", "c"]).features().pooled,
                       found.pooled)  # fmt: skip


def test_other_captions_or_another_encoder_make_another_file(packed: PackedMotions, tmp_path: Path) -> None:
    first, other = kept(tmp_path), kept(tmp_path, name=" of 2", scale=2.0)
    reader = TextReader(first, True)
    keep_features(packed, reader)
    asked = len(first.encoder.asked)
    assert keep_features(packed, reader) is not None and len(first.encoder.asked) == asked
    doubled = keep_features(packed, TextReader(other, True))
    assert_half(doubled.read(np.array([1]), ["a"]).features().pooled, _encode(doubled, 1, packed) * 2)
    path = packed.folder / "captions.npy"
    path.write_bytes(path.read_bytes().replace(b"waves", b"wades"))
    changed = PackedMotions.open(packed.folder)
    assert open_features(changed, reader) is None
    table = keep_features(changed, reader)
    text = changed.caption_at(0)
    assert "wades" in text and first.encoder.asked.count(text) == 1
    assert_half(table.read(table.rows[:1, 0], [text]).features().tokens, HashingEncoder(8)([text]).tokens)
    assert len(written(packed.folder)) == 2  # the stale one is replaced


def _encode(table, number: int, packed: PackedMotions) -> torch.Tensor:
    texts = texts_of(packed)
    place, side = np.argwhere(table.rows == number)[0]
    return HashingEncoder(8)([(texts[place], swap_sides(texts[place]))[side]]).pooled


@pytest.mark.parametrize("name", ["meta.json", "features.npy", "offsets.npy", "keys.npy", "rows.npy"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_files_are_written_again(packed: PackedMotions, tmp_path: Path, name: str, damage: str) -> None:
    reader = TextReader(kept(tmp_path), True)
    whole = keep_features(packed, reader)
    before = whole.read(whole.rows[:, 1], texts_of(packed)).features().tokens
    path = whole.folder / name
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) - 5])
    assert open_features(packed, reader) is None
    again = keep_features(packed, reader)
    assert torch.equal(again.read(again.rows[:, 1], texts_of(packed)).features().tokens, before)


def test_a_run_that_ends_while_encoding_leaves_nothing(
    packed: PackedMotions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realign.data.prepare.text_features._CHUNK", 4)

    class Ending(Counting):
        def forward(self, texts):
            if len(self.asked) > 10:
                raise KeyboardInterrupt
            return super().forward(texts)

    with pytest.raises(KeyboardInterrupt):
        keep_features(packed, TextReader(CachedTextEncoder(Ending(), tmp_path), True))
    assert not any((packed.folder / "text").iterdir())
    assert keep_features(packed, TextReader(kept(tmp_path), True)) is not None


def test_a_set_that_cannot_be_written_has_its_features_in_the_cache(
    packed: PackedMotions, tmp_path: Path, cache: Path
) -> None:
    (packed.folder / "text").write_text("in the way")
    reader = TextReader(kept(tmp_path / "sqlite"), True)
    table = keep_features(packed, reader)
    assert table.folder.is_relative_to(cache) and open_features(packed, reader) is not None
    shutil.rmtree(cache)
    cache.write_text("in the way")
    with pytest.warns(InputWarning, match="not kept in a file .* set REALIGN_CACHE to a folder that can be written"):
        assert keep_features(packed, reader) is None


def test_features_beyond_half_precision_are_not_kept(packed: PackedMotions, tmp_path: Path) -> None:
    with pytest.warns(InputWarning, match=r"gives 1\.7.*e\+05, but half precision ends at 65504"):
        assert keep_features(packed, TextReader(kept(tmp_path, scale=1e5), True)) is None
    assert written(tmp_path) == []


def test_encoders_whose_features_are_not_kept_are_refused(packed: PackedMotions) -> None:
    with pytest.raises(InputError, match="hashing/8 are not kept in a file; wrap the encoder in CachedTextEncoder"):
        keep_features(packed, TextReader(HashingEncoder(8), True))


def test_prepare_keeps_what_a_configuration_reads(
    layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "mine.yaml"
    encoder = "{class_path: realign.text.CachedTextEncoder, init_args: {encoder: realign.text.HashingEncoder}}"
    model = "{init_args: {denoiser: {init_args: {conditioning: pooled}}}}"
    config.write_text(f"base: tiny/generator_mdm\nlet: {{text_encoder: {encoder}}}\nmodel: {model}\n")
    words = ["prepare", str(layout), "-o", str(tmp_path / "set"), "--text-encoder", str(config)]
    for _ in range(2):
        assert main(words) == 0
        assert "text features of hashing/32: sentences of 113 distinct captions" in capsys.readouterr().out
    (path,) = written(tmp_path)
    assert np.load(path).shape == (113, 32)
    for name, told in (("tiny/vae", "no text encoder whose features are kept"), ("clap", "no configuration 'clap'")):
        assert main([*words[:3], str(tmp_path / "other"), "--text-encoder", name]) == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


class Slow(Counting):
    def forward(self, texts):
        time.sleep(0.05)
        return super().forward(texts)


def _keep(folder: Path, cache: Path, place: Path) -> None:
    encoder = CachedTextEncoder(Slow(), cache)
    packed = PackedMotions.open(folder)
    table = keep_features(packed, TextReader(encoder, True))
    pooled = table.read(table.rows[:, 0], texts_of(packed)).features().pooled.sum().item()
    place.write_text(json.dumps([len(encoder.encoder.asked), pooled]))


def test_one_of_several_processes_encodes(packed: PackedMotions, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    places = [tmp_path / f"{number}.json" for number in range(3)]
    started = [context.Process(target=_keep, args=(packed.folder, tmp_path, place)) for place in places]
    for each in started:
        each.start()
    for each in started:
        each.join()
    asked, sums = zip(*(json.loads(place.read_text()) for place in places), strict=True)
    assert sorted(asked)[1] <= 1 and max(asked) > 50  # the others tried the encoder at most
    assert len(set(sums)) == 1 and len(written(tmp_path)) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_carry_the_features_of_their_captions(packed: PackedMotions, tmp_path: Path, workers: int) -> None:
    data = MotionDataModule(str(packed.folder), batch_size=6, num_workers=workers)
    sentences, words = kept(tmp_path, dim=4), kept(tmp_path)
    data.read_text([TextReader(words, True), TextReader(sentences, False), TextReader(HashingEncoder(16), True)])
    batches = list(data.train_dataloader())
    assert len({swap_sides(text) in texts_of(packed) for batch in batches for text in batch.captions}) == 2
    for batch in batches:
        assert sorted(batch.text) == ["hashing/4", "hashing/8"]
        for encoder in (words, sentences):
            found, exact = batch.text[encoder.fingerprint].features(), encoder.encoder(batch.captions)
            assert_half(found.pooled, exact.pooled)
            if encoder is words:
                assert_half(found.tokens, exact.tokens)
    data.read_text([])
    assert next(iter(data.val_dataloader())).text == {}


def test_features_follow_their_batch(packed: PackedMotions, tmp_path: Path) -> None:
    table = keep_features(packed, TextReader(kept(tmp_path), True))
    dataset = MotionTextDataset(packed, "all", text={"hashing/8": table})
    batch = collate([dataset[index] for index in range(5)])

    def pooled(batch: MotionTextBatch) -> torch.Tensor:
        found = batch.text["hashing/8"]
        assert found.captions == batch.captions
        return found.features().pooled

    whole = HashingEncoder(8)(batch.captions).pooled
    assert_half(pooled(batch), whole)
    assert_half(pooled(batch[1:3]), whole[1:3])
    assert_half(pooled(batch.to("cpu")[2:]), whole[2:])
    assert_half(pooled(dataset.__getitems__([3, 1])), whole[[3, 1]])
    with pytest.raises(InputError, match="text of hashing/8': 5"):
        MotionTextBatch(batch.motion, batch.lengths, batch.captions[:4], batch.ids, batch.seeds, batch.text)
