import pytest
import torch
from diffusion_parts import make_scheduler

from realign.diffusion.schedule import (
    SCHEDULER_NAMES,
    check_scheduler,
    noise_levels,
    schedule_fingerprint,
    with_scheduler,
)
from realign.errors import InputError

GRID = [(name, {"timestep_spacing": spacing}) for name in SCHEDULER_NAMES for spacing in ("trailing", "linspace")]
KARRAS = [(name, {"use_karras_sigmas": True}) for name in ("dpm", "unipc")]


@pytest.mark.parametrize(("name", "options"), GRID + KARRAS)
def test_timesteps_are_those_of_the_scheduler(name, options):
    scheduler = make_scheduler(name, **options)
    scheduler.set_timesteps(10)
    levels = noise_levels(scheduler)
    assert len(levels) == 11 and levels[-1] == 1 and (levels.diff() > 0).all()
    if "use_karras_sigmas" not in options:
        torch.testing.assert_close(levels[:-1], torch.cumprod(1 - scheduler.betas, 0)[scheduler.timesteps])


def test_sampling_schedulers_keep_what_the_generator_was_trained_with():
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    training = DDPMScheduler(
        num_train_timesteps=500,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="sample",
    )
    for name in SCHEDULER_NAMES:
        scheduler = with_scheduler(training, name)
        check_scheduler(scheduler)  # the training scheduler itself clips, the sampling ones do not
        assert scheduler.config.prediction_type == "sample"
        assert torch.equal(scheduler.alphas_cumprod, training.alphas_cumprod)
        assert schedule_fingerprint(scheduler) == schedule_fingerprint(training) == "vp-500-scaled_linear-0.00085-0.012"
    with pytest.raises(InputError, match="'ddmi' cannot sample a diffusion; choose one of ddim"):
        with_scheduler(training, "ddmi")


def test_fingerprints_depend_on_the_noise_only():
    same = [make_scheduler(name, kind) for name in SCHEDULER_NAMES for kind in ("epsilon", "v_prediction")]
    assert {schedule_fingerprint(scheduler) for scheduler in same} == {"vp-1000-squaredcos_cap_v2"}
    others = [
        make_scheduler("ddim", beta_schedule="linear"),
        make_scheduler("ddim", beta_schedule="linear", beta_end=0.03),
        make_scheduler("ddim", trained_betas=[0.1, 0.2]),
        make_scheduler("ddim", trained_betas=[0.1, 0.3]),
        make_scheduler("ddim", "sample", rescale_betas_zero_snr=True),
    ]
    assert len({schedule_fingerprint(scheduler) for scheduler in [*same, *others]}) == 6


def test_schedulers_without_the_assumed_algebra_are_refused():
    import diffusers

    for kind in ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler",
                 "LMSDiscreteScheduler", "FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler"):  # fmt: skip
        with pytest.raises(InputError, match=f"{kind} is not variance preserving.*choose one of DDIMScheduler"):
            check_scheduler(getattr(diffusers, kind)())
    for kind in ("DEISMultistepScheduler", "DPMSolverSinglestepScheduler", "SASolverScheduler"):
        check_scheduler(getattr(diffusers, kind)())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ddim", {"clip_sample": True}, "set clip_sample: false"),
        ("dpm", {"thresholding": True}, "set thresholding: false"),
        ("ddpm", {"variance_type": "learned_range"}, "unset it"),
        ("ddim", {"rescale_betas_zero_snr": True}, "use v_prediction"),
        ("dpm", {"use_flow_sigmas": True}, "not variance preserving"),
        ("ddim", {"prediction_type": "noise"}, "set one of epsilon"),
    ],
)
def test_options_that_clip_or_rescale_motions_are_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        check_scheduler(make_scheduler(name, **options))


@pytest.mark.parametrize("name", SCHEDULER_NAMES)
def test_values_passed_by_position_are_kept(name: str) -> None:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    training = DDPMScheduler(100, 0.001, 0.2, clip_sample=False)
    assert schedule_fingerprint(with_scheduler(training, name)) == schedule_fingerprint(training)
