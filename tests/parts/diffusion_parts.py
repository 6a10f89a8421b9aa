"""An exactly solvable generator with data N(MEAN, STD^2) in every entry, and rewards on it."""

import torch

from realign.diffusion import VP, FlowMatching
from realign.diffusion.sampler import Sampler
from realign.guidance.config import GuidanceConfig
from realign.guidance.gradient import RewardGradient

MEAN, STD = 1.0, 0.5


def make_scheduler(name, kind="epsilon", **options):
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    from realign.diffusion.schedule import with_scheduler

    training = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type=kind, clip_sample=False)
    return with_scheduler(training, name, **options)


def levels(source, t):
    """alpha and sigma of a flow or of a diffusion's scheduler."""
    if isinstance(source, FlowMatching):
        sigma = t[:, None, None] / source.timesteps
        return 1 - sigma, sigma
    abar = torch.cumprod(1 - source.betas.double(), 0)[t].float()[:, None, None]
    return abar.sqrt(), (1 - abar).sqrt()


def path_of(source):
    return source if isinstance(source, FlowMatching) else VP(source)


def sampler(source, steps, scheduler=None, eta=0.0):
    return Sampler(path_of(source), steps, scheduler, eta)


def exact_denoiser(source, mean=MEAN, std=STD):
    """Posterior mean of x_0 (or of eps, v, u) given x_t: the best any denoiser can do."""

    def predict(x, t):
        alpha, sigma = levels(source, t)
        x0 = mean + std**2 * alpha / (alpha**2 * std**2 + sigma**2) * (x - alpha * mean)
        epsilon = (x - alpha * x0) / sigma
        outputs = {
            "sample": x0,
            "epsilon": epsilon,
            "v_prediction": alpha * epsilon - sigma * x0,
            "flow_prediction": epsilon - x0,
        }
        return outputs[path_of(source).prediction]

    return predict


def ancestral_step(scheduler, output, x, t, t_next, noise):
    """A sample of q(x_{t_next} | x_t, x_0) (Ho et al. 2020, equations 6 and 7); t_next None is the clean end."""
    abar = levels(scheduler, torch.tensor([t]))[0] ** 2
    abar_next = torch.ones(1, 1, 1) if t_next is None else levels(scheduler, torch.tensor([t_next]))[0] ** 2
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

    def __init__(self, source, slope, options=None, std=STD):
        self.source, self.slope, self.std = source, slope, std
        self.config = options or GuidanceConfig.plain()
        self.steps = []

    def reward(self, x_t, t, mask):
        self.steps.append(int(t[0]))
        alpha, sigma = levels(self.source, t.clamp(min=0))
        ratio = self.std**2 * alpha / (alpha**2 * self.std**2 + sigma**2)
        ratio = torch.where(t[:, None, None] < 0, 1.0, ratio)
        return (ratio * self.slope * x_t).sum((1, 2))


def seeds(*numbers):
    return torch.tensor(numbers)
