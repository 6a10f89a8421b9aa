from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward's weights with an index, another reward, one of latents, a generator and two evaluators, by name."""
    from steer_parts import motion_index, space
    from task_parts import CONV_VAE, TinyData, command
    from task_parts import reward as config

    from realign.tasks import save_pretrained
    from realign.training import TrainingCLI

    folder = tmp_path_factory.mktemp("models")
    quiet, options = {"dropout": 0.0}, {"num_train_timesteps": 100, "beta_end": 0.15, "clip_sample": False}
    noise = {"class_path": "diffusers.DDPMScheduler", "init_args": options}
    for name, model in {
        "reward": config(model=quiet, scheduler=noise),
        "evaluator": config(model={**quiet, "step_aware": False}, scheduler=noise),
        "latent": config(
            space={"class_path": "LatentSpace", "init_args": {"vae": CONV_VAE}}, model=quiet, scheduler=noise
        ),
    }.items():
        task = TrainingCLI.from_args(command(folder / "runs" / name, model), run=False).model
        task.normalizer.fit(*TinyData().statistics)
        task.hparams["skeleton"] = task._skeleton = "humanml3d"
        if name == "latent":
            task.space.load_state_dict(space(True).state_dict())
        task.eval()
        save_pretrained(task, folder / name)
        if name == "reward":
            motion_index(task).save(folder / "index")
    configs = Path(__file__).parents[2] / "configs/tiny"
    for name, stem in {
        "generator": "generator_mdm", "contrastive": "evaluator_contrastive", "guo": "evaluator_guo",
    }.items():  # fmt: skip
        words = ["--config", str(configs / f"{stem}.yaml"), f"--data.init_args.folder={folder / 'data'}"]
        task = TrainingCLI.from_args(words, run=False).model
        task.normalizer.fit(*TinyData().statistics)
        task.hparams["skeleton"] = "humanml3d"
        save_pretrained(task.eval(), folder / name)
    return folder
