"""Write videos: animated GIF, and MP4 by ffmpeg."""

import contextlib
import subprocess
import tempfile
from pathlib import Path

from PIL import GifImagePlugin, Image, ImageChops

from realign.errors import InputError
from realign.render.draw import BACKGROUND, FLOOR, GRID, LEFT, MIDDLE, OUTLINE, RIGHT
from realign.render.film import Film

_LONGEST_DELAY = 0xFFFF  # hundredths of a second; the limit of the format
GIF_MOST_FPS = 50.0  # viewers slow down frames shorter than 2 hundredths of a second


def gif_delays(frames: int, fps: float) -> list[int]:
    """Delay of each frame in whole hundredths of a second; their sum is the rounded duration.

    Args:
        frames: Number of frames.
        fps: Frames per second, at most 50.
    """
    ends = [round(100 * (number + 1) / fps) for number in range(frames)]
    return [min(end - start, _LONGEST_DELAY) for start, end in zip([0, *ends], ends, strict=False)]


def write_gif(path: Path, film: Film) -> None:
    """Write an endless GIF with one shared palette; each frame holds only the rectangle that changed.

    Args:
        path: Output path.
        film: The pictures.
    """
    palette = _shared_palette(film)
    delays = gif_delays(len(film), film.fps)
    width, height = film.size
    with open(path, "wb") as file:
        file.write(b"GIF89a" + _short(width) + _short(height) + b"\xf7\x00\x00")
        colours = bytes(palette.getpalette("RGB") or b"")[:768]
        file.write(colours + bytes(768 - len(colours)))
        file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")
        before: Image.Image | None = None
        for picture, delay in zip(film, delays, strict=True):
            frame = picture.quantize(palette=palette, dither=Image.Dither.NONE)
            box = (0, 0, width, height) if before is None else _changed(before, frame)
            file.write(b"\x21\xf9\x04\x04" + _short(delay) + b"\x00\x00")  # keep the previous picture
            file.writelines(GifImagePlugin.getdata(frame.crop(box), box[:2]))  # rectangle, then LZW by Pillow's encoder
            before = frame
        file.write(b"\x3b")


def write_mp4(path: Path, film: Film) -> None:
    """Write an H.264 film that browsers and slides play (yuv420p, even size).

    Args:
        path: Output path.
        film: The pictures.

    Raises:
        InputError: ffmpeg is missing or fails.
    """
    command = [
        *(find_ffmpeg(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"),
        *("-s", f"{film.size[0]}x{film.size[1]}", "-r", f"{film.fps:g}", "-i", "-", "-an"),
        *("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20", "-preset", "fast", "-threads", "1"),
        *("-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart"),
        f"file:{path}",  # else "a: b.mp4" is read as a protocol, and "-a.mp4" as an option
    ]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints)
        pipe = process.stdin
        try:
            for picture in film:
                if pipe is not None:
                    pipe.write(picture.tobytes())
        except BrokenPipeError:
            process.wait()  # ffmpeg has stopped; its message is reported below
        except BaseException:
            process.kill()
            raise
        finally:
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
            status = process.wait()
        if status:
            complaints.seek(0)
            lines = complaints.read().decode("utf-8", "replace").strip().splitlines() or ["no message"]
            if any("No space left" in line for line in lines):
                raise OSError(28, "No space left on device", str(path))
            raise InputError(f"ffmpeg could not write {path.name} ({lines[-1]}): write a .gif or .html instead")


def find_ffmpeg() -> str:
    """The program.

    Raises:
        InputError: It is missing.
    """
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise InputError(
            "an .mp4 needs ffmpeg, which was not found: pip install imageio-ffmpeg, or write a .gif or .html"
        ) from error


def _shared_palette(film: Film) -> Image.Image:
    """256 colours: the main ones exactly, the others chosen from frames of the whole film."""
    numbers = sorted({round(i * (len(film) - 1) / 4) for i in range(5)})
    sheet = Image.new("RGB", (film.size[0], film.size[1] * len(numbers)))
    for row, number in enumerate(numbers):
        sheet.paste(film.frame(number), (0, row * film.size[1]))
    exact = [BACKGROUND, FLOOR, GRID, LEFT, RIGHT, MIDDLE, OUTLINE]  # averaging must not tint the main colours
    palette = sheet.quantize(256 - len(exact), method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    found = (palette.getpalette("RGB") or [])[: 3 * (256 - len(exact))]
    colours = list(exact)
    for colour in zip(found[::3], found[1::3], found[2::3], strict=True):
        # Pillow looks colours up in cells of 4 steps per channel, so no other colour may be near an exact one.
        near = [e for e in exact if max(abs(a - b) for a, b in zip(e, colour, strict=True)) <= 7]
        colours.append(near[0] if near else colour)
    palette.putpalette([channel for colour in colours for channel in colour])
    return palette


def _changed(before: Image.Image, frame: Image.Image) -> tuple[int, int, int, int]:
    """The rectangle in which two frames differ; one pixel if they are equal, since a frame must not be empty."""
    size = frame.size
    old, new = (Image.frombytes("L", size, image.tobytes()) for image in (before, frame))  # indices as grey values
    return ImageChops.difference(old, new).getbbox() or (0, 0, 1, 1)


def _short(value: int) -> bytes:
    return value.to_bytes(2, "little")
