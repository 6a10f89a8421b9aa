"""Weights and indexes go to a Hub and come back, from a server on loopback that speaks its protocol."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from data_parts import make_joints
from hub_parts import TOKEN, Hub, Repository, serve
from huggingface_hub import constants

from realign import MotionSearch, TextToMotion
from realign.checkpoint import read_saved
from realign.checkpoint.card import describe_weights
from realign.cli import main, parse
from realign.commands.common import fetch_named
from realign.data import MotionDataModule
from realign.data.prepare.run import prepare
from realign.data.store import PackedMotions
from realign.errors import InputError, InputWarning
from realign.files import named_path, resolve_model, shipped_folder
from realign.hub import is_hub_name, push


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub that holds an exported evaluator, a generator with a tag, and an index, each as its command wrote it."""
    home = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch, serve() as server:
        patch.setattr(constants, "ENDPOINT", server.address)
        template = "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + template)
        patch.setattr(constants, "HF_HUB_CACHE", str(home / "cache"))
        patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setenv("HF_TOKEN", TOKEN)
        arguments = ["--hub", "org/evaluator", "--license", "cc-by-nc-4.0", "-o", str(home / "evaluator")]
        assert main(["export", "evaluator", *arguments]) == 0
        assert main(["index", "push", "reward_index", "org/index"]) == 0
        shutil.copytree(shipped_folder("generator_features"), home / "generator")
        push(describe_weights(home / "generator", "org/generator"), "org/generator")
        patch.delenv("HF_TOKEN")
        yield server


@pytest.fixture
def cache(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The sentence of a command that refuses its input."""
    capsys.readouterr()
    assert main(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("realign: ")]
    return line


def test_exported_weights_return_with_card_and_checksums(hub: Hub, cache: Path) -> None:
    files = hub.repositories["org/evaluator"].files("main")
    assert files.keys() == {".gitattributes", "README.md", "SHA256SUMS", "config.yaml", "model.safetensors"}
    assert list(hub.stored) and files["model.safetensors"] in hub.stored.values()  # sent as a large file
    about = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert about["library_name"] == "realign" and about["license"] == "cc-by-nc-4.0"
    assert {"text-to-motion", "evaluator"} <= set(about["tags"])
    found, shipped = read_saved("org/evaluator"), read_saved("evaluator")
    assert found.path.is_relative_to(cache) and found.config["class_path"] == shipped.config["class_path"]
    assert named_path("org/evaluator") == ("evaluator", found.path) == named_path("org/evaluator@main")
    assert named_path("mine=org/evaluator") == ("mine", found.path)
    names = found.state.keys() & shipped.state.keys()
    assert len(names) > 10 and all(torch.equal(found.state[name], shipped.state[name].float()) for name in names)


def test_a_card_on_the_hub_is_kept(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.repositories["org/own"] = Repository()
    hub.repositories["org/own"].commit({"README.md": b"mine"})
    assert main(["index", "push", "reward_index", "org/own"]) == 0
    assert hub.repositories["org/own"].files("main")["README.md"] == b"mine"


def test_a_revision_is_a_branch_or_a_commit(hub: Hub, cache: Path) -> None:
    repository = hub.repositories["org/generator"]
    good = repository.refs["main"]
    repository.commit(repository.files("main"), "v1")
    repository.commit({"config.yaml": repository.files("main")["config.yaml"] + b"\n"})
    model = TextToMotion.from_pretrained("org/generator", device="cpu", revision="v1")
    assert model.default is None and model.skeleton.name == "humanml3d"
    assert read_saved(f"org/generator@{good}").config == read_saved("org/generator@v1").config
    with pytest.raises(InputError, match=r"config.yaml is damaged, as its checksum is not that of SHA256SUMS"):
        TextToMotion.from_pretrained("org/generator", device="cpu")
    with pytest.raises(InputError, match="not this revision"):
        resolve_model("org/generator@v9")
    for other in ("generator", shipped_folder("generator"), "org/generator@v1"):
        with pytest.raises(InputError, match="needs a repository"):
            TextToMotion.from_pretrained(other, revision="v1")
    with pytest.raises(InputError, match="needs a repository"):
        MotionSearch.from_pretrained(revision="v1")


def test_every_command_takes_names(
    hub: Hub, cache: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realign.data.store.read_meta", lambda folder: {})
    assert main(["index", "export", "org/index", "-o", str(tmp_path / "index")]) == 0
    data = ["--data", "x"]
    for words in (
        ["generate", "x", "--checkpoint", "org/absent"],
        ["generate", "x", "--reward", "org/absent"],
        ["generate", "x", "--index", "org/absent"],
        ["search", "x", "--index", "org/absent"],
        ["search", "x", "--checkpoint", "org/absent"],
        ["index", "build", *data, "-o", "x", "--checkpoint", "org/absent"],
        ["index", "merge", "-o", "x", "org/index", "org/absent"],
        ["index", "push", "org/absent", "org/x"],
        ["evaluate", *data, "--generator", "org/absent"],
        ["evaluate", *data, "--retriever", "org/absent"],
        ["sweep", *data, "--generator", "org/absent"],
        ["export", "org/absent", "-o", "x"],
    ):
        assert "'org/absent'" in told(capsys, *words), words
    assert not Path("x").exists()


def test_new_commits_are_seen_and_the_cache_stands_in(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["org/extra"] = Repository()
    hub.repositories["org/extra"].commit(hub.repositories["org/evaluator"].files("main") | {"other.npy": b"not read"})
    monkeypatch.setattr(hub, "lists", False)
    extra, first = resolve_model("org/extra"), resolve_model("org/index")
    hub.repositories["org/index"].commit({"README.md": b"other"})
    second = resolve_model("org/index")
    assert first != second and (second / "index.faiss").read_bytes() == (first / "index.faiss").read_bytes()
    monkeypatch.setattr(hub, "fails", 503)
    with pytest.warns(InputWarning, match="does not answer"):
        assert resolve_model("org/index") == second
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    count = len(hub.asked)
    assert resolve_model("org/index") == second  # asked for: no warning
    assert resolve_model("org/extra") == extra and not (extra / "other.npy").exists()
    with pytest.raises(InputError, match="org/evaluator.* is not on this machine"):
        resolve_model("org/evaluator")
    assert len(hub.asked) == count


def test_a_folder_comes_before_a_repository(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shipped_folder("evaluator"), "org/evaluator")
    count = len(hub.asked)
    assert resolve_model("org/evaluator") == Path("org/evaluator") and read_saved("org/evaluator").state
    assert resolve_model(Path("org/index")) == Path("org/index")  # a Path is a path
    Path("imported").mkdir()
    with pytest.raises(InputError, match=r"no checkpoint at imported/x; .* on the Hub as imported/x@main, or"):
        read_saved("imported/x")
    assert len(hub.asked) == count
    with pytest.raises(InputError, match="no repository of this name"):
        read_saved("imported/x@main")


def test_faults_are_one_sentence(hub: Hub, cache: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def search(name: str) -> str:
        return told(capsys, "search", "a person bows", "--checkpoint", name)

    assert "no repository of this name, or it is private: log in" in search("org/absent")
    hub.repositories["org/hidden"] = Repository(private=True)
    assert "it is private: log in" in search("org/hidden")
    hub.repositories["org/empty"] = Repository()
    hub.repositories["org/other"] = Repository()
    hub.repositories["org/other"].commit({"config.json": b"{}", "model.safetensors": b"large"})
    for name in ("org/empty", "org/other"):
        assert "holds neither weights of realign" in search(name)
    assert not any("resolve" in each and "org/other" in each for each in hub.asked), "nothing was downloaded"
    assert "name a repository on the Hub as ORG/NAME" in search("nonsense")
    for name in ("a/b/c", "a//b", "runs/last.ckpt", "/a/b", "../b", "a/b@"):
        assert "There is no checkpoint at" in search(name) and not is_hub_name(name)
    hub.fails = 503
    assert "503" in search("org/index")
    hub.fails = 0
    assert "write ORG/NAME" in told(capsys, "export", "evaluator", "--hub", "evaluator")
    assert "--hub ORG/NAME" in told(capsys, "export", "evaluator")
    assert "--hub ORG/NAME" in told(capsys, "export", "evaluator", "-o", str(tmp_path / "x"), "--private")
    assert "your token may write there" in told(capsys, "index", "push", "reward_index", "org/mine")


@pytest.fixture(scope="module")
def motions(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared set that was pushed to org/motions."""
    home = tmp_path_factory.mktemp("set")
    (home / "source").mkdir()
    for seed in range(4):
        np.save(home / "source" / f"{seed}.npy", make_joints(50, seed))
    np.save(home / "source" / "bad.npy", np.zeros(3))
    (home / "c.csv").write_text("file,caption\n" + "".join(f"{seed},walks {seed}\n" for seed in range(4)) + "bad,x\n")
    prepare(home / "source", home / "motions", captions=home / "c.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", TOKEN)
        assert main(["export", str(home / "motions"), "--hub", "org/motions", "--license", "mit"]) == 0
    return home / "motions"


def test_prepared_sets_return_from_the_hub(
    hub: Hub, motions: Path, cache: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    repository = hub.repositories["datasets/org/motions"]
    files = repository.files("main")
    assert "license: mit" in files["README.md"].decode() and "| motions | 4 |" in files["README.md"].decode()
    assert not any(str(motions.parent).encode() in content for content in files.values()), "no path of this machine"
    assert "report.jsonl" not in files and files["features.npy"] in hub.stored.values()
    kept = PackedMotions.open(motions)
    for packed in (PackedMotions.open("org/motions"), MotionDataModule("org/motions").packed):
        assert packed.folder.is_relative_to(cache) and packed.identity == kept.identity
        assert np.array_equal(packed.features, kept.features) and packed.captions(3) == kept.captions(3)
    build, calibrate = ["index", "build", "-o", "x"], ["calibrate", "--index", "index"]
    for words in (build, calibrate, ["evaluate"], ["sweep"], ["tune-guidance"], ["search", "x"], ["demo"]):
        options = parse([*words, "--data", "org/motions"])
        fetch_named(options)
        assert options.data == packed.folder, words
    assert PackedMotions.open(Path(motions)).folder == motions
    for words in (
        [*build, "--data", "org/absent"],
        [*calibrate, "--data", "org/absent"],
        ["evaluate", "--data", "org/absent"],
        ["search", "x", "--data", "org/absent"],
    ):
        assert "'org/absent'" in told(capsys, *words), words
    assert "hf download org/index --local-dir" in told(capsys, "calibrate", "--index", "org/index", "--data", "x")
    hub.repositories["datasets/org/other"] = Repository()
    assert "is not a prepared set" in told(capsys, "evaluate", "--data", "org/other")
    good = repository.refs["main"]
    features = files["features.npy"]
    repository.commit({"features.npy": features[:-8] + b"\0" * 7 + b"?"})
    with pytest.raises(InputError, match=r"checksum is not that of meta.json; download org/motions again"):
        PackedMotions.open("org/motions")
    assert PackedMotions.open(f"org/motions@{good}").identity == kept.identity


def test_only_whole_sets_are_pushed(
    hub: Hub, motions: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shutil.copytree(motions, tmp_path / "set")
    np.save(tmp_path / "set" / "Mean.npy", np.load(tmp_path / "set" / "Mean.npy") + 1)
    assert "damaged or changed" in told(capsys, "export", str(tmp_path / "set"), "--hub", "org/x")
    assert "--half is for weights" in told(capsys, "export", str(motions), "--hub", "org/x", "--half")
    assert "realign index push" in told(capsys, "export", "reward_index", "--hub", "org/x")
    assert "--hub ORG/NAME" in told(capsys, "export", str(motions))
    assert not {"org/x", "datasets/org/x"} & hub.repositories.keys()


def test_a_guidance_goes_along_with_the_names_of_repositories(
    hub: Hub, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    shutil.copytree(shipped_folder("generator_features"), tmp_path / "mine")
    (tmp_path / "mine" / "guidance.yaml").write_text("{reward: reward, index: reward_index, known: index, strength: 7}")
    command = ["export", str(tmp_path / "mine"), "--hub", "org/guided"]
    line = told(capsys, *command)
    assert "names the reward 'reward' beside the generator" in line and "--without-guidance" in line
    absent = ["--reward", "org/absent", "--index", "org/index", "--known", "org/index"]
    assert "no repository of this name" in told(capsys, *command, *absent)
    assert "write ORG/NAME" in told(capsys, *command, "--reward", "reward", "--index", "org/index")
    assert "has no guidance.yaml" in told(capsys, "export", "reward", "--hub", "org/reward", "--reward", "org/x")
    assert "org/guided" not in hub.repositories
    shutil.copytree(shipped_folder("reward"), tmp_path / "reward")
    push(describe_weights(tmp_path / "reward", "org/reward"), "org/reward")
    named = [*command, "--reward", "org/reward", "--index", "org/index@main"]
    assert "names the known 'index' beside" in told(capsys, *named)
    assert main(["index", "push", "index", "org/known"]) == 0
    assert main([*named, "--known", "org/known"]) == 0
    files = hub.repositories["org/guided"].files("main")
    given = yaml.safe_load(files["guidance.yaml"])
    assert given == {"reward": "hub:org/reward", "index": "hub:org/index@main", "known": "hub:org/known", "strength": 7}
    model = TextToMotion.from_pretrained("org/guided", device="cpu")
    assert model.default is not None and model.default.strength == 7 and model.guide is not None
    assert model.guide.reward.fingerprint == model.guide.index.fingerprint
    assert all(path.is_relative_to(cache) for path in model.guide.paths)
    assert model.known.captions is not None  # every file of an index comes back
    hub.repositories["org/guided"].commit({"guidance.yaml": files["guidance.yaml"] + b"\n"})
    with pytest.raises(InputError, match="guidance.yaml is damaged"):
        TextToMotion.from_pretrained("org/guided", device="cpu")


def test_a_hub_that_is_down(
    hub: Hub, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "refused" in told(capsys, "search", "a person bows", "--index", "org/index")
    assert "could not be written" in told(capsys, "index", "push", "reward_index", "org/index")


def test_a_damaged_index_is_named(hub: Hub, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = hub.repositories["org/index"].files("main")
    hub.repositories["org/broken"] = Repository()
    hub.repositories["org/broken"].commit(files | {"keys.npy": files["keys.npy"][:-1] + b"?"})
    line = told(capsys, "search", "a person bows", "--index", "org/broken")
    assert "keys.npy of the index at" in line and "checksum differs" in line


def test_configurations_from_the_hub_name_no_foreign_class(hub: Hub, cache: Path) -> None:
    files = hub.repositories["org/evaluator"].files("main")
    bad = {"config.yaml": b"class_path: os.system\ninit_args: {command: 'touch harm'}\n", "SHA256SUMS": b""}
    hub.repositories["org/bad"] = Repository()
    hub.repositories["org/bad"].commit(files | bad)
    with pytest.raises(InputError, match="checksum"):
        TextToMotion.from_pretrained("org/bad", device="cpu")
    folder = cache.parent / "bad"
    folder.mkdir()
    for name in ("config.yaml", "model.safetensors"):
        (folder / name).write_bytes((files | bad)[name])
    describe_weights(folder, "org/bad")
    hub.repositories["org/bad"].commit({"SHA256SUMS": (folder / "SHA256SUMS").read_bytes()})
    with pytest.raises(InputError, match=r"names os.system, which is outside"):
        TextToMotion.from_pretrained("org/bad", device="cpu")
    assert not Path("harm").exists()


def test_the_address_comes_from_the_environment(hub: Hub, tmp_path: Path) -> None:
    code = (
        "import sys; from realign.cli import parse; parse(['generate', 'x', '--checkpoint', 'org/index'])\n"
        "assert 'huggingface_hub' not in sys.modules\n"
        "from realign.hub import fetch; print(fetch('org/index')); assert 'torch' not in sys.modules"
    )
    variables = os.environ | {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (Path(done.stdout.strip()) / "meta.json").is_file() and done.stdout.startswith(str(tmp_path))
