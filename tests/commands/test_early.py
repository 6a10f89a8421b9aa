"""Help pages with examples, suggestions for mistyped names, and mistakes that are found before heavy imports."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from realign.cli import COMMANDS, TRAINING, main, parse
from realign.commands import early
from realign.commands.examples import EXAMPLES
from realign.commands.progress import progress_bar
from realign.commands.sources import options_of, source_of
from realign.configuration import find_config
from realign.errors import InputError

MISTAKES = [
    (["generat", "walk"], "did you mean generate?"),
    (["fti", "--config", "tiny/vae"], "did you mean fit?"),
    (["index", "biuld"], "did you mean build?"),
    (["generate", "walk", "--secnds", "3"], "'--secnds' is not an option of realign generate; did you mean --seconds?"),
    (["generate", "walk", "--scheduler", "ddmi"], "did you mean ddim?"),
    (["generate", "walk", "--steps", "many"], "--steps: 'many' is not a whole number"),
    (["generate", "walk", "--steps", "0"], "--steps 0 is too small; give 1 or more"),
    (["generate", "walk", "--steps", "5000"], "--steps 5000 is too large; give 1000 or less"),
    (["generate", "walk", "--seconds", "nan"], "--seconds nan is not a finite number"),
    (["generate", "walk", "--seconds", "-1"], "--seconds -1 is too small"),
    (["generate", "walk", "--guidance", "reward", "--strength", "-1"], "--strength -1.0 is too small; give 0 or more"),
    (["generate", "walk", "--checkpoint", "generator_featurs"], "did you mean generator_features?"),
    (["generate", "walk", "--reward", "rewrad"], "did you mean reward?"),
    (["generate", "walk", "-o", "x.foo"], "cannot write 'x.foo': end the name with one of .gif"),
    (["generate", "walk", "-o", "file/x.gif"], "is a file; choose another place"),
    (["generate", "walk", "-o", "locked/x.gif"], "No permission to write locked/x.gif"),
    (["generate", " "], "A caption is blank"),
    (["generate", "--file", "captions.txt"], "There is no file or folder for --file at captions.txt; did you mean"),
    (["generate", "walk", "--keep", "motoin.npy"], "There is no motion file at motoin.npy; did you mean motion.npy?"),
    (["generate", "walk", "--keep", "walk.txt"], "--keep 'walk.txt' is not a .npy"),
    (["generate", "walk", "--keep-frames", "0:9"], "--keep-frames chooses of a motion; name the motion with --keep"),
    (["generate", "walk", "--keep", "motion.npy", "--keep-frames", "0:9,a"], "'a' is not a range of frames"),
    (["generate", "walk", "--path", "nowhere.csv"], "There is no file or folder for --path at nowhere.csv"),
    (["search"], "No caption was given"),
    (["search", "walk", "--index", "indx"], "There is no index at indx; did you mean index?"),
    (["search", "--motion", "walk.bhv", "bow"], "--motion 'walk.bhv' is not a .npy"),
    (["search", "--motion", "motoin.npy"], "did you mean motion.npy?"),
    (["render", "motoin.npy", "-o", "x.gif"], "There is no motion file at motoin.npy; did you mean motion.npy?"),
    (["generate", "walk", "--checkpoint", "imported/mdm"], "There is no checkpoint at imported/mdm; check the path, "
     "name a repository on the Hub as imported/mdm@main, or make one with `realign import`."),
    (["generate", "walk", "--reward", "runs/reward"], "There is no checkpoint at runs/reward; check the path"),
    (["search", "walk", "--index", "indexes/spm"], "There is no index at indexes/spm; check the path"),
    (["evaluate", "--data", "set", "--evaluator", "guo=imported/guo"], "There is no checkpoint at imported/guo; check"),
    (["evaluate", "--data", "prepared/mocap"], "prepared/mocap holds no prepared set"),
    (["evaluate", "--data", "nowhere"], "nowhere holds no prepared set"),
    (["evaluate", "--data", "set", "--protocol", "gou"], "The protocol 'gou' is unknown; did you mean guo?"),
    (["evaluate", "--data", "set", "--split", "tset"], "The split 'tset' is unknown; did you mean test?"),
    (["evaluate", "--data", "set", "--setting", "strenght=3"], "did you mean strength?"),
    (["evaluate", "--data", "set", "--replications", "0"], "--replications 0 is too small"),
    (["evaluate", "--data", "set", "-o", "x.csv"], "end the name with one of .json"),
    (["index", "build", "--data", "set", "-o", "file"], "-o file is a file, but a folder is to be written"),
    (["import", "mmd", "x.pt", "-o", "x"], "There is no importer for 'mmd'; did you mean mdm?"),
    (["export", "caption.txt", "-o", "x"], "caption.txt is not a checkpoint of this project"),
    (["import", "mdm", "nowhere.pt", "-o", "x"], "There is no file or folder for --file at nowhere.pt"),
    (["prepare", "motoins", "-o", "out"], "did you mean motions?"),
    (["export", "nowhere.ckpt", "-o", "x"], "There is no checkpoint at nowhere.ckpt"),
    (["fit", "--config", "generator/mdm_mocp"], "generator/mdm_mocap"),
    (["fit", "--config", "tiny/vae", "--modle.kl_weight=1"], "did you mean model?"),
    (["fit", "--config", "tiny/vae", "--trainer.max_epohs=3"], "did you mean max_epochs?"),
    (["fit", "--config", "tiny/vae", "--model", "realign.tasks.VAETsk"], "realign.tasks has no class VAETsk; did you"),
    (["fit", "--config", "tiny/vae", "--model.init_args.kl_wieght=1"], "did you mean kl_weight?"),
    (["fit", "--config", "tiny/vae", "--config", "own.yaml"], "MdmDenoisr; did you mean MdmDenoiser?"),
    (["fit", "--config", "tiny/vae", "--config", "options.yaml"], "Option 'max_epohs' is not accepted"),
]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("set", "motions", "locked"):
        Path(name).mkdir()
    for name in ("file", "motion.npy", "caption.txt", "walk.bhv"):
        Path(name).write_text("a person walks\n")
    denoiser = "{model: {init_args: {denoiser: {class_path: realign.nn.MdmDenoisr}}}}"
    Path("own.yaml").write_text(denoiser)
    Path("options.yaml").write_text("{trainer: {max_epohs: 3}}")
    writable = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked" and writable(path, mode))
    monkeypatch.setattr("realign.data.store.read_meta", lambda folder: _read_meta(folder))
    return tmp_path


def _read_meta(folder: Path) -> dict[str, object]:
    if Path(folder).is_dir():
        return {}
    raise InputError(f"{folder} holds no prepared set; prepare it.")


@pytest.mark.parametrize(("words", "told"), MISTAKES, ids=lambda each: "" if isinstance(each, str) else " ".join(each))
def test_a_mistake_is_found_early(
    words: list[str], told: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def heavy(*_: object) -> None:
        raise AssertionError("the command was started")

    monkeypatch.setattr("realign.commands.common.fetch_named", heavy)
    monkeypatch.setattr("realign.threads.wait_asleep", heavy)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line, line


def test_mistakes_are_found_without_heavy_packages(tmp_path: Path) -> None:
    (tmp_path / "motion.npy").touch()
    commands = [words for words, _ in MISTAKES if not {"set", "file/x.gif", "locked/x.gif"} & {*words}]
    code = (
        "import sys\nfrom realign.cli import main\n"
        f"codes = [main(words) for words in {commands!r}]\n"
        "heavy = {'torch', 'lightning', 'faiss', 'diffusers', 'jsonargparse'} & {*sys.modules}\n"
        "sys.exit(f'{heavy}' if heavy or set(codes) != {2} else 0)"
    )
    environment = {**os.environ, "REALIGN_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_kinds_of_imports_are_those_of_the_importers() -> None:
    from realign.checkpoint.official import KINDS
    from realign.commands import import_

    assert set(import_.KINDS) == set(KINDS)


def test_what_is_right_passes(here: Path) -> None:
    words = ["--checkpoint", "generator", "--index", "reward_index", "--file", "caption.txt", "-o", "new/folder/x.gif"]
    early.check(parse(["generate", "a person walks", *words]))
    early.check(parse(["generate", "a person walks", "--checkpoint", "org/name@main", "--reward", "runs/reward@main"]))
    early.check(parse(["search", "a person walks", "--data", "prepared/mocap@main"]))
    early.check(parse(["search", "--motion", "motion.npy", "--render", "x.png"]))
    early.check(parse(["evaluate", "--data", "set", "--evaluator", "a=evaluator", "--evaluator", "org/name"]))
    early.check(parse(["sweep", "--data", "set", "--strength", "0", "100", "--window", ".2,1"]))


@pytest.mark.parametrize("command", [*COMMANDS, "index build", "index merge", "index export", "index push"])
def test_help_ends_with_examples_that_parse(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    page = capsys.readouterr().out
    assert page.rstrip().splitlines()[-1].strip() == EXAMPLES[command][-1]
    for line in EXAMPLES[command]:
        parse(shlex.split(line)[1:])


@pytest.mark.parametrize("command", TRAINING)
def test_examples_of_training_name_configurations(command: str) -> None:
    for line in EXAMPLES[command]:
        words = shlex.split(line)
        assert words[:2] == ["realign", command]
        for name, value in zip(words, words[1:], strict=False):
            if name == "--config" and value != "mine.yaml":
                find_config(value)


def test_help_shows_the_defaults_of_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("{class_path: x, init_args: {steps: 37, guidance_scale: 3.5}}")
    (tmp_path / "guidance.yaml").write_text("{strength: 123.0}")
    with pytest.raises(SystemExit):
        main(["generate", "--checkpoint", str(tmp_path), "--help"])
    page = " ".join(capsys.readouterr().out.split())
    for value in ("37", "3.5", "123.0"):
        assert f"; {value} of {tmp_path.name})" in page
    (tmp_path / "config.yaml").write_bytes(b"\xff\x00")
    with pytest.raises(SystemExit):
        main(["generate", "--checkpoint", str(tmp_path), "--help"])


def test_sources_tell_options_without_importing() -> None:
    assert {"denoiser", "steps"} <= set(options_of("realign.tasks.GeneratorTask") or ())
    assert options_of("diffusers.DDPMScheduler") is None and options_of("nowhere.Thing") is None
    assert {"max_epochs", "callbacks"} <= set(options_of("lightning.pytorch.trainer.trainer.Trainer") or ())
    assert source_of("realign.nn") and source_of("realign.nowhere") is None


def test_progress_is_told_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar(True, "motions") as watch:
        assert watch is None  # standard error is not a terminal here
    monkeypatch.setenv("FORCE_COLOR", "1")  # which rich takes for one
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar(False, "motions") as watch:
        assert watch is None
    with progress_bar(True, "motions") as watch:
        assert watch is not None
        watch("motions", 3, 7)
        watch("captions", 2, 9)
        watch("index", 0, None)
    told = capsys.readouterr()
    assert "index" in told.err and told.out == ""
    for words in (
        ["index", "build", "--data", "x", "-o", "y"],
        ["prepare", "x", "-o", "y"],
        ["evaluate", "--data", "x"],
    ):
        assert parse([*words, "--quiet"]).quiet and not parse(words).quiet
