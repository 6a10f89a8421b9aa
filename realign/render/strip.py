"""Pictures of motions: a row of poses, and the trajectory from above."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from realign.motion.clip import MotionClip
from realign.render.camera import aim
from realign.render.draw import BACKGROUND, FUTURE, OVERSAMPLING, Painter, enlarge
from realign.render.figure import Figure, make_figure
from realign.render.fonts import Letters
from realign.render.lettering import FAINT_INK, Titles, line_height, write_legend


def draw_strip(
    clips: Sequence[MotionClip], *, size: int = 260, azimuth: float = 40.0, elevation: float = 16.0, poses: int = 8,
    labels: Sequence[str] = (),
) -> Image.Image:  # fmt: skip
    """A row of poses for each clip, time from left to right, and its trajectory from above.

    Args:
        clips: At least one motion.
        size: Height in pixels of a pose.
        azimuth: Degrees from the front of the first pose towards the person's right.
        elevation: Degrees of the camera above the horizon.
        poses: Number of poses, evenly spaced over the clip.
        labels: One a clip, above its caption; none when empty.

    Returns:
        The picture, in RGB.
    """
    figures = [make_figure(clip) for clip in clips]
    text = max(11, round(size / 18))
    cell = (round(0.74 * size), size)
    cameras = aim(figures, (cell[0] - 6, cell[1] - 10), True, azimuth, elevation, exact=True)
    width = poses * cell[0] + size
    titles = Titles([figure.caption for figure in figures], labels, text, width - 32)
    heights = [title + 3 * line_height(text) + size for title in titles.heights]
    image = Image.new("RGB", (width, sum(heights) + line_height(text) + 8), BACKGROUND)
    top = 0
    for number, (figure, camera, height) in enumerate(zip(figures, cameras, heights, strict=True)):
        titles.write(image, number, 0, top + 6, width)
        body = top + titles.heights[number] + 10
        shown = np.linspace(0, len(figure.points) - 1, poses).round().astype(int).tolist()
        painter = Painter(figure, enlarge(camera, 3, 5), cell)
        for column, frame in enumerate(shown):
            image.paste(painter.paint(frame), (column * cell[0], body))
        image.paste(draw_map(figure, shown, size), (poses * cell[0], body))
        _time_arrow(image, [frame / figure.fps for frame in shown], cell[0], body + size + 4, text)
        top += height
    write_legend(image, 8, image.height - line_height(text) - 4, text)
    return image


def draw_map(figure: Figure, shown: Sequence[int], size: int) -> Image.Image:
    """The trajectory from above, with the first facing upwards and left on the left; arrows show the facing.

    Args:
        figure: The figure.
        shown: Frames with an arrow, from pale for the first to dark for the last.
        size: Width and height in pixels.
    """
    ahead = figure.forward[0]
    to_right = np.array([-ahead[2], 0.0, ahead[0]])
    plane = np.stack([to_right, -ahead], axis=1)  # picture x: right of the first pose; y: backwards
    trail = (figure.points[:, 0] - figure.points[0, 0]) @ plane
    large = size * OVERSAMPLING
    low, high = trail.min(axis=0), trail.max(axis=0)
    extent = float((high - low).max())
    pixels = (trail - (low + high) / 2) * (0.68 * large / max(extent, 1.0)) + (0.5 * large, 0.53 * large)
    image = Image.new("RGB", (large, large), BACKGROUND)
    draw = ImageDraw.Draw(image)
    draw.rectangle((10, 10, large - 11, large - 11), outline=FUTURE, width=OVERSAMPLING)
    if len(trail) > 1:
        draw.line([(x, y) for x, y in pixels.tolist()], fill=FUTURE, width=3 * OVERSAMPLING, joint="curve")
    for number, frame in enumerate(shown):
        fade = 0.7 * (1 - number / max(len(shown) - 1, 1))
        r, g, b = (round(c + (255 - c) * fade) for c in (36, 42, 54))
        _arrow(draw, pixels[frame], figure.forward[frame] @ plane, 0.085 * large, (r, g, b))
    image = image.reduce(OVERSAMPLING)
    label = f"from above, {extent:.1f} m wide" if extent >= 0.5 else "from above, in place"
    Letters(max(10, round(size / 22))).write(image, 11, 9, label, FAINT_INK)
    return image


def _arrow(
    draw: ImageDraw.ImageDraw, tail: np.ndarray, direction: np.ndarray, length: float, colour: tuple[int, int, int]
) -> None:
    across = np.array([-direction[1], direction[0]])
    tip, neck = tail + length * direction, tail + 0.55 * length * direction
    draw.ellipse((*(tail - 0.22 * length), *(tail + 0.22 * length)), fill=colour)
    draw.line((*tail, *neck), fill=colour, width=max(2, round(0.14 * length)))
    corners = (tip, neck + 0.3 * length * across, neck - 0.3 * length * across)
    draw.polygon([(float(x), float(y)) for x, y in corners], fill=colour)


def _time_arrow(image: Image.Image, seconds: Sequence[float], cell: int, top: int, size: int) -> None:
    draw, letters = ImageDraw.Draw(image), Letters(size)
    right = cell * len(seconds)
    draw.line((10, top + 4, right - 12, top + 4), fill=FAINT_INK, width=2)
    draw.polygon([(right - 6, top + 4), (right - 16, top - 1), (right - 16, top + 9)], fill=FAINT_INK)
    for column, moment in enumerate(seconds):
        label = f"{moment:.2f} s"
        x = column * cell + cell / 2
        draw.ellipse((x - 3, top + 1, x + 3, top + 7), fill=FAINT_INK)
        letters.write(image, x - letters.getlength(label) / 2, top + 10, label, FAINT_INK)
