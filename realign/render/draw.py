"""A small software rasteriser: floor, trajectory, shadow and a rounded person, drawn by Pillow at double size."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from realign.render.camera import Camera
from realign.render.figure import SOLE, Figure, Part

Colour = tuple[int, int, int]
Pixel = tuple[float, float]

# Blue and orange are distinct for colour-blind people and in print.
LEFT, RIGHT, MIDDLE = (37, 106, 214), (240, 118, 30), (120, 130, 146)
BACKGROUND, FLOOR, GRID = (255, 255, 255), (238, 241, 245), (214, 220, 228)
FUTURE, PAST, SHADOW, OUTLINE = (190, 199, 211), (84, 98, 122), (205, 210, 219), (36, 42, 54)
SKIN, NOSE, HAIR = (250, 215, 182), (226, 158, 118), (84, 66, 58)
SIDES = {"left": LEFT, "right": RIGHT, "middle": MIDDLE}
OVERSAMPLING = 2


class Painter:
    """Paints a figure's frames into pictures of one size.

    Args:
        figure: The figure.
        camera: The camera, in pixels of the enlarged picture.
        size: Width and height in pixels of the finished picture.
    """

    def __init__(self, figure: Figure, camera: Camera, size: tuple[int, int]) -> None:
        self.figure, self.camera, self.size = figure, camera, size
        self._large = (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING)
        self._trajectory = figure.points[:, 0] * (1.0, 0.0, 1.0) - (0.0, SOLE, 0.0)
        self._floor, self._lines = floor_grid(figure.points)
        self._still = None if camera.follows else self._stage(0)

    def paint(self, frame: int) -> Image.Image:
        """The picture of a frame, in RGB."""
        image = self._still.copy() if self._still is not None else self._stage(frame)
        draw = ImageDraw.Draw(image)
        self._paint_trajectory(draw, frame)
        self._paint_person(draw, frame)
        return image.reduce(OVERSAMPLING)

    def _stage(self, frame: int) -> Image.Image:
        image = Image.new("RGB", self._large, BACKGROUND)
        draw = ImageDraw.Draw(image)
        floor = self.camera.polygon(self._floor, frame)
        if floor:
            draw.polygon(floor, fill=FLOOR)
        for line in self.camera.lines(self._lines, frame):
            draw.line(line, fill=GRID, width=OVERSAMPLING)
        return image

    def _paint_trajectory(self, draw: ImageDraw.ImageDraw, frame: int) -> None:
        """The root trajectory on the floor: the past as a strong line, the future as a faint one."""
        view = self.camera.to_view(self._trajectory, frame)
        visible = view[:, 2] < 0.8 * self.camera.distance
        pixels = self.camera.to_pixels(view)
        for part, colour, width in (
            (slice(frame, None), FUTURE, 2 * OVERSAMPLING),
            (slice(0, frame + 1), PAST, 3 * OVERSAMPLING),
        ):
            line = _pixels(pixels[part][visible[part]])
            if len(line) > 1:
                draw.line(line, fill=colour, width=width)
        if visible[0]:
            _disc(draw, tuple(pixels[0]), 3.5 * OVERSAMPLING, PAST)

    def _paint_person(self, draw: ImageDraw.ImageDraw, frame: int) -> None:
        points = self.figure.points[frame]
        view = self.camera.to_view(points, frame)
        pixels, scales = _pixels(self.camera.to_pixels(view)), self._scales(view)
        shadow_view = self.camera.to_view(points * (1.0, 0.0, 1.0) - (0.0, SOLE, 0.0), frame)
        shadow, shadow_scales = _pixels(self.camera.to_pixels(shadow_view)), self._scales(shadow_view)
        for part in self.figure.parts:
            paint_part(draw, part, shadow, shadow_scales, SHADOW, 0.0)
        depths = view[:, 2]
        jobs: list[tuple[float, Part | None]] = [(self._depth(part, depths), part) for part in self.figure.parts]
        jobs.append((float(depths[self.figure.head[0]]), None))
        for _, job in sorted(jobs, key=lambda job: job[0]):
            if job is None:
                self._paint_head(draw, pixels, depths, scales)
                continue
            colour = SIDES[job.side]
            paint_part(draw, job, pixels, scales, OUTLINE, 1.2 * OVERSAMPLING)
            paint_part(draw, job, pixels, scales, colour, 0.0)
            if job.side != "middle":
                paint_part(draw, job, pixels, scales, _mix(colour, BACKGROUND, 0.22), 0.0, narrow=0.45)

    def _paint_head(
        self, draw: ImageDraw.ImageDraw, pixels: list[Pixel], depths: np.ndarray, scales: list[float]
    ) -> None:
        """Hair, with a face and a nose at the front, so that the direction of view is visible at any size."""
        head, nose = self.figure.head
        radius = Figure.HEAD_RADIUS * scales[head]
        (x, y), (nose_x, nose_y) = pixels[head], pixels[nose]
        ahead = float(depths[nose] - depths[head]) / Figure.HEAD_RADIUS  # 1: towards the camera, -1: away
        face = (x + 0.36 * (nose_x - x), y + 0.36 * (nose_y - y) + 0.12 * radius)
        tip = (x + 0.95 * (nose_x - x), y + 0.95 * (nose_y - y) + 0.1 * radius)
        edge, size = 1.2 * OVERSAMPLING, 0.2 * radius
        _disc(draw, tip, size + edge, OUTLINE)
        if ahead < 0:
            _disc(draw, tip, size, NOSE)
        _disc(draw, (x, y), radius + edge, OUTLINE)
        _disc(draw, (x, y), radius, HAIR)
        if ahead > -0.45:
            _disc(draw, face, 0.74 * radius, SKIN)
        if ahead >= 0:
            _disc(draw, tip, size, NOSE)

    def _scales(self, view: np.ndarray) -> list[float]:
        """Pixels per metre at every point."""
        camera = self.camera
        return (camera.scale * camera.distance / np.maximum(camera.distance - view[:, 2], 0.2)).tolist()

    @staticmethod
    def _depth(part: Part, depths: np.ndarray) -> float:
        ends = [index for capsule in part.capsules for index in (capsule.start, capsule.end)]
        return float(depths[ends].mean())


def paint_part(
    draw: ImageDraw.ImageDraw, part: Part, pixels: Sequence[Pixel], scales: Sequence[float], colour: Colour,
    grow: float, narrow: float = 1.0,
) -> None:  # fmt: skip
    """Fill a part's limbs and hull in one colour.

    Args:
        draw: The picture.
        part: The part.
        pixels: Every point of the figure, in pixels.
        scales: Pixels per metre at every point.
        colour: The colour.
        grow: Pixels by which the limbs are thickened.
        narrow: Factor of their thickness; below 1 (highlights along limbs) the hull is left out.
    """
    if part.hull and narrow == 1.0:
        draw.polygon([pixels[index] for index in part.hull], fill=colour)
    for capsule in part.capsules:
        start, end = pixels[capsule.start], pixels[capsule.end]
        first = capsule.radii[0] * scales[capsule.start] * narrow + grow
        last = capsule.radii[1] * scales[capsule.end] * narrow + grow
        across_x, across_y = end[1] - start[1], start[0] - end[0]
        length = (across_x * across_x + across_y * across_y) ** 0.5
        _disc(draw, start, first, colour)
        _disc(draw, end, last, colour)
        if length > 1e-6:
            x, y = across_x / length, across_y / length
            draw.polygon(
                [
                    (start[0] + first * x, start[1] + first * y),
                    (end[0] + last * x, end[1] + last * y),
                    (end[0] - last * x, end[1] - last * y),
                    (start[0] - first * x, start[1] - first * y),
                ],
                fill=colour,
            )


def enlarge(camera: Camera, left: float, top: float) -> Camera:
    """The camera for a `Painter`'s enlarged picture, with a margin of `left` and `top` pixels."""
    x, y = camera.centre
    centre = ((x + left) * OVERSAMPLING, (y + top) * OVERSAMPLING)
    return replace(camera, scale=camera.scale * OVERSAMPLING, centre=centre)


def floor_grid(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A rectangular floor under all points, and its grid of half a metre (coarser for a very large floor).

    Args:
        points: (F, P, 3) metres.

    Returns:
        Corners (4, 3), and the ends of the grid's lines (N, 2, 3).
    """
    low, high = points[..., [0, 2]].min(axis=(0, 1)), points[..., [0, 2]].max(axis=(0, 1))
    step = 0.5
    while float((high - low).max()) / step > 60:
        step *= 2
    low, high = np.floor((low - 0.45) / step) * step, np.ceil((high + 0.45) / step) * step

    def at(x: float, z: float) -> np.ndarray:
        return np.array([x, -SOLE, z])

    corners = np.stack([at(low[0], low[1]), at(high[0], low[1]), at(high[0], high[1]), at(low[0], high[1])])
    xs = np.arange(low[0], high[0] + step / 2, step)
    zs = np.arange(low[1], high[1] + step / 2, step)
    lines = [(at(x, low[1]), at(x, high[1])) for x in xs] + [(at(low[0], z), at(high[0], z)) for z in zs]
    return corners, np.array(lines)


def _mix(colour: Colour, other: Colour, fraction: float) -> Colour:
    r, g, b = (round(c + (o - c) * fraction) for c, o in zip(colour, other, strict=True))
    return r, g, b


def _disc(draw: ImageDraw.ImageDraw, centre: Pixel, radius: float, colour: Colour) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _pixels(array: np.ndarray) -> list[Pixel]:
    return [(x, y) for x, y in array.tolist()]
