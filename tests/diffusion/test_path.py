"""Noise paths against the papers' formulas, and their tables on the device."""

from collections import Counter

import pytest
import torch
from diffusion_parts import make_scheduler
from torch.utils._python_dispatch import TorchDispatchMode

from realign.diffusion import CLEAN_STEP, VP, FlowMatching
from realign.diffusion.path import Clean
from realign.diffusion.schedule import SCHEDULER_NAMES
from realign.errors import InputError

KINDS = ["epsilon", "sample", "v_prediction"]
PATHS = {"vp": lambda: VP(make_scheduler("ddim", "v_prediction")), "flow": lambda: FlowMatching(2.0), "clean": Clean}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SCHEDULER_NAMES)
def test_diffusions_have_the_published_form_for_every_scheduler(name, kind):
    scheduler = make_scheduler(name, kind)
    path = VP(scheduler)
    scheduler.set_timesteps(10)  # the schedulers' own add_noise changes its result after this
    x, noise = torch.randn(2, 4, 3, 2).unbind()
    t = torch.tensor([0, 7, 501, 990])
    noisy, target = path.interpolate(x, noise, t), path.target(x, noise, t)
    shifted = path.score_shift(target, x, t)
    for i, step in enumerate(t.tolist()):
        abar = torch.prod(1 - scheduler.betas.double()[: step + 1])
        a, s = abar.sqrt(), (1 - abar).sqrt()
        velocity = a * noise[i].double() - s * x[i].double()
        expected = {"epsilon": noise[i].double(), "sample": x[i].double(), "v_prediction": velocity}[kind]
        push = {"epsilon": -s, "sample": s**2 / a, "v_prediction": -s / a}[kind]
        close = {"rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(noisy[i].double(), a * x[i].double() + s * noise[i].double(), **close)
        torch.testing.assert_close(target[i].double(), expected, **close)
        torch.testing.assert_close(shifted[i].double(), expected + push * x[i].double(), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(path.alpha(t)[i].item(), a.item(), **close)
        torch.testing.assert_close(path.sigma(t)[i].item(), s.item(), **close)
    torch.testing.assert_close(path.to_sample(target, noisy, t), x, rtol=1e-3, atol=1e-3)


def test_a_flow_is_a_straight_line():
    path = FlowMatching(3.0)
    x, noise = torch.randn(2, 4, 3, 2).unbind()
    t = torch.tensor([0.0, 0.5, 250.0, 1000.0])
    s = (t / 1000)[:, None, None]
    torch.testing.assert_close(path.interpolate(x, noise, t), x + s * (noise - x))
    velocity = path.target(x, noise, t)
    torch.testing.assert_close(velocity, noise - x)
    torch.testing.assert_close(path.to_sample(velocity, x + s * velocity, t), x)
    shifted = path.score_shift(velocity, noise, t)
    torch.testing.assert_close(shifted[:3], (velocity - s / (1 - s) * noise)[:3])
    assert torch.equal(shifted[3], velocity[3])  # pure noise


@pytest.mark.parametrize("name", PATHS)
def test_the_clean_timestep_adds_no_noise(name):
    path, x, t = PATHS[name](), torch.randn(2, 3, 2), torch.tensor([CLEAN_STEP, CLEAN_STEP])
    assert torch.equal(path.interpolate(x, torch.randn(2, 3, 2), t), x)
    assert torch.equal(path.interpolate(x, torch.randn(2, 3, 2), t.float()), x)


def test_timesteps_are_drawn_from_the_part_asked_for():
    path, everyone = VP(make_scheduler("ddpm")), torch.arange(200_000)

    def drawn(path, between=(0.0, 1.0), seeds=everyone):
        return path.draw(seeds, "timestep", "cpu", between)

    counts = torch.bincount(drawn(path), minlength=1000)
    assert len(counts) == 1000 and counts.min() > 120 and counts.max() < 290  # 200 each
    part = drawn(path, (0.3, 0.4))
    assert part.min() == 300 and part.max() == 399
    assert (drawn(path, (0.6, 0.6)) == 600).all() and (drawn(path, (1.0, 1.0)) == 999).all()
    for each in (path, FlowMatching(), Clean()):
        assert (drawn(each, None) == CLEAN_STEP).all()
    assert (drawn(Clean()) == CLEAN_STEP).all()
    uniform, shifted = drawn(FlowMatching()), drawn(FlowMatching(3.0))
    assert uniform.is_floating_point() and uniform.min() >= 0 and uniform.max() < 1000
    assert uniform.mean() == pytest.approx(500, abs=3)
    s = uniform / 1000
    torch.testing.assert_close(shifted / 1000, 3 * s / (1 + 2 * s))  # Esser et al. 2024, equation 23
    assert torch.equal(drawn(path, seeds=everyone[7:9]), drawn(path)[7:9])


def test_tables_follow_the_model_and_enter_no_checkpoint():
    model = torch.nn.ModuleDict({"path": VP(make_scheduler("ddpm"))})
    assert not model.state_dict()
    assert {each.device.type for each in model.to("meta").buffers()} == {"meta"}
    assert model["path"].alpha(torch.zeros(2, dtype=torch.long, device="meta")).device.type == "meta"


@pytest.mark.parametrize("name", PATHS)
def test_paths_do_not_wait_for_the_device(name):
    path, seen = PATHS[name](), Counter()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen[str(function)] += 1
            return function(*args, **(kwargs or {}))

    x, noise, seeds = torch.randn(4, 3, 2), torch.randn(4, 3, 2), torch.arange(4)
    with Watch():
        t = path.draw(seeds, "timestep", "cpu")
        x_t, output = path.interpolate(x, noise, t), path.target(x, noise, t)
        path.score_shift(path.to_sample(output, x_t, t), noise, t)
    assert seen and not [each for each in seen if "local_scalar_dense" in each or "nonzero" in each]


def test_fingerprints_identify_the_noise():
    assert FlowMatching().fingerprint == FlowMatching(3.0).fingerprint == "flow-1000"
    assert FlowMatching(timesteps=100).fingerprint == "flow-100"
    assert VP(make_scheduler("ddpm")).fingerprint == VP(make_scheduler("unipc", "sample")).fingerprint
    assert VP(make_scheduler("ddpm")).fingerprint == "vp-1000-squaredcos_cap_v2"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"shift": 0.0}, "shift of a flow must be a positive number, but is 0.0"), ({"shift": float("nan")}, "is nan"),
     ({"timesteps": 1}, "at least 2, but are 1"),
     ({"prediction": "epsilon"}, "one of flow_prediction, sample, but not 'epsilon'")],
)  # fmt: skip
def test_bad_flows_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        FlowMatching(**options)


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        (
            "flow",
            (10, "ddim"),
            "'ddim' cannot sample a flow, which the .* choose one of euler, heun",
        ),
        ("flow", (10, make_scheduler("dpm")), "'DPMSolverMultistepScheduler' cannot sample a flow"),
        ("flow", (0,), "0 steps; choose 1 to 1000"),
        ("flow", (10, "heun", 0.5), "eta=0.5 does not suit a flow"),
        ("vp", (10, "euler"), "'euler' cannot sample a diffusion; choose one of ddim"),
        ("vp", (10, make_scheduler("ddim", "epsilon")), "prediction type v_prediction, but the scheduler has"),
        ("vp", (10, make_scheduler("ddim", "v_prediction", beta_schedule="linear")), "same betas"),
        ("clean", (10,), "trained without noise cannot be sampled"),
    ],
)
def test_samplers_that_do_not_fit_are_refused(path, arguments, message):
    with pytest.raises(InputError, match=message):
        PATHS[path]().solver(*arguments)
