import argparse
import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from realign.cli import main, parser

VAE = ["fit", "--config", "configs/tiny/vae.yaml"]


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.chdir(request.config.rootpath)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["generate", ""], "A caption is blank"),
        (["generate"], "No caption was given"),
        (["generate", "walk", "-o", "x.foo"], ".gif"),
        (["generate", "walk", "--checkpoint", "nowhere.ckpt"], "no checkpoint at nowhere.ckpt"),
        (
            ["generate", "walk", "--guidance", "none", "--mu", "2"],
            "--mu has no effect with --guidance none; add --guidance reward or best-of",
        ),
        (
            ["generate", "walk", "--guidance", "reward", "--candidates", "3"],
            "--candidates has no effect with --guidance",
        ),
        (["generate", "walk", "--guidance", "best-of", "--reward", "nowhere"], "no checkpoint at nowhere"),
        (
            ["generate", "walk", "--guidance", "best-of", "--candidates", "0"],
            "--candidates 0 is too small; give 1 or more",
        ),
        (["generate", "walk", "--device", "abacus"], "try --device cpu"),
        (["generate", "--file", "nowhere.txt"], "nowhere.txt"),
        (["prepare", "nowhere", "-o", "out"], "no folder of motions at nowhere"),
        (["render", "nowhere.npy", "-o", "x.gif"], "nowhere.npy"),
        ([*VAE, "--model.init_args.vae.init_args.hiden=3"], "vae: Option 'hiden' is not accepted"),
        (
            [*VAE, "--model.init_args.vae.class_path=realign.nn.FeatureSpace"],
            "a subclass of MotionVAE",
        ),
        (
            [*VAE, "--trainer.max_epohs=3"],
            "Option 'max_epohs' is not accepted by lightning.pytorch.trainer.trainer.Trainer; did you mean max_epochs?",
        ),
        ([*VAE, "--model.init_args.kl_weight=much"], "Expected a <class 'float'>"),
        ([*VAE, "--data.init_args.clips=3"], "ask for at least 6"),
        (["fit", "--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    args: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("realign: ")]
    assert len(lines) == 1 and told in lines[0], lines
    assert "Traceback" not in lines[0]


@pytest.mark.parametrize("lines", [3, 20000])
def test_output_survives_unprintable_text_and_a_closed_pipe(tmp_path: Path, lines: int) -> None:
    (tmp_path / "talk.py").write_text(
        "import sys, realign.commands.early as early, realign.commands.render as render\nfrom realign.cli import run\n"
        "def talk(options):\n"
        "    print('\u2191' * 100, flush=True)\n"
        "    sys.stdin.read()\n"  # until the reader closes the pipe
        f"    [print('more') for _ in range({lines})]\n"
        "render.run = talk\n"
        "early.check = lambda options: None\n"
        "sys.argv[1:] = ['render', 'x.npy', '-o', 'x.gif']\nrun()\n",
        encoding="utf-8",
    )
    command = [sys.executable, str(tmp_path / "talk.py")]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, env=environment, **pipes) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith(b"\\u2191")
        process.stdout.close()
        process.stdin.close()
        assert process.wait() == 141 and process.stderr.read() == b""


def test_a_broken_pipe_of_another_process_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(options: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("realign.commands.render.run", fail)
    monkeypatch.setattr("realign.commands.early.check", lambda options: None)
    assert main(["render", "x.npy", "-o", "x.gif"]) == 2 and "Broken pipe" in capsys.readouterr().err


def test_a_defect_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realign.commands.render.run", lambda options: 1 / 0)
    monkeypatch.setattr("realign.commands.early.check", lambda options: None)
    with pytest.raises(ZeroDivisionError):
        main(["render", "x.npy", "-o", "x.gif"])


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, realign.cli\n"
        "try: realign.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'faiss', 'lightning')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("fit", "prepare", "generate", "render"):
        assert command in done.stdout


def test_help_names_the_defaults_that_hold() -> None:
    """A command that shares options with another may have defaults of its own."""
    seen = 0
    for name, command in commands_of(parser()):
        for action in command._actions:
            told = re.search(r"\(default: ([\w.-]+)\)", (action.help or "") % (vars(action) | {"prog": name}))
            if told and isinstance(action.default, (str, int, float)) and not isinstance(action.default, bool):
                assert type(action.default)(told[1]) == action.default, f"{name} {action.option_strings}"
                seen += 1
    assert seen > 30


def commands_of(top: argparse.ArgumentParser, name: str = "realign") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """All commands and their actions, as in `realign index build`."""
    yield name, top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, command in action.choices.items():
                yield from commands_of(command, f"{name} {word}")
