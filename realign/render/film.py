"""Videos of motions: panels side by side, each under its caption."""

import math
from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw

from realign.motion.clip import MotionClip
from realign.render.camera import aim, choose_follow
from realign.render.draw import BACKGROUND, FUTURE, PAST, Painter, enlarge
from realign.render.figure import make_figure
from realign.render.fonts import Letters
from realign.render.lettering import FAINT_INK, Titles, line_height, write_legend

_EDGE = 8  # pixels kept free around a panel


class Film:
    """Frames with clips side by side; a clip that has ended shows its last pose until the longest ends.

    Args:
        clips: At least one motion.
        size: Height and width in pixels of a panel, without its caption.
        camera: "fixed" shows the whole trajectory, "follow" moves along, "auto" follows long trajectories.
        azimuth: Degrees from the front of the first pose towards the person's right.
        elevation: Degrees of the camera above the horizon.
        most_fps: Maximum frames per second of the film.
        labels: One a clip, above its caption; none when empty.
        group: Clips that belong together: a row holds whole groups.

    Attributes:
        fps: Frames per second of the film: the highest of the clips', at most `most_fps`.
        size: Width and height of the picture in pixels, both even.
    """

    def __init__(
        self, clips: Sequence[MotionClip], *, size: int, camera: str = "auto", azimuth: float = 40.0,
        elevation: float = 16.0, most_fps: float = 60.0, labels: Sequence[str] = (), group: int = 1,
    ) -> None:  # fmt: skip
        figures = [make_figure(clip) for clip in clips]
        self.fps = min(max(figure.fps for figure in figures), most_fps)
        self._count = max(math.ceil(len(f.points) / f.fps * self.fps - 1e-6) for f in figures)
        self._text = max(11, round(size / 26))
        columns = column_count(len(figures), group)
        rows = math.ceil(len(figures) / columns)
        titles = Titles([figure.caption for figure in figures], labels, self._text, size - 2 * _EDGE)
        band = max(titles.heights)
        band += _EDGE if band else 0
        foot = line_height(self._text) + 6
        self.size = (_even(columns * size), _even(rows * (band + size) + foot))
        self._foot = self.size[1] - foot
        inner = (size - 2 * _EDGE, size - 2 * _EDGE)
        cameras = aim(figures, inner, choose_follow(figures, camera), azimuth, elevation)
        self._panels = []
        self._background = Image.new("RGB", self.size, BACKGROUND)
        for number, (figure, seen) in enumerate(zip(figures, cameras, strict=True)):
            left, top = number % columns * size, number // columns * (band + size)
            titles.write(self._background, number, left, top + 6, size)
            painter = Painter(figure, enlarge(seen, _EDGE, _EDGE), (size, size))
            self._panels.append((painter, (left, top + band)))
        write_legend(self._background, _EDGE, self._foot + 4, self._text)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Image.Image]:
        return (self.frame(number) for number in range(self._count))

    def frame(self, number: int) -> Image.Image:
        """One picture of the film, in RGB."""
        seconds = number / self.fps
        image = self._background.copy()
        for painter, place in self._panels:
            image.paste(painter.paint(painter.figure.at(seconds)), place)
        draw, letters = ImageDraw.Draw(image), Letters(self._text)
        clock = f"{seconds:.1f} s"
        right = self.size[0] - _EDGE - letters.getlength(clock)
        letters.write(image, right, self._foot + 4, clock, FAINT_INK)
        done = self.size[0] * (number + 1) / self._count
        draw.rectangle((0, self._foot - 1, self.size[0], self._foot), fill=FUTURE)
        draw.rectangle((0, self._foot - 1, done, self._foot), fill=PAST)
        return image


def column_count(panels: int, group: int = 1) -> int:
    """Number of panels in a row: all of up to four, otherwise as for a square; of groups, whole ones."""
    return panels if group == 1 and panels <= 4 else group * math.ceil(math.sqrt(panels) / group)


def _even(pixels: int) -> int:
    return pixels + pixels % 2
