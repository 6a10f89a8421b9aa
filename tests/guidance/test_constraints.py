"""Constraints: their placement in the world, the least-squares solver, and the accuracy with tiny generators."""

from pathlib import Path

import numpy as np
import pytest
import torch
from steer_parts import LENGTHS, captions, generator, reward, seeds
from torch import Tensor

from realign.diffusion.windows import WindowPlan
from realign.errors import InputError
from realign.guidance import BestOfN, Constraint, ConstraintConfig, GuidanceConfig, Positions, RewardObjective, RootPath
from realign.guidance.constrained import ConstraintGuidance
from realign.guidance.constraints import Placement, deviations, place
from realign.guidance.least_squares import conjugate_gradients, smooth
from realign.guidance.paths import hermite
from realign.guidance.ranges import read_range
from realign.guidance.several import SeveralRewards
from realign.guidance.steering import RewardSteering
from realign.inference import TextToMotion
from realign.inference.constraining import keep
from realign.inference.objectives import read_objectives, read_path
from realign.interfaces import TextToMotionModel
from realign.masking import lengths_to_mask
from realign.motion.clip import MotionClip
from realign.motion.features import consistent_features, features_to_joints, joints_to_features
from realign.motion.rotations import rotate_yaw
from realign.motion.skeleton import HUMANML3D
from realign.tasks import GeneratorTask


def walk(frames: int, turn: float = 0.02, speed: float = 0.03) -> Tensor:
    """A figure of the skeleton's bones that walks along a curve and swings its arms."""
    offsets = torch.tensor(HUMANML3D.rest_offsets)
    time = torch.arange(frames)[:, None]
    swing = 0.3 * torch.sin(0.4 * time + torch.arange(22))
    joints = torch.zeros(frames, 22, 3)
    joints[:, 0, 1] = 0.9
    for joint, parent in enumerate(HUMANML3D.parents):
        if parent >= 0:
            side = torch.stack([torch.zeros(frames), torch.sin(swing[:, joint]), torch.cos(swing[:, joint])], -1)
            bone = offsets[joint] / offsets[joint].norm() + 0.2 * side
            joints[:, joint] = joints[:, parent] + offsets[joint].norm() * bone / bone.norm(dim=-1, keepdim=True)
    angle = turn * time[:, 0]
    direction = torch.stack([-torch.sin(angle), torch.cos(angle)], -1)
    step = speed * torch.stack([torch.sin(angle), torch.zeros(frames), torch.cos(angle)], -1)
    return rotate_yaw(direction[:, None], joints) + step.cumsum(0)[:, None]


def clip(frames: int = 24) -> MotionClip:
    return MotionClip(walk(frames).numpy() + np.array([3.0, 0.5, -2.0], np.float32), 20)


def test_rotations_velocities_and_contacts_follow_from_root_and_positions() -> None:
    features = joints_to_features(walk(40), HUMANML3D)
    torch.testing.assert_close(consistent_features(features), features, atol=1e-4, rtol=0)
    broken = features.clone()
    broken[:-1, 67:] = 7.0
    torch.testing.assert_close(consistent_features(broken)[:-1], features[:-1], atol=1e-4, rtol=0)


def test_conjugate_gradients_solve_damped_least_squares_row_by_row() -> None:
    torch.manual_seed(0)
    matrix, wanted = torch.randn(3, 7, 10).double(), torch.randn(3, 7).double()
    matrix[1] *= 100
    found = conjugate_gradients(
        lambda d: torch.einsum("bkn,bnw->bk", matrix, d), lambda s: torch.einsum("bkn,bk->bn", matrix, s)[..., None],
        wanted, 40, 0.1,
    )[..., 0]  # fmt: skip
    inner = matrix.mT @ matrix + 0.1 * torch.eye(10).double()
    torch.testing.assert_close(found, torch.linalg.solve(inner, torch.einsum("bkn,bk->bn", matrix, wanted)))
    assert not conjugate_gradients(lambda d: d.flatten(1), lambda s: s[..., None], torch.zeros(2, 4), 5, 0.1).any()


def test_few_iterations_find_the_best_of_their_krylov_space() -> None:
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(30, 30).double()).Q for _ in range(2))
    matrix = left * torch.logspace(3, -3, 30).double() @ right
    wanted = torch.randn(1, 30).double()
    for iterations in (2, 6, 10, 14):
        found = conjugate_gradients(
            lambda d: d[..., 0] @ matrix.T, lambda s: (s @ matrix)[..., None], wanted, iterations, 1e-4
        )[0, :, 0]
        basis = torch.nn.functional.normalize(matrix.T @ wanted[0], dim=0)[:, None]
        for _ in range(iterations - 1):
            following = matrix.T @ (matrix @ basis[:, -1])
            for _ in range(3):
                following = following - basis @ (basis.T @ following)
            basis = torch.cat([basis, torch.nn.functional.normalize(following, dim=0)[:, None]], 1)
        image = torch.cat([matrix @ basis, 1e-2 * basis])
        expected = (
            basis @ torch.linalg.lstsq(image, torch.nn.functional.pad(wanted[0], (0, 30))[:, None]).solution[:, 0]
        )
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_smoothing_is_its_own_transpose_and_keeps_to_the_mask() -> None:
    mask = lengths_to_mask(torch.tensor([9, 5]))
    for width in (0.0, 0.5, 2.0):
        a, b = (torch.randn(2, 9, 3).double() * mask[..., None] for _ in range(2))
        torch.testing.assert_close((smooth(a, mask, width) * b).sum((1, 2)), (a * smooth(b, mask, width)).sum((1, 2)))
        assert not smooth(a, mask, width)[~mask].any()


def test_placements_are_undone() -> None:
    start = Placement(torch.tensor([3.0, 0.2, -1.0]), torch.tensor([0.6, 0.8]))
    points = torch.randn(5, 4, 3)
    torch.testing.assert_close(start.back(start.into(points)), points)
    ahead = torch.tensor([3.6, 0.2, -0.2])  # one metre where it faces
    torch.testing.assert_close(start.into(ahead), torch.tensor([0.0, 0.0, 1.0]))


def test_a_kept_motion_begins_at_the_origin_and_ahead() -> None:
    kept = keep(clip(), ["0:8", "-4:"], ["pelvis", "left_wrist"])
    assert kept.kept.any(-1).sum().item() == 24 and kept.kept[[0, 7, 20, 23], 20].all() and not kept.kept[8:20].any()
    (placed,), start = place([kept], 28, HUMANML3D)
    own = placed.target[0]
    assert placed.target.shape == (28, 22, 3) and not placed.kept[24:].any()
    assert own[0, [0, 2]].abs().max() < 1e-5 and own[1, 0] > own[2, 0]  # the left hip is at the left of Z+
    torch.testing.assert_close(start.back(placed.target[:24]), kept.target)
    assert placed.target[:24, :, 1].min().abs() < 1e-5
    torch.testing.assert_close(
        placed.deviation(own + torch.tensor([0.03, 0.0, 0.04])[None, None])[:2], torch.full((2,), 0.05)
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"frames": ["9:9"]}, "holds none of the 24 frames"),
        ({"frames": ["a:b"]}, "not a range"),
        ({"frames": [":"]}, None),
        ({"joints": ["hand"]}, "no joint 'hand'"),
        ({"skeleton": "kit"}, "the skeleton 'humanml3d'"),
    ],
)
def test_what_cannot_be_kept_is_refused(given: dict, told: str | None) -> None:
    if told is None:
        assert keep(clip(), **given).kept.all()
        return
    with pytest.raises(InputError, match=told):
        keep(clip(), **given)


def test_ranges_count_from_either_end() -> None:
    expected = {"0:20": (0, 20), "-60:": (-60, None), ":5": (None, 5), "7": (7, 8), "-1": (-1, None), "-2": (-2, -1)}
    for text, values in expected.items():
        assert read_range(text) == values and len(range(100)[slice(*values)]) in (20, 60, 5, 1)
    for wrong in ("", "a", "1:2:3"):
        with pytest.raises(InputError, match="not a range"):
            read_range(wrong)


def test_curves_pass_their_points_smoothly() -> None:
    times, points = torch.tensor([0.0, 1.0, 3.0, 4.0]), torch.tensor([[0.0, 0.0], [1.0, 2.0], [4.0, 2.0], [4.0, 0.0]])
    torch.testing.assert_close(hermite(times, points, times), points)
    line = torch.stack([2 * times, -times], 1)
    at = torch.linspace(0, 4, 30)
    torch.testing.assert_close(hermite(times, line, at), torch.stack([2 * at, -at], 1))
    fine = hermite(times, points, torch.linspace(0, 4, 4001)).diff(dim=0) * 1000
    assert fine.diff(dim=0).abs().max() < 0.05  # the slope has no jump


def test_paths_are_read_and_refused(tmp_path: Path) -> None:
    files = {"a.csv": "x,z\n0,0\n1,2\n", "b.csv": "0;0;0\n1.5;1;2\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    np.save(tmp_path / "c.npy", np.array([[0.0, 0.0], [1.0, 2.0]]))
    even, timed, stored = (read_path(tmp_path / name) for name in ("a.csv", "b.csv", "c.npy"))
    assert even.seconds is None and timed.seconds == [0, 1.5] and torch.equal(even.points, stored.points)
    assert even.curve(41, 20).shape == (41, 2) and timed.curve(41, 20).shape == (31, 2)
    torch.testing.assert_close(timed.curve(41, 20)[-1], torch.tensor([1.0, 2.0]))
    with pytest.raises(InputError, match=r"takes 1.5 s, but the motion 1 s"):
        timed.curve(20, 20)
    for text in ("1,2\n", "a\n", "1,2\n3,4,5\n", "0,0,0\n0,1,1\n", ""):
        (tmp_path / "wrong.csv").write_text(text)
        with pytest.raises(InputError):
            read_path(tmp_path / "wrong.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_path(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe0,0")
    with pytest.raises(InputError, match=r"binary.csv, line 1: it is not UTF-8 text; save the file as UTF-8\.$"):
        read_path(tmp_path / "binary.csv")  # one sentence, not one around another


class Level(Constraint):
    """The root stays at a height: a constraint of one's own."""

    def forward(self, joints: Tensor, mask: Tensor) -> Tensor:
        return (joints[:, :, 0, 1] - 1.2) * mask


CASES = {
    "prefix": lambda: keep(clip(), ["0:8"]),
    "between": lambda: keep(clip(), ["0:4", "-4:"]),
    "wrist": lambda: keep(clip(), ["::"[:1]], ["left_wrist"]),
    "path": lambda: RootPath(torch.tensor([[1.0, 1.0], [1.4, 1.2], [1.5, 1.6]])),
    "own": Level,
}


@pytest.mark.parametrize("latent", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_constraints_are_met(latent: bool, case: str) -> None:
    model = TextToMotion(generator(latent, steps=2))
    constraint = CASES[case]()
    seconds = None if case in ("prefix", "between", "wrist") else 1.2
    made = model.generate(["walk"], seconds, constraints=[constraint])
    plain = model.generate(["walk"], 1.2, raw=True)
    assert all(len(each) == 24 for each in made)
    if case == "own":
        assert all(np.abs(each.joints[:, 0, 1] - 1.2).mean() < 0.02 for each in made)
        assert all(np.abs(each.joints[:, 0, 1] - 1.2).mean() > 0.1 for each in plain)
        return
    assert all(deviations([constraint], each).mean() < 0.03 for each in made)
    assert all(deviations([constraint], each).mean() > 0.1 for each in plain)


def guided(task: GeneratorTask, rows: list[int], *ranges: str, frames: int = 12, **options: object) -> Tensor:
    kept, lengths = keep(clip(frames), ranges or ["0:6"]), LENGTHS[rows].clamp(min=frames)
    (placed,), _ = place([kept], frames, HUMANML3D)
    guidance = ConstraintGuidance([placed], task, lengths, ConstraintConfig(**options))  # type: ignore[arg-type]
    return task.sample(captions(rows), lengths, seeds(*rows), guidance=guidance)


@pytest.mark.parametrize("latent", [False, True])
def test_a_constrained_motion_does_not_depend_on_its_batch(latent: bool) -> None:
    task, rows = generator(latent, steps=2), [0, 1, 2]
    ends = ("0:6", "-6:")  # where the far end is kept, rounding once grew a thousandfold
    together = guided(task, rows, *ends, frames=24)
    for row in rows:
        alone = guided(task, [row], *ends, frames=24)[0]
        made = [features_to_joints(each[:24]) for each in (together[row], alone)]
        torch.testing.assert_close(*made, atol=1e-4, rtol=0)


def test_a_window_without_steps_leaves_the_work_to_the_end() -> None:
    task, rows = generator(steps=2), [0, 1]
    plain = task.sample(captions(rows), LENGTHS[rows], seeds(*rows))
    assert torch.equal(guided(task, rows, start=1.0, finish=False), plain)
    assert not torch.allclose(guided(task, rows, start=1.0), plain, atol=1e-2)
    half = guided(task, rows, strength=0.5, finish=False)
    assert not torch.allclose(half, guided(task, rows, finish=False), atol=1e-3)
    for wrong in ({"strength": 0.0}, {"start": 0.8, "stop": 0.2}, {"iterations": 0}, {"smoothing": -1.0}):
        with pytest.raises(InputError):
            ConstraintConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["reward", "best-of", "several"])
def test_rewards_and_constraints_steer_together(method: str) -> None:
    task = generator(steps=2)
    given = {"method": "best-of" if method == "best-of" else "reward", "start": 0.0, "interval": 1, "candidates": 2}
    objective = RewardObjective(reward(), None, GuidanceConfig.of({**given, "strength": 100.0}))
    single = (BestOfN if method == "best-of" else RewardSteering)(objective)
    steering = SeveralRewards([single, single]) if method == "several" else single
    model, kept = TextToMotion(task), keep(clip(), ["0:8"])
    made = model.generate(["walk"], guidance=steering, constraints=[kept])[0]
    assert deviations([kept], made).mean() < 0.03
    other = model.generate(["walk"], guidance="none", constraints=[kept])[0]
    assert np.abs(made.joints - other.joints).max() > 1e-3
    if method == "several":
        doubled = RewardSteering(RewardObjective(reward(), None, GuidanceConfig.of({**given, "strength": 200.0})))
        one, two = (model.generate(["walk"], 1, guidance=each)[0].joints for each in ([single], single))
        np.testing.assert_array_equal(one, two)
        assert np.abs(model.generate(["walk"], 1, guidance=steering)[0].joints - one).max() > 1e-4
        assert doubled.config.strength == 200
        with pytest.raises(InputError, match="gradients together"):
            SeveralRewards([BestOfN(objective)])


def test_sequences_meet_constraints_across_windows() -> None:
    model, path = TextToMotion(generator(steps=2)), RootPath(torch.tensor([[0.0, 0.0], [0.5, 1.0], [1.5, 1.0]]))
    (made,) = model.generate_sequence([("walk", 2), ("run", 2)], constraints=[path])
    assert len(made) == 80 and deviations([path], made).mean() < 0.06
    assert WindowPlan([[40, 40]]).lengths == [80]


def test_what_cleaning_moves_of_the_kept_is_put_back() -> None:
    kept, model = keep(clip(), ["0:8", "-4:"]), TextToMotion(generator(steps=2))
    (clean,), (raw,) = (model.generate(["walk"], constraints=[kept], raw=raw) for raw in (False, True))
    parents = list(HUMANML3D.parents[1:])

    def stretch(each: MotionClip) -> float:
        return float(np.ptp(np.linalg.norm(each.joints[:, 1:] - each.joints[:, parents], axis=-1), axis=0).max())

    assert deviations([kept], clean).mean() < 0.01 and stretch(clean) < 0.5 * stretch(raw)


def test_lengths_and_generators_that_cannot_meet_constraints_are_refused() -> None:
    model = TextToMotion(generator())
    with pytest.raises(InputError, match="do not say how long"):
        model.generate(["walk"], constraints=[RootPath(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))])
    with pytest.raises(InputError, match="Frame 23 is to be kept, but the motion has 20 frames"):
        model.generate(["walk"], seconds=1, constraints=[keep(clip())])
    with pytest.raises(InputError, match="last 10 s"):
        model.generate(["walk"], constraints=[keep(clip(201))])

    class Other(TextToMotionModel):
        skeleton, device = "humanml3d", torch.device("cpu")

        def sample(self, captions: list[str], lengths: Tensor, seeds: Tensor) -> Tensor:
            return torch.zeros(len(captions), int(lengths.max()), 263)

    with pytest.raises(InputError, match="steer a diffusion, but the generator is a Other"):
        TextToMotion(Other()).generate(["walk"], constraints=[keep(clip())])


def test_objectives_are_read_from_yaml(tmp_path: Path) -> None:
    np.save(tmp_path / "walk.npy", walk(24).numpy())
    (tmp_path / "path.csv").write_text("0,0\n1,1\n")
    (tmp_path / "guide.yaml").write_text(
        "constraints:\n- {keep: walk.npy, frames: ['0:8', -1], joints: left_wrist}\n- {path: path.csv}\n"
        "strength: 0.5\nrewards:\n- {reward: reward, strength: 100}\n"
    )
    found = read_objectives(tmp_path / "guide.yaml", HUMANML3D)
    assert isinstance(found.constraints[0], Positions) and found.constraints[0].kept.any(-1).sum() == 9
    assert isinstance(found.constraints[1], RootPath) and found.config == ConstraintConfig(strength=0.5)
    assert found.rewards == [{"reward": "reward", "strength": 100}]
    wrong = {
        "": "no objectives", "constraints: {}": "no objectives", "constraints: [walk]": "not a constraint",
        "constraints: [{keep: walk.npy, of: 1}]": "not a constraint", "rewards: [{strength: 1}]": "names no reward",
        "constraints: [{path: path.csv}]\nspeed: 1": "unknown option 'speed'", "[": "cannot be read",
        "constraints: [{path: path.csv}]\nstrength: a": "not a number",
    }  # fmt: skip
    for text, told in wrong.items():
        (tmp_path / "wrong.yaml").write_text(text)
        with pytest.raises(InputError, match=told):
            read_objectives(tmp_path / "wrong.yaml", HUMANML3D)


def test_joints_of_features_meet_what_is_kept() -> None:
    task = generator()
    made = guided(task, [1])
    (placed,), _ = place([keep(clip(12), ["0:6"])], 12, HUMANML3D)
    assert placed.deviation(features_to_joints(made[0])).mean() < 0.03  # type: ignore[attr-defined]
