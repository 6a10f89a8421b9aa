import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bvh_made import AUTODESK, body, bvh_text
from PIL import Image

from realign.cli import main
from realign.commands import render as render_command
from realign.errors import InputError
from realign.motion.clip import MotionClip
from realign.motion.skeleton import HUMANML3D, KIT, get_skeleton
from realign.render.camera import aim
from realign.render.draw import BACKGROUND, LEFT, RIGHT
from realign.render.figure import STANDARD_HEIGHT, body_height, make_figure
from realign.render.fonts import Letters
from realign.render.lettering import wrap
from realign.render.save import SUFFIXES, check_suffix, save_motions
from realign.render.video import gif_delays


def neutral_pose() -> np.ndarray:
    """A person at the origin who faces Z+, with arms to the sides, so that sides differ."""
    offsets = np.array(HUMANML3D.rest_offsets)
    for joint in (18, 20, 19, 21):
        offsets[joint] = np.linalg.norm(offsets[joint]) * np.array([1.0 if joint % 2 == 0 else -1.0, 0, 0])
    offsets[15] = (0, 0.1, 0)  # the published direction of the neck is forwards
    pose = np.zeros((22, 3))
    for joint, parent in enumerate(HUMANML3D.parents):
        if parent >= 0:
            pose[joint] = pose[parent] + offsets[joint]
    pose[:, 1] -= pose[:, 1].min()
    return pose


def walker(frames: int = 24, fps: float = 20.0, metres: float = 1.0, caption: str = "a person walks") -> MotionClip:
    pose = np.repeat(neutral_pose()[None], frames, axis=0)
    pose[..., 2] += np.linspace(0, metres, frames)[:, None]
    pose[:, [4, 7, 10], 2] += 0.2 * np.sin(np.arange(frames))[:, None]
    return MotionClip(pose.astype(np.float32), fps, caption)


def kit_clip(scale: float) -> MotionClip:
    """The same person as a KIT skeleton in its own unit."""
    pose = neutral_pose()
    order = (0, 3, 6, 12, 15, 17, 19, 21, 16, 18, 20, 2, 5, 8, 11, 11, 1, 4, 7, 10, 10)
    joints = np.repeat(pose[list(order)][None], 10, axis=0) * scale
    return MotionClip(joints.astype(np.float32), 12.5, "a person stands", "kit")


def gif_frames(path: Path) -> tuple[list[np.ndarray], list[int]]:
    pictures, durations = [], []
    with Image.open(path) as film:
        for number in range(film.n_frames):
            film.seek(number)
            durations.append(film.info["duration"])
            pictures.append(np.asarray(film.convert("RGB")))
    return pictures, durations


def columns_of(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """x of the pixels of a colour, without the legend in the last rows."""
    near = np.abs(picture[:-40].astype(int) - colour).max(axis=-1) <= 2
    return np.nonzero(near)[1]


@pytest.mark.parametrize(("fps", "delay"), [(20.0, 50), (12.5, 80)])
@pytest.mark.parametrize("camera", ["fixed", "follow"])
def test_gif_holds_every_frame_at_its_speed(tmp_path: Path, fps: float, delay: int, camera: str) -> None:
    clip = walker(24, fps)
    clip.joints[5] = clip.joints[4]  # a frame equal to the previous one must stay a separate frame
    assert save_motions(tmp_path / "x.gif", [clip], camera=camera, size=160) == [tmp_path / "x.gif"]
    pictures, durations = gif_frames(tmp_path / "x.gif")
    assert durations == [delay] * 24
    with Image.open(tmp_path / "x.gif") as film:
        assert film.info["loop"] == 0
    assert np.abs(pictures[0].astype(int) - pictures[12]).max() > 100  # the person moves


def test_gif_delays_keep_the_duration_and_stay_playable(tmp_path: Path) -> None:
    assert gif_delays(6, 30.0) == [3, 4, 3, 3, 4, 3]
    assert sum(gif_delays(300, 30.0)) == 1000
    assert gif_delays(1, 0.001) == [65535]
    save_motions(tmp_path / "x.gif", [walker(240, 120.0, 0.2)], size=64)
    _, durations = gif_frames(tmp_path / "x.gif")
    assert min(durations) >= 20 and sum(durations) == 2000


def test_still_and_single_frame_clips(tmp_path: Path) -> None:
    still = walker(5, metres=0.0)
    still.joints[:] = still.joints[0]
    save_motions(tmp_path / "still.gif", [still], size=96)
    assert len(gif_frames(tmp_path / "still.gif")[0]) == 5
    one = MotionClip(still.joints[:1], 20.0)
    for suffix in (".gif", ".png", ".html", ".mp4"):
        assert save_motions(tmp_path / f"one{suffix}", [one], size=96)[0].stat().st_size > 500
    point = MotionClip(np.zeros((3, 22, 3)), 20.0)  # all joints in one place must not crash
    save_motions(tmp_path / "point.png", [point], size=96)


def test_sides_have_their_own_colours_and_places(tmp_path: Path) -> None:
    """Seen from the front the left arm is on the picture's right; seen from behind, on its left."""
    clip = walker(2, metres=0.0)
    for azimuth, left_is_right in ((0.0, True), (180.0, False)):
        save_motions(tmp_path / "x.gif", [clip], azimuth=azimuth)
        picture = gif_frames(tmp_path / "x.gif")[0][0]
        assert tuple(picture[1, 1]) == BACKGROUND  # the palette holds the main colours exactly
        left, right = columns_of(picture, LEFT), columns_of(picture, RIGHT)
        assert len(left) > 500 and len(right) > 500
        assert bool(left.mean() > right.mean()) is left_is_right


def test_colours_follow_the_pairs_of_the_skeleton() -> None:
    for clip in (walker(2), kit_clip(1.0)):
        skeleton = get_skeleton(clip.skeleton)
        sides = {side for pair in skeleton.pairs for side in zip(pair, ("left", "right"), strict=True)}
        for part in make_figure(clip).parts:
            joints = {c.end for c in part.capsules if c.end < skeleton.num_joints and part.side != "middle"}
            assert {(joint, part.side) for joint in joints} <= sides


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("turn", [0.0, 2.2])
def test_every_point_of_every_frame_is_in_the_picture(follow: bool, turn: float) -> None:
    clip = walker(60, metres=7.0)
    c, s = np.cos(turn), np.sin(turn)
    clip.joints = (clip.joints @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])).astype(np.float32)
    figure = make_figure(clip)
    (camera,) = aim([figure], (300, 200), follow, 40.0, 16.0)
    pixels = camera.to_pixels(camera.to_view(figure.points, slice(None)))
    assert (pixels >= 0).all() and (pixels <= (300, 200)).all()
    head, feet = pixels[:, 15, 1], pixels[:, [7, 8, 10, 11], 1].min(axis=1)
    assert (head < feet).all()  # upright
    assert pixels[0, 0, 0] < pixels[-1, 0, 0] or follow  # walks from left to right


@pytest.mark.parametrize("scale", [1.0, 1000.0, 400.0])
def test_any_unit_is_drawn_at_a_persons_size(scale: float) -> None:
    figure = make_figure(kit_clip(scale))
    assert np.ptp(figure.points[0, :, 1]) == pytest.approx(STANDARD_HEIGHT, rel=0.1)
    assert body_height(kit_clip(1.0).joints.astype(float), KIT) == pytest.approx(STANDARD_HEIGHT, rel=0.2)


def test_png_strip(tmp_path: Path) -> None:
    clips = [walker(40), walker(60, caption="another one " * 30)]
    save_motions(tmp_path / "x.png", clips, size=200, poses=6)
    with Image.open(tmp_path / "x.png") as strip:
        assert strip.format == "PNG" and strip.width == 6 * 148 + 200 and strip.height > 2 * 200
        picture = np.asarray(strip.convert("RGB"))
    for start in range(0, 6 * 148, 148):  # a person in every cell
        assert len(columns_of(picture[:, start : start + 148], LEFT)) > 100


def test_map_bends_to_the_left_for_a_left_turn() -> None:
    from realign.render.strip import draw_map

    clip = walker(40, metres=2.0)
    clip.joints[20:, :, 0] += np.linspace(0, 3, 20)[:, None]  # faces Z+, so X+ is on the left
    picture = np.asarray(draw_map(make_figure(clip), [0, 39], 200)).astype(int)
    dark = np.argwhere(np.abs(picture[30:] - (36, 42, 54)).max(axis=-1) < 12)  # the last arrow
    assert dark[:, 1].mean() < 70


def test_html_is_self_contained_and_safe(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script> <img src=x onerror=y> & 'quote' \u2028 é 日本 /*DATA*/"
    clips = [walker(24, caption=evil), walker(30)]
    save_motions(tmp_path / "x.html", clips)
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    code = re.sub(r'id="data">.*?</script>', "", page, flags=re.S)  # captions may contain any text
    assert not re.search(r"https?:|//\w|src\s*=|@import|url\(|fetch|XMLHttp|WebSocket|import\(", code)
    assert page.count("<script") == 2 and page.count("</script") == 2 and "/*PLAYER*/" not in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])  # type: ignore[index]
    assert [clip["caption"] for clip in data["clips"]] == [clip.caption for clip in clips]
    assert data["follow"] is False  # their trajectories are short
    for told, clip in zip(data["clips"], clips, strict=True):
        steps = np.frombuffer(base64.b64decode(told["data"]), "<i2").reshape(told["frames"], told["points"], 3)
        assert told["fps"] == 20.0
        np.testing.assert_allclose(steps[:, :22] * told["step"], clip.joints, atol=1e-4)


def test_mp4(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    save_motions(tmp_path / "x.mp4", [walker(12), walker(20, caption="")], size=101)
    assert (tmp_path / "x.mp4").read_bytes()[4:8] == b"ftyp"
    import imageio_ffmpeg

    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "x.mp4"))
    assert frames == 20 and seconds == pytest.approx(1.0, abs=0.06)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "x.mp4"))
    about = next(reader)
    reader.close()
    assert "yuv420p" in about["pix_fmt"] and all(side % 2 == 0 for side in about["source_size"])


@pytest.mark.parametrize(
    "name",
    ["walk: fast", "-walk", "a %d %03d", "http:x", "Gang, schön 歩く", 'it\'s "so"', "two\nlines", "pipe:1", "[x]#?&"],
)
def test_any_file_name_works(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("imageio_ffmpeg")
    monkeypatch.chdir(tmp_path)
    for suffix in SUFFIXES:
        assert save_motions(f"{name}{suffix}", [walker(3)]) == [Path(f"{name}{suffix}")]
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}{suffix}" for suffix in SUFFIXES}
    assert Path(f"{name}.mp4").read_bytes()[4:8] == b"ftyp"


def test_mp4_without_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")

    def missing() -> str:
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    with pytest.raises(InputError, match="pip install imageio-ffmpeg"):
        save_motions(tmp_path / "x.mp4", [walker()])
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: sys.executable)  # a program that fails
    with pytest.raises(InputError, match="ffmpeg could not write"):
        save_motions(tmp_path / "x.mp4", [walker()])
    assert list(tmp_path.iterdir()) == []


def test_npy_of_one_and_several_clips(tmp_path: Path) -> None:
    clip = walker(30)
    assert save_motions(tmp_path / "x.npy", [clip]) == [tmp_path / "x.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), clip.joints)
    clips = [walker(10 + i) for i in range(11)]
    written = save_motions(tmp_path / "new" / "y.npy", clips)
    assert [path.name for path in written][:2] == ["y_00.npy", "y_01.npy"] and len(written) == 11
    assert [len(np.load(path)) for path in written] == list(range(10, 21))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_writing_is_deterministic(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        save_motions(tmp_path / f"{name}{suffix}", [walker(8)])
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_clips_side_by_side(tmp_path: Path) -> None:
    for count, columns, rows in ((2, 2, 1), (4, 4, 1), (5, 3, 2)):
        save_motions(tmp_path / "x.gif", [walker(3 + i, caption="") for i in range(count)], size=100)
        with Image.open(tmp_path / "x.gif") as film:
            assert film.n_frames == 2 + count and film.width == columns * 100
            assert rows * 100 < film.height < rows * 100 + 40


@pytest.mark.filterwarnings("ignore:No font of this machine:realign.errors.InputWarning")
@pytest.mark.parametrize(
    "caption",
    ["человек идёт", "人が歩く" * 40, "العربية", "\ud800 broken", "a\x00b\nc\td", "x" * 200_000, "🕺 dances", " "],
)
def test_captions_of_any_kind(tmp_path: Path, caption: str) -> None:
    for suffix in (".gif", ".png", ".html"):
        save_motions(tmp_path / f"x{suffix}", [walker(2, caption=caption)], size=96)
    lines = wrap(caption, Letters(14), 200)
    assert len(lines) <= 5 and all(Letters(14).getlength(line) <= 200 for line in lines)


def test_captions_keep_all_words() -> None:
    assert wrap("a person  walks\nforward", Letters(14), 120) == ["a person walks", "forward"]


@pytest.mark.parametrize("name", ["x.avi", "x", "x.gif.txt"])
def test_unknown_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"\.gif \.mp4 \.html \.png \.bvh \.npy"):
        save_motions(tmp_path / name, [walker()])
    assert check_suffix("X.GIF") == ".gif"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bad_clips_leave_no_file(tmp_path: Path, suffix: str) -> None:
    broken = walker()
    broken.joints[3, 4, 1] = np.nan
    empty = walker()
    empty.joints = empty.joints[:0]
    stopped = walker()
    stopped.fps = 0.0
    for clips, message in (
        ([walker(), broken], "frame 3"), ([empty], "at least one frame"), ([], "no motion"), ([stopped], "positive")
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            save_motions(tmp_path / f"x{suffix}", clips)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options", [{"size": 5}, {"camera": "side"}, {"elevation": 90.0}, {"poses": 1}, {"azimuth": np.inf}, {"colour": 1}]
)
def test_bad_options(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        save_motions(tmp_path / "x.gif", [walker()], **options)


def test_a_failure_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_motions(tmp_path / "x.gif", [walker(3)], size=64)
    before = (tmp_path / "x.gif").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("realign.render.video._changed", full)
    with pytest.raises(OSError, match="No space"):
        save_motions(tmp_path / "x.gif", [walker(5)], size=64)
    assert (tmp_path / "x.gif").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def run_command(*arguments: str) -> None:
    import argparse

    top = argparse.ArgumentParser()
    render_command.add_parser(top.add_subparsers())
    render_command.run(top.parse_args(["render", *arguments]))


def test_the_command_cleans_where_asked(tmp_path: Path) -> None:
    clip = walker(12)
    clip.joints[::2, 20] += 0.1  # a forearm that stretches
    save_motions(tmp_path / "raw.npy", [clip])
    for options, stretches in (((), True), (("--clean",), False)):
        run_command(str(tmp_path / "raw.npy"), "-o", str(tmp_path / "out.npy"), *options)
        joints = np.load(tmp_path / "out.npy")
        assert (np.ptp(np.linalg.norm(joints[:, 20] - joints[:, 18], axis=-1)) > 1e-3) == stretches


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(tmp_path / "walk.npy")
    save_motions(source, [walker(12)])
    run_command(source, source, "-o", str(tmp_path / "x.gif"), "--caption", "one", "--caption", "two", "--size", "96")
    assert capsys.readouterr().out.strip() == str(tmp_path / "x.gif")
    assert len(gif_frames(tmp_path / "x.gif")[0]) == 12
    for wrong in (
        (source, "-o", str(tmp_path / "x.avi")),
        (str(tmp_path / "none.npy"), "-o", str(tmp_path / "y.gif")),
        (source, source, "-o", str(tmp_path / "y.gif"), "--caption", "one"),
        *((source, "-o", str(tmp_path / "y.gif"), "--fps", rate) for rate in ("0", "-3", "nan", "1e7", "1e-7")),
    ):
        with pytest.raises(InputError):
            run_command(*wrong)
    assert not (tmp_path / "y.gif").exists()


def test_the_command_has_options_for_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strange = {part: f"bone {i}" for i, part in enumerate(AUTODESK)}
    tree = body(strange)
    path, rig = tmp_path / "x.bvh", tmp_path / "rig.yaml"
    path.write_text(bvh_text(tree, np.tile([0, 95.0, *[0.0] * (1 + 3 * len(tree))], (12, 1)), frame_time=0.25))
    out = str(tmp_path / "x.npy")
    with pytest.raises(InputError, match="--rig FILE"):
        run_command(str(path), "-o", out)
    rows = [f"  {part}: {name}" for part, name in strange.items() if part not in ("hips", "spine", "chest")]
    rig.write_text("\n".join(["joints:", *rows]))
    assert main(["render", str(path), "-o", out, "--rig", str(rig)]) == 0
    told = capsys.readouterr()
    assert len(np.load(out)) == 56 and "note:" in told.err and "its header says 4 frames per second" in told.err
    run_command(str(path), "-o", out, "--rig", str(rig), "--fps", "20")
    assert len(np.load(out)) == 12 and not capsys.readouterr().err
    turned = np.load(out)[..., [0, 2, 1]] * np.float32([1, -1, 1])
    np.save(tmp_path / "z.npy", turned)
    with pytest.raises(InputError, match="give --up=z"):
        run_command(str(tmp_path / "z.npy"), "-o", out)
    run_command(str(tmp_path / "z.npy"), "-o", out, "--up", "z")
    assert np.load(out)[..., 1].max() > 1.4


def test_command_draws_all_motions_of_a_results_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    motion = np.stack([walker(12).joints, walker(12).joints]).transpose(0, 2, 3, 1)
    box = np.empty((), dtype=object)
    box[()] = {"motion": motion, "text": ["a", "b"], "lengths": np.array([12, 8])}
    np.save(tmp_path / "results.npy", box, allow_pickle=True)
    run_command(str(tmp_path / "results.npy"), "-o", str(tmp_path / "x.npy"))
    assert [len(np.load(line)) for line in capsys.readouterr().out.split()] == [12, 8]
    run_command(str(tmp_path / "results.npy"), "-o", str(tmp_path / "x.png"), "--caption", "one", "--caption", "two")
    with pytest.raises(InputError, match="2 motions and 1 captions"):
        run_command(str(tmp_path / "results.npy"), "-o", str(tmp_path / "y.png"), "--caption", "one")


def test_command_module_is_light() -> None:
    code = "import sys, realign.commands.render; print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_real_walk_and_wave(tmp_path: Path, shared_data: Path) -> None:
    joints = np.load(shared_data / "mocap" / "new_joints" / "B01965.npy")
    save_motions(tmp_path / "x.gif", [MotionClip(joints, 20.0, "a person walks and turns left")], size=128)
    assert len(gif_frames(tmp_path / "x.gif")[0]) == len(joints)
