"""Recordings with other up axes, lying rest poses, mirrored coordinates, bones without length, and doubtful rates."""

import warnings

import numpy as np
import pytest
from bvh_made import AUTODESK, Tree, body, bvh_text

from realign.errors import InputError, InputWarning
from realign.motion.bvh import import_bvh
from realign.motion.bvh.writer import _euler_zxy
from realign.motion.skeleton import HUMANML3D
from realign.motion.upright import UP_AXES, turn_up

LYING = {"along x": (1, 2, 0), "along z": (2, 0, 1)}  # axis of the standing body for each axis of a lying one


def world(up: str) -> np.ndarray:
    """The rotation from Y up to another axis up."""
    return np.array(turn_up(np.eye(3), up))


def walk(tree: Tree, frames: int = 25, unit: float = 100.0) -> np.ndarray:
    """Channels: a T-pose that walks along Z at 1.2 m/s and 20 fps, the legs swinging about X."""
    names = [name for name, *_ in tree]
    motion = np.zeros((frames, 3 + 3 * len(tree)))
    time = np.arange(frames) / 20
    motion[:, 1], motion[:, 2] = 0.95 * unit, 1.2 * time * unit
    for name, sign in (("LeftUpLeg", 1), ("RightUpLeg", -1)):
        motion[:, 3 + 3 * names.index(name) + 1] = 25 * sign * np.sin(2 * np.pi * time)
    return motion


def saved(path, tree: Tree, motion: np.ndarray, up: str = "y", rest: np.ndarray | None = None, fps: float = 20.0):
    """Write a walk with another axis up; the root turns back a turned rest pose."""
    turned = np.eye(3) if rest is None else rest
    motion = motion.copy()
    motion[:, :3] = motion[:, :3] @ world(up).T
    root = world(up) @ turned.T
    motion[:, 3:6] = _euler_zxy(root[None])[0]
    legs = [i for i, (name, *_) in enumerate(tree) if name.endswith("UpLeg")]
    for leg in legs:  # a turn about X becomes one about the turned axis
        angles = np.deg2rad(motion[:, 4 + 3 * leg])
        c, s, o, e = np.cos(angles), np.sin(angles), 0 * angles, 0 * angles + 1
        about_x = np.stack([e, o, o, o, c, -s, o, s, c], -1).reshape(-1, 3, 3)
        motion[:, 3 + 3 * leg : 6 + 3 * leg] = _euler_zxy(turned @ about_x @ turned.T)
    tree = [(name, parent, tuple((turned @ offset).tolist())) for name, parent, offset in tree]
    path.write_text(bvh_text(tree, motion, frame_time=1 / fps))
    return path


@pytest.fixture
def plain(tmp_path):
    tree = body(AUTODESK)
    return import_bvh(saved(tmp_path / "plain.bvh", tree, walk(tree)))


@pytest.mark.parametrize("up", UP_AXES)
@pytest.mark.parametrize("rest", ["standing", "world", *LYING])
def test_the_up_axis_is_detected_from_the_motion(tmp_path, plain, up, rest):
    tree = body(AUTODESK)
    turned = {"standing": np.eye(3), "world": world(up)}.get(rest)
    turned = np.eye(3)[list(LYING[rest])] if turned is None else turned
    path = saved(tmp_path / "other.bvh", tree, walk(tree), up, turned)
    assert np.abs(import_bvh(path) - plain).max() < 1e-3
    assert np.abs(import_bvh(path, up=up) - plain).max() < 1e-3


@pytest.mark.parametrize(
    ("up", "rest"), [*((up, "along x") for up in UP_AXES), ("y", "along z"), ("z", "world"), ("-z", "world")]
)
def test_a_root_that_stays_at_the_origin_shows_no_floor(tmp_path, up, rest):
    tree = body(AUTODESK)
    motion = walk(tree)
    motion[:, :3] = 0
    turned = world(up) if rest == "world" else np.eye(3)[list(LYING[rest])]
    expected = import_bvh(saved(tmp_path / "plain.bvh", tree, motion))
    assert np.abs(import_bvh(saved(tmp_path / "other.bvh", tree, motion, up, turned)) - expected).max() < 1e-3


@pytest.mark.parametrize("up", UP_AXES)
def test_zero_offsets_use_the_motion(tmp_path, plain, up):
    """Every joint has position channels, and only their values define the skeleton."""
    tree = body(AUTODESK)
    text = saved(tmp_path / "x.bvh", tree, walk(tree), up).read_text()
    offsets, lines, columns = [], [], []
    for line in text[: text.index("MOTION")].splitlines():
        words = line.split()
        if words[0] == "OFFSET":
            offsets.append(list(map(float, words[1:])))
            line = "OFFSET 0 0 0"
        if words[0] == "CHANNELS":
            columns.append(len(offsets) - 1)
            line = "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
        lines.append(line)
    old = np.loadtxt(text[text.index("Frame Time") :].splitlines()[1:])
    rows = [old[:, :6], *(np.concatenate([np.tile(offsets[j], (len(old), 1)), old[:, 3 + 3 * k : 6 + 3 * k]], 1)
                          for k, j in enumerate(columns) if k)]  # fmt: skip
    values = "\n".join(" ".join(f"{v:.6f}" for v in row) for row in np.concatenate(rows, 1))
    path = tmp_path / "zero.bvh"
    path.write_text("\n".join([*lines, "MOTION", f"Frames: {len(old)}", "Frame Time: 0.05", values]))
    assert np.abs(import_bvh(path) - plain).max() < 1e-3


@pytest.mark.parametrize("floor", [0.0, 90.0])
def test_a_lying_body_is_not_turned(tmp_path, floor):
    """A standing rest pose, and a body lying along Z on the floor or high up, turned only by its root."""
    tree = body(AUTODESK)
    motion = walk(tree, 30)
    motion[:, :3] = [0.0, 14.0 + floor, 40.0]
    motion[:, 3:] = 0
    motion[:, 4] = 90
    path = tmp_path / "lies.bvh"
    path.write_text(bvh_text(tree, motion))
    joints = import_bvh(path)
    assert np.ptp(joints[0, :, 1]) < 0.6 and np.ptp(joints[0, :, 2]) > 1.4


def test_the_rig_map_and_the_option_overrule_detection(tmp_path, plain):
    tree = body(AUTODESK)
    path = saved(tmp_path / "z.bvh", tree, walk(tree), "z")
    rig = tmp_path / "rig.yaml"
    rig.write_text("up: y\n")
    assert np.ptp(import_bvh(path, rig)[0, :, 1]) < 1.0
    assert np.abs(import_bvh(path, rig, up="z") - plain).max() < 1e-3
    with pytest.raises(InputError, match="'w' is not an axis that can point up"):
        import_bvh(path, up="w")


def test_left_handed_coordinates_are_mirrored_back(tmp_path, plain):
    tree = [(name, parent, (-x, y, z)) for name, parent, (x, y, z) in body(AUTODESK)]
    path = saved(tmp_path / "left.bvh", tree, walk(tree))
    with pytest.warns(InputWarning, match="feet point backwards, as in left-handed coordinates"):
        joints = import_bvh(path)
    assert np.abs(joints - plain).max() < 1e-3


@pytest.mark.parametrize("parts", [("foot",), ("head",), ("foot", "head"), ("neck", "head")])
@pytest.mark.parametrize("up", ["y", "z"])
def test_a_bone_without_length_counts_as_absent(tmp_path, parts, up):
    whole = body(AUTODESK)
    motion = walk(whole)
    gone = [name for part, name in AUTODESK.items() if part.split("_")[-1] in parts]
    zero = [(name, parent, (0.0, 0.0, 0.0) if name in gone else offset) for name, parent, offset in whole]
    absent = [
        (name, parent - sum(other in gone for other, *_ in whole[:parent]) if parent > 0 else parent, offset)
        for name, parent, offset in whole
        if name not in gone
    ]
    columns = [i for i, (name, *_) in enumerate(whole) if name not in gone]
    kept = np.concatenate([motion[:, :3], *(motion[:, 3 + 3 * i : 6 + 3 * i] for i in columns)], axis=1)
    first = import_bvh(saved(tmp_path / "zero.bvh", zero, motion, up))
    second = import_bvh(saved(tmp_path / "absent.bvh", absent, kept, up))
    if "neck" not in parts:
        assert np.abs(first - second).max() < 1e-6
    for joints in (first, second):
        for side, sign in (("left", 1), ("right", -1)):
            foot, ankle = (joints[0, HUMANML3D.joints.index(f"{side}_{part}")] for part in ("foot", "ankle"))
            assert foot[2] - ankle[2] > 0.08 and sign * ankle[0] > 0
        head, neck = (joints[0, HUMANML3D.joints.index(part)] for part in ("head", "neck"))
        assert head[1] - neck[1] > 0.05


def test_bones_without_length_turn_with_the_body(tmp_path):
    """The same body turned by its root: toes, heads and hands without length turn with it."""
    gone = ("LeftToeBase", "RightToeBase", "Head", "LeftHand", "RightFoot")
    tree = [(name, parent, (0.0, 0.0, 0.0) if name in gone else offset) for name, parent, offset in body(AUTODESK)]
    motion = walk(tree, 30)
    motion[:, 3:] = 0
    motion[:, :3] = [0.0, 95.0, 0.0]
    path = tmp_path / "x.bvh"
    path.write_text(bvh_text(tree, motion))
    ahead = import_bvh(path)
    motion[:, 5] = 90  # about Y: ahead is X
    path.write_text(bvh_text(tree, motion))
    turned = import_bvh(path)
    assert np.abs(np.stack([-turned[..., 2], turned[..., 1], turned[..., 0]], -1) - ahead).max() < 1e-5


@pytest.mark.parametrize(
    ("fps", "doubt"),
    [(20, None), (100, "between two steps"), (4, "recorded at 8 to 500"), (600, "recorded at 8 to 500")],
)
def test_an_implausible_rate_warns_and_can_be_overruled(tmp_path, fps, doubt):
    tree = body(AUTODESK)
    path = saved(tmp_path / "walk.bvh", tree, walk(tree, 80), fps=fps)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = len(import_bvh(path))
    assert found == 79 * 20 // fps + 1
    assert [str(w.message).count(doubt) for w in told] == ([1] if doubt else [])
    assert not told or ("walk.bvh" in str(told[0].message) and "--fps" in str(told[0].message))
    assert len(import_bvh(path, recorded_fps=20)) == 80  # without a warning, which would be an error here
    (tmp_path / "rig.yaml").write_text("fps: 20\n")
    assert len(import_bvh(path, tmp_path / "rig.yaml")) == 80
    assert len(import_bvh(path, tmp_path / "rig.yaml", recorded_fps=40)) == 40


@pytest.mark.parametrize("time", ["0", "-0.05", "nan", "inf", "1e9", "1e-9", "30", "none", "0,05"])
def test_an_impossible_rate_is_refused_unless_overruled(tmp_path, time):
    tree = body(AUTODESK)
    path = saved(tmp_path / "walk.bvh", tree, walk(tree))
    path.write_text(path.read_text().replace("Frame Time: 0.050000", f"Frame Time: {time}"))
    with pytest.raises(InputError, match=r"walk\.bvh: .*give the true rate with --fps"):
        import_bvh(path)
    assert len(import_bvh(path, recorded_fps=20)) == 25
    for rate in (0, -20, 1e9, float("nan")):
        with pytest.raises(InputError, match="the fps given for .* positive number"):
            import_bvh(path, recorded_fps=rate)
