"""Cameras in front of the person that show the whole trajectory or move along."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from realign.render.figure import Figure, moving_average

_MARGIN = 0.14  # metres around the points, for the thickness of limbs and head
_LONGEST_FRAMED = 3.2  # metres: longest trajectory for which a fixed camera shows the person large enough
_NEAR = 0.05  # nearest distance to the camera at which points are drawn, as a fraction of the target's


@dataclass(frozen=True)
class Camera:
    """A perspective camera with an upright picture.

    Attributes:
        axes: (3, 3) rows: right, up, and towards the camera.
        targets: (F, 3) target point of every frame.
        distance: Metres from target to camera.
        scale: Pixels per metre at the target.
        centre: Pixel of the target.
        follows: Whether `targets` moves.
    """

    axes: np.ndarray
    targets: np.ndarray
    distance: float
    scale: float
    centre: tuple[float, float]
    follows: bool

    def to_view(self, points: np.ndarray, frame: int | slice) -> np.ndarray:
        """World points (..., 3) in the camera's axes, metres from the target."""
        target = self.targets[frame]
        return (points - (target[:, None] if isinstance(frame, slice) else target)) @ self.axes.T

    def to_pixels(self, view: np.ndarray) -> np.ndarray:
        """Points in the camera's axes as pixels (..., 2), y down."""
        near = self.distance / np.maximum(self.distance - view[..., 2], _NEAR * self.distance)
        return np.stack([self.centre[0] + self.scale * view[..., 0] * near,
                         self.centre[1] - self.scale * view[..., 1] * near], axis=-1)  # fmt: skip

    def lines(self, ends: np.ndarray, frame: int) -> list[tuple[float, float, float, float]]:
        """World lines (N, 2, 3) in pixels (x, y, x, y), clipped in front of the camera."""
        view = self.to_view(ends, frame)
        depth, limit = view[..., 2], self._limit
        view, depth = view[depth.min(axis=1) <= limit], depth[depth.min(axis=1) <= limit]
        run = view[:, ::-1] - view
        fraction = (limit - depth) / np.where(np.abs(run[..., 2]) > 1e-9, run[..., 2], 1.0)
        cut = np.where((depth > limit)[..., None], view + fraction[..., None] * run, view)
        return [(a, b, c, d) for a, b, c, d in self.to_pixels(cut).reshape(-1, 4).tolist()]

    def polygon(self, corners: np.ndarray, frame: int) -> list[tuple[float, float]]:
        """A convex polygon (N, 3) in pixels, without the part behind the camera."""
        view, limit = self.to_view(corners, frame), self._limit
        kept: list[np.ndarray] = []
        for here, following in zip(view, np.roll(view, -1, axis=0), strict=True):
            if here[2] <= limit:
                kept.append(here)
            if (here[2] <= limit) != (following[2] <= limit):
                kept.append(here + (following - here) * ((limit - here[2]) / (following[2] - here[2])))
        return [(x, y) for x, y in self.to_pixels(np.array(kept)).tolist()] if len(kept) > 2 else []

    @property
    def _limit(self) -> float:
        return self.distance * (1 - 2 * _NEAR)


def choose_follow(figures: Sequence[Figure], camera: str) -> bool:
    """Whether the camera moves along: as given or, for "auto", if a trajectory is too long to be shown whole."""
    if camera != "auto":
        return camera == "follow"
    return any(float(np.ptp(f.points[:, 0, [0, 2]], axis=0).max()) > _LONGEST_FRAMED for f in figures)


def aim(
    figures: Sequence[Figure],
    size: tuple[int, int],
    follow: bool,
    azimuth: float,
    elevation: float,
    exact: bool = False,
) -> list[Camera]:
    """A camera for each figure, all at one scale, with every point of every frame in the picture.

    Args:
        figures: The figures.
        size: Width and height of the picture in pixels.
        follow: Follow the root instead of staying fixed.
        azimuth: Degrees from the front of the first pose towards the person's right.
        elevation: Degrees above the horizon.
        exact: With `follow`, keep the root in the middle instead of following smoothly.
    """
    cameras = [_turn(figure, follow, azimuth, elevation, exact) for figure in figures]
    distance = max(camera.distance for camera in cameras)
    boxes = []
    for figure, camera in zip(figures, cameras, strict=True):
        flat = replace(camera, distance=distance).to_pixels(camera.to_view(figure.points, slice(None)))
        boxes.append((flat.min(axis=(0, 1)) - _MARGIN, flat.max(axis=(0, 1)) + _MARGIN))
    extent = np.maximum(np.max([high - low for low, high in boxes], axis=0), 1.0)
    scale = float(min(size[0] / extent[0], size[1] / extent[1]))
    aimed = []
    for camera, (low, high) in zip(cameras, boxes, strict=True):
        middle = (low + high) / 2 * scale
        centre = (float(size[0] / 2 - middle[0]), float(size[1] / 2 - middle[1]))
        aimed.append(replace(camera, distance=distance, scale=scale, centre=centre))
    return aimed


def _turn(figure: Figure, follow: bool, azimuth: float, elevation: float, exact: bool) -> Camera:
    """A camera of scale 1, far enough away, that looks at the middle of the body or of the trajectory."""
    root = figure.points[:, 0].copy()
    root[:, 1] = 0.85
    if follow:
        targets = root if exact else moving_average(root, 2 * int(figure.fps / 2) + 1)
        extent = 2.0
    else:
        low, high = root.min(axis=0), root.max(axis=0)
        targets = np.repeat(((low + high) / 2)[None], len(root), axis=0)
        extent = 2.0 + float(np.linalg.norm(high - low))
    turn, lift = np.radians(azimuth), np.radians(elevation)
    ahead = figure.forward[0]
    to_right = np.array([-ahead[2], 0.0, ahead[0]])  # the person's right
    back = np.cos(lift) * (np.cos(turn) * ahead + np.sin(turn) * to_right) + (0.0, np.sin(lift), 0.0)
    right = np.array([back[2], 0.0, -back[0]]) / max(np.cos(lift), 1e-6)
    axes = np.stack([right, np.cross(back, right), back])
    return Camera(axes, targets, 3.0 * extent, 1.0, (0.0, 0.0), follow)
