"""No slot of a shipped configuration and no command executes or imports code that a foreign file names."""

import pickle
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
import yaml
from attack_parts import (
    CONFIGS,
    MODULE,
    READ_ONLY,
    ROOT,
    attacked,
    model_of,
    payloads,
    slots,
    write_checkpoint,
    write_folder,
)

from realign.checkpoint import admit, read_saved
from realign.cli import main
from realign.errors import InputError
from realign.guidance import load_steering
from realign.guidance.own import OwnGuidance
from realign.nn import Embedder
from realign.tasks import Task, load_task

MODELS = {str(path.relative_to(ROOT)): model for path in CONFIGS if (model := model_of(path)) is not None}
TINY = [name for name in MODELS if name.startswith("configs/tiny")]
WRITERS = {"folder": write_folder, "file.ckpt": write_checkpoint}


def test_all_slots_are_found() -> None:
    found = dict(slots(MODELS["configs/tiny/reward_latent.yaml"]))
    for name in ("model", "space", "text_encoder", "scheduler", "optimizer", "lr_scheduler", "sentence_encoder"):
        assert found[("init_args", name)] is False
    assert found[("init_args", "checkpoint")] and found[("init_args", "space", "init_args", "checkpoint")]
    assert not found[("init_args", "scheduler", "init_args", "trained_betas")]
    assert dict(slots(MODELS["realign/pretrained/generator/config.yaml"]))[
        ("init_args", "text_encoder", "init_args", "cache_dir")
    ]


def harm_in(options: dict[str, Any], place: tuple[str, ...], marker: Path) -> bool:
    """Whether an accepted configuration still names a harmful class or function."""
    left = str(options)
    return place[-1] not in READ_ONLY and any(each in left for each in (MODULE, "os.system", str(marker)))


@pytest.mark.parametrize("name", TINY)
def test_every_attack_on_every_slot_is_refused_or_left_out(tmp_path: Path, marker: Path, name: str) -> None:
    for place, is_path in slots(MODELS[name]):
        for payload in [str(marker)] if is_path else payloads(marker):
            options = attacked(MODELS[name], place, payload)
            for only in ("optimizer", "lr_scheduler"):
                options["init_args"].pop(only, None)  # as the readers do, see below
            try:
                left = admit(options, tmp_path)
            except InputError:
                continue
            assert not harm_in(left, place, marker), (place, payload, left)


@pytest.mark.parametrize("name", MODELS)
def test_no_slot_of_a_shipped_configuration_lets_an_attack_pass(tmp_path: Path, marker: Path, name: str) -> None:
    kinds = list(WRITERS) if name in TINY[::3] else ["file.ckpt"]  # YAML takes its time
    tried, shift = payloads(marker), list(MODELS).index(name)
    for kind in kinds:
        saved = read_saved(WRITERS[kind](tmp_path / kind, MODELS[name]))
        assert admit(saved.config, saved.path)["class_path"] == MODELS[name]["class_path"]
        for number, (place, is_path) in enumerate(slots(MODELS[name])):
            payload = str(marker) if is_path else tried[(number + shift) % len(tried)]
            try:
                saved = read_saved(WRITERS[kind](tmp_path / kind, attacked(MODELS[name], place, payload)))
                left = admit(saved.config, saved.path)
            except InputError:
                continue
            assert not harm_in(left, place, marker), (place, payload, left)


@pytest.mark.parametrize("name", TINY)
def test_loading_executes_no_foreign_code(tmp_path: Path, marker: Path, name: str) -> None:
    """The attacks through every loading function, where the rest can be built without them."""
    config, tried = MODELS[name], payloads(marker)
    loaders: list[Callable[[Path], Any]] = [load_task, Task.load_from_checkpoint]
    if "model" in config["init_args"]:
        loaders += [Embedder.load, lambda path: load_steering(path)]
    for number, (place, is_path) in enumerate(slots(config)):
        kind = list(WRITERS)[number % 2]
        left_out = place[-1] in ("optimizer", "lr_scheduler")
        payload = str(marker) if is_path else tried[0 if left_out else number % len(tried)]
        path = WRITERS[kind](tmp_path / kind, attacked(config, place, payload))
        with pytest.raises(InputError, match=r"names|asks for|holds|fit its|option|does not"):
            loaders[number // 2 % len(loaders)](path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared set of computed motions."""
    from realign.data import ProceduralDataModule

    folder = tmp_path_factory.mktemp("attacked") / "data"
    ProceduralDataModule(folder=str(folder), clips=48).prepare_data()
    return folder


COMMANDS = {
    "generate": ["generate", "walk", "--checkpoint", "EVIL"],
    "generate guided": ["generate", "walk", "--guidance", "reward", "--reward", "EVIL"],
    "generate lengths": ["generate", "walk", "--reward", "EVIL", "--index", "INDEX"],
    "search": ["search", "walk", "--checkpoint", "EVIL"],
    "index build": ["index", "build", "--checkpoint", "EVIL", "--data", "DATA", "-o", "OUT"],
    "export": ["export", "EVIL", "-o", "OUT"],
    "evaluate generator": ["evaluate", "--data", "DATA", "--generator", "EVIL", "-o", "OUT.json"],
    "evaluate reward": ["evaluate", "--data", "DATA", "--reward", "EVIL", "-o", "OUT.json"],
    "evaluate evaluator": ["evaluate", "--data", "DATA", "--evaluator", "it=EVIL", "-o", "OUT.json"],
    "sweep": ["sweep", "--data", "DATA", "--strength", "1", "--generator", "EVIL", "-o", "OUT.csv"],
}  # fmt: skip
INDEX = ROOT / "realign/pretrained/reward_index"
QUIET = ["--trainer.logger=false", "--trainer.callbacks=null", "--trainer.default_root_dir=OUT", "--data.folder=DATA"]
FIT = ["--config", str(ROOT / "configs/tiny/reward_latent.yaml"), *QUIET]
GUIDED = ["--config", str(ROOT / "configs/tiny/generator_mdm.yaml"), *QUIET]
SAMPLING = "--trainer.callbacks={class_path: realign.callbacks.RewardGuidedSampling, init_args: {reward: EVIL}}"
COMMANDS |= {
    "fit space": ["fit", *FIT, "--model.space.checkpoint=EVIL"],
    "fit start": ["fit", *FIT, "--model.checkpoint=EVIL"],
    "fit guided": ["fit", *GUIDED, SAMPLING],
}
REWARDS = {
    "search", "index build", "generate guided", "generate lengths", "evaluate reward", "fit guided", "fit start",
}  # fmt: skip
KINDS = {"evaluate evaluator": "evaluator_contrastive", "fit space": "vae"}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_executes_code_that_a_model_names(
    tmp_path: Path, marker: Path, data: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = KINDS.get(command, "reward_feature" if command in REWARDS else "generator_mdm")
    model = MODELS[f"configs/tiny/{kind}.yaml"]
    shell, evil = payloads(marker)[:2]
    part = next(name for name in model["init_args"] if name not in ("optimizer", "lr_scheduler"))
    attacks = {
        "--trust-code": write_checkpoint(tmp_path / "evil.ckpt", attacked(model, ("init_args", part), evil)),
        "do not fit its conf": write_folder(tmp_path / "evil", attacked(model, ("init_args", "optimizer"), shell)),
    }
    for expected, path in attacks.items():
        words = COMMANDS[command]
        for name, value in {"EVIL": path, "DATA": data, "OUT": tmp_path / "out", "INDEX": INDEX}.items():
            words = [word.replace(name, str(value)) for word in words]
        device = ["--device", "cpu"] if words[0] not in ("fit", "export") else []
        assert main([*words, *device]) == 2
        assert expected in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_a_pickled_checkpoint_is_refused_in_one_sentence(
    tmp_path: Path, marker: Path, data: Path, command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6.0", "callbacks": Touch(marker)}, path)
    options = [word.replace("OUT", str(tmp_path)).replace("DATA", str(data)) for word in GUIDED]
    assert main([command, *options, f"--ckpt_path={path}"]) == 2
    told = capfd.readouterr().err
    assert "evil.ckpt" in told and "never executed" in told and "Traceback" not in told


def test_a_remote_checkpoint_is_loaded_without_executing_it(
    tmp_path: Path, marker: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(Touch(marker), tmp_path / "evil.ckpt")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    options = [word.replace("OUT", str(tmp_path)).replace("DATA", str(data)) for word in GUIDED]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/evil.ckpt"
        assert main(["test", *options, f"--ckpt_path={address}"]) == 2
        server.shutdown()
    assert "never executed" in capsys.readouterr().err
    assert (tmp_path / "hub/hub/checkpoints/evil.ckpt").is_file()


@pytest.mark.parametrize(
    "place", ["/etc", "../reward", "..", ".", "", "a/../../reward", "~/reward", "a/b", "link", "C:\\x", "a\\b", "a\0b"]
)
@pytest.mark.parametrize("name", ["reward", "index"])
def test_a_guidance_reads_only_files_beside_it(tmp_path: Path, name: str, place: str) -> None:
    folder = tmp_path / "shelf/generator"
    folder.mkdir(parents=True)
    (tmp_path / "reward").mkdir()
    (tmp_path / "shelf/link").symlink_to(tmp_path / "reward")
    (folder / "guidance.yaml").write_text(yaml.safe_dump({name: place}))
    with pytest.raises(InputError, match=f"names the {name} .* beside the generator"):
        OwnGuidance.read(folder)
    (folder / "guidance.yaml").write_text(yaml.safe_dump({name: "other"}))
    found = OwnGuidance.read(folder)
    assert found is not None and tmp_path / "shelf/other" in (found.reward, found.index)


def test_a_guidance_names_no_class(tmp_path: Path, marker: Path) -> None:
    for name in ("reward", "mu", "options"):
        for payload in payloads(marker):
            if name == "reward" and isinstance(payload, str):
                continue
            for content in ({name: payload}, {"options": {"strength": payload}}, payload):
                (tmp_path / "guidance.yaml").write_text(yaml.safe_dump(content))
                with pytest.raises(InputError, match="does not describe a guidance"):
                    OwnGuidance.read(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch MARKER']",
        "class_path: realign.tasks.VAETask\ninit_args: {vae: !!python/name:os.system ''}",
        "class_path: realign.tasks.VAETask\ninit_args: &a {vae: *a}",
        "class_path: realign.tasks.VAETask\ninit_args: {vae: &a [x], b: &b [*a, *a], kl_weight: 2020-13-45}",
        "class_path: realign.tasks.VAETask\ninit_args:\n"
        + "".join(f"  a{k}: &a{k} [{', '.join([f'*a{k - 1}' if k else 'x'] * 10)}]\n" for k in range(9)),
        "[" * 400,
        "class_path: [os.system]",
        "class_path: realign.tasks.VAETask\ninit_args: [1]",
    ],
)
def test_yaml_with_objects_or_endless_aliases_is_refused(tmp_path: Path, marker: Path, text: str) -> None:
    folder = write_folder(tmp_path / "folder", {"class_path": "x"})
    (folder / "config.yaml").write_text(text.replace("MARKER", str(marker)))
    with pytest.raises(InputError):
        load_task(folder)


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.place,)


def test_the_attacks_would_work(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Touch(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()
