"""A path over the floor that the root follows."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from realign.errors import InputError
from realign.guidance.constraints import Constraint, Placement, Positions
from realign.motion.skeleton import Skeleton


class RootPath(Constraint):
    """The root follows a path over the floor; its height stays free.

    A smooth curve through the points is followed (Catmull-Rom). The motion begins at the first point and faces along
    the curve, unless another constraint says where it begins.

    Args:
        points: Points (x, z) in the world, in the skeleton's unit.
        seconds: When each is passed; None spreads them evenly over the motion.

    Raises:
        InputError: Fewer than two points, or times that do not rise from 0.
    """

    points: Tensor

    def __init__(self, points: Float[Tensor, "N 2"], seconds: Sequence[float] | None = None) -> None:
        super().__init__()
        points = torch.as_tensor(points).float()
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2 or not bool(points.isfinite().all()):
            raise InputError(f"A path of shape {tuple(points.shape)} is too short or not finite; give points (x, z).")
        if seconds is not None:
            seconds = [float(time) for time in seconds]
            if len(seconds) != len(points) or seconds[0] != 0 or sorted(set(seconds)) != seconds:
                raise InputError("The times of a path must rise from 0, one for each point.")
        self.register_buffer("points", points)
        self.seconds = seconds

    @property
    def placement(self) -> Placement:
        """The first point, facing along the curve."""
        moved = self.points[1:] - self.points[0]
        size = moved.norm(dim=1)
        direction = moved[int((size > 0).float().argmax())]
        facing = direction / direction.norm() if bool(size.any()) else torch.tensor([0.0, 1.0])
        return Placement(torch.stack([self.points[0, 0], torch.tensor(0.0), self.points[0, 1]]), facing)

    def on(self, frames: int, skeleton: Skeleton, placement: Placement) -> Positions:
        """The root's positions in every frame until the last point.

        Raises:
            InputError: The last point is passed after the end of the motion.
        """
        target = torch.zeros(frames, skeleton.num_joints, 3)
        kept = torch.zeros_like(target, dtype=torch.bool)
        curve = self.curve(frames, skeleton.fps)
        target[: len(curve), 0, 0], target[: len(curve), 0, 2] = curve.unbind(1)
        kept[: len(curve), 0, 0] = kept[: len(curve), 0, 2] = True
        return Positions(placement.into(target), kept, None, skeleton.metres)

    def curve(self, frames: int, fps: float) -> Float[Tensor, "F 2"]:
        """The path in every frame (x, z).

        Raises:
            InputError: As `on`.
        """
        last = (frames - 1) / fps
        times = torch.linspace(0, last, len(self.points)) if self.seconds is None else torch.tensor(self.seconds)
        if float(times[-1]) > last + 1 / fps:
            raise InputError(
                f"The path takes {float(times[-1]):g} s, but the motion {frames / fps:g} s; make the motion longer."
            )
        at = torch.arange(int(round(float(min(times[-1], torch.tensor(last))) * fps)) + 1) / fps
        return hermite(times, self.points, at)

    def forward(self, joints: Float[Tensor, "B F J 3"], mask: Bool[Tensor, "B F"]) -> Float[Tensor, "B *K"]:
        """Nothing is compared before the length of the motion is known, see `on`."""
        raise InputError("A path is followed by motions of a known length; take path.on(frames, skeleton, placement).")


def hermite(times: Float[Tensor, "N"], points: Float[Tensor, "N K"], at: Float[Tensor, "L"]) -> Float[Tensor, "L K"]:
    """A curve through points with the tangents of Catmull and Rom: its slope at a point is that between its neighbours.

    Args:
        times: When the points are passed, rising.
        points: The points.
        at: Where the curve is wanted, within the times.
    """
    steps = times.diff()[:, None]
    slopes = points.diff(dim=0) / steps
    inner = (points[2:] - points[:-2]) / (times[2:] - times[:-2])[:, None]
    tangents = torch.cat([slopes[:1], inner, slopes[-1:]])
    place = (torch.searchsorted(times, at.contiguous(), right=True) - 1).clamp(0, len(times) - 2)
    step = steps[place]
    u = (at - times[place])[:, None] / step
    start, end, first, second = points[place], points[place + 1], tangents[place] * step, tangents[place + 1] * step
    rise = u * u * (3 - 2 * u)
    return start + rise * (end - start) + u * (1 - u) ** 2 * first - u * u * (1 - u) * second
