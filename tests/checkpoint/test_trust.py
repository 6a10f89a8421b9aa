"""Own components: they train without an option, and load again only with trust_code."""

from pathlib import Path

import pytest
import torch
import yaml
from attack_parts import ROOT, write_folder

from realign.checkpoint import admit, save_pretrained
from realign.checkpoint.admission import check_class
from realign.cli import build, main
from realign.configuration import read_config
from realign.errors import InputError
from realign.guidance import load_steering
from realign.inference import TextToMotion
from realign.nn import ConvVAE, Embedder
from realign.tasks import GeneratorTask, RewardTask, load_task

OWN = """
from realign.nn import ConvVAE, MdmDenoiser, RewardModel

class OwnDenoiser(MdmDenoiser):
    pass

class OwnReward(RewardModel):
    pass
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator and a reward with components of one's own, in folders and in a checkpoint."""
    home = tmp_path_factory.mktemp("own")
    (home / "parts_of_ones_own.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(home))
        for name, part, kind in (
            ("generator", "denoiser.class_path=parts_of_ones_own.OwnDenoiser", "generator_mdm"),
            ("reward", "model.class_path=parts_of_ones_own.OwnReward", "reward_feature"),
        ):
            model = read_config(ROOT / f"configs/tiny/{kind}.yaml")["model"]
            slot, _, value = part.partition("=")
            model["init_args"][slot.partition(".")[0]]["class_path"] = value
            (home / f"{name}.yaml").write_text(yaml.safe_dump({"model": model}))
            data = ["--data=realign.data.ProceduralDataModule", f"--data.folder={home / 'data'}", "--data.clips=48"]
            cli = build(["--config", str(home / f"{name}.yaml"), *data])
            cli.model.normalizer.fit(*cli.datamodule.statistics)
            cli.model.hparams["skeleton"] = "humanml3d"
            save_pretrained(cli.model, home / name)
            options = dict(cli.model.hparams)
            torch.save({"state_dict": cli.model.state_dict(), "hyper_parameters": options}, home / f"{name}.ckpt")
        yield home


@pytest.mark.parametrize("name", ["reward", "reward.ckpt"])
def test_own_components_load_with_trust_code(own: Path, name: str) -> None:
    for load in (load_task, Embedder.load, lambda path, **trust: load_steering(path, **trust)):
        with pytest.raises(InputError, match=r"names parts_of_ones_own.OwnReward, .* --trust-code .*trust_code=True"):
            load(own / name)
        load(own / name, trust_code=True)
    assert type(load_task(own / name, RewardTask, trust_code=True).model).__name__ == "OwnReward"
    assert isinstance(GeneratorTask.load_from_checkpoint(own / "generator.ckpt", trust_code=True), GeneratorTask)


def test_trust_extends_to_files_of_a_trusted_generator(own: Path) -> None:
    with pytest.raises(InputError, match="trust_code=True"):
        TextToMotion.from_pretrained(own / "generator", device="cpu")
    model = TextToMotion.from_pretrained(own / "generator", device="cpu", trust_code=True)
    assert type(model._guide(own / "reward", own / "index").reward.model).__name__ == "OwnReward"


def test_commands_have_the_trust_option(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(own / "generator.ckpt"), "-o", str(tmp_path / "out")]
    assert main(words) == 2 and "add --trust-code" in capsys.readouterr().err
    assert main([*words, "--trust-code"]) == 0
    config = (tmp_path / "out/config.yaml").read_text()
    assert "OwnDenoiser" in config and "optimizer" not in config
    start = ["--config", str(ROOT / "configs/tiny/reward_feature.yaml"), f"--model.checkpoint={own / 'reward.ckpt'}"]
    start += ["--trainer.logger=false", "--trainer.callbacks=null", f"--trainer.default_root_dir={tmp_path}"]
    start += [f"--data.folder={own / 'data'}", "--data.clips=48", "--trainer.max_steps=1"]
    start += ["--trainer.limit_val_batches=0"]
    assert main(["fit", *start]) == 2 and "add --trust-code" in capsys.readouterr().err
    start += ["--model.model.class_path=parts_of_ones_own.OwnReward"]
    assert main(["fit", *start, "--trust-code"]) == 0


@pytest.mark.parametrize(
    "name",
    [
        "realign.tasks.GeneratorTask",
        "realign.tasks.generator.GeneratorTask",
        "diffusers.DDPMScheduler",
        "diffusers.schedulers.DDIMScheduler",
        "diffusers.schedulers.scheduling_ddim.DDIMScheduler",
        "torch.nn.GELU",
        "torch.nn.modules.activation.ReLU",
    ],
)
def test_known_classes_need_no_trust(name: str) -> None:
    assert check_class(name, Path("x")).__name__ == name.rpartition(".")[2]


@pytest.mark.parametrize(
    "name",
    [
        "realign.tasks.base.LightningModule",
        "realign.text.cache.Path",
        "realign.callbacks.IndexBuilder",
        "realign.data.MotionDataModule",
        "realign.cli.main",
        "realign.cli.TextIOWrapper",
        "realign.nn.NoSuch",
        "realign.no_such.Class",
        "realign",
        "realign.nn",
        "realign..nn.RewardModel",
        "realign.nn.RewardModel ",
        "realignment.nn.RewardModel",
        "diffusers.UNet2DModel",
        "diffusers.NoSuchScheduler",
        "diffusers.pipelines.FlaxScheduler",
        "torch.nn.Module.load",
        "torch.nn.Sequential",
        "torch.nn.functional.gelu",
        "torch.hub.load",
        "",
    ],
)
def test_other_classes_need_trust(name: str) -> None:
    with pytest.raises(InputError):
        check_class(name, Path("x"))


def test_short_names_resolve_to_known_classes_only(tmp_path: Path) -> None:
    config = read_config(ROOT / "configs/tiny/vae.yaml")["model"]
    for name, told in (("ConvVAE", "do not fit its configuration"), ("OwnVAE", "names .*OwnVAE, which is outside")):
        config |= {"class_path": "VAETask"}
        config["init_args"]["vae"]["class_path"] = name
        with pytest.raises(InputError, match=told):
            load_task(write_folder(tmp_path / "short", config))


class OwnVAE(ConvVAE):
    """A class of a user that is in memory already."""


def test_paths_of_another_machine_are_removed_from_our_components_only() -> None:
    own = {"class_path": "my.Encoder", "init_args": {"cache_dir": "/mine"}}
    config = {"class_path": "realign.text.CachedTextEncoder", "init_args": {"cache_dir": "/theirs", "encoder": own}}
    assert admit(config, Path("x"), trust_code=True)["init_args"] == {"encoder": own}
