"""An exactly solvable generator, data N(MEAN, STD^2) in every entry, and rewards on it: the doubles of these tests."""

import torch

from realign.diffusion.guidance import GuidanceOptions, RewardGradient

MEAN, STD = 1.0, 0.5


def make_scheduler(name, kind="epsilon", **options):
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    from realign.diffusion.schedule import with_scheduler

    training = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type=kind, clip_sample=False)
    return with_scheduler(training, name, **options)


def levels(scheduler, t):
    return torch.cumprod(1 - scheduler.betas.double(), 0)[t].float()[:, None, None]


def exact_denoiser(scheduler, mean=MEAN, std=STD):
    """Posterior mean of x_0 (or of eps, v) given x_t: the best any denoiser can do."""

    def predict(x, t):
        abar = levels(scheduler, t)
        x0 = mean + std**2 * abar.sqrt() / (abar * std**2 + 1 - abar) * (x - abar.sqrt() * mean)
        epsilon = (x - abar.sqrt() * x0) / (1 - abar).sqrt()
        velocity = abar.sqrt() * epsilon - (1 - abar).sqrt() * x0
        return {"sample": x0, "epsilon": epsilon, "v_prediction": velocity}[scheduler.config.prediction_type]

    return predict


def ancestral_step(scheduler, output, x, t, t_next, noise):
    """A sample of q(x_{t_next} | x_t, x_0) (Ho et al. 2020, equations 6 and 7); t_next None is the clean end."""
    abar = levels(scheduler, torch.tensor([t]))
    abar_next = torch.ones(1, 1, 1) if t_next is None else levels(scheduler, torch.tensor([t_next]))
    x0 = {
        "sample": output,
        "epsilon": (x - (1 - abar).sqrt() * output) / abar.sqrt(),
        "v_prediction": abar.sqrt() * x - (1 - abar).sqrt() * output,
    }[scheduler.config.prediction_type]
    alpha = abar / abar_next
    mean = (abar_next.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - abar_next) * x) / (1 - abar)
    return mean + ((1 - abar_next) / (1 - abar) * (1 - alpha)).sqrt() * noise


class LinearReward(RewardGradient):
    """log E[exp(slope . x_0) | x_t] of the Gaussian, up to a constant; remembers the steps it was asked at."""

    def __init__(self, scheduler, slope, options=None, std=STD):
        self.scheduler, self.slope, self.std = scheduler, slope, std
        self.options = options or GuidanceOptions()
        self.steps = []

    def reward(self, x_t, t, mask):
        self.steps.append(int(t[0]))
        abar = levels(self.scheduler, t.clamp(min=0))
        gain = self.std**2 * abar.sqrt() / (abar * self.std**2 + 1 - abar)
        gain = torch.where(t[:, None, None] < 0, 1.0, gain)
        return (gain * self.slope * x_t).sum((1, 2))


def seeds(*numbers):
    return torch.tensor(numbers)
