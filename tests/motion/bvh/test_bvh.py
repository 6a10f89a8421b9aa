import numpy as np
import pytest
from bvh_made import AUTODESK, body, bvh_text

from realign.errors import InputError
from realign.motion.bvh import read_bvh, write_bvh
from realign.motion.skeleton import HUMANML3D, KIT

ARM = [("a", -1, (0, 0, 0)), ("b", 0, (0, 2, 0)), ("", 1, (1, 0, 0)), ("", 1, (0, 0, 3))]


def turn(axis: str, degrees: float) -> np.ndarray:
    """Textbook rotation matrices."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array(
        {
            "X": [[1, 0, 0], [0, c, -s], [0, s, c]],
            "Y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
            "Z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
        }[axis]
    )


@pytest.fixture
def saved(tmp_path):
    def save(text: str | bytes):
        path = tmp_path / "clip.bvh"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return save


@pytest.mark.parametrize("order", ["ZXY", "ZYX", "XYZ", "XZY", "YXZ", "YZX"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_kinematics_of_any_channel_order_are_the_product_of_turns(saved, order, newline):
    angles = np.array([[30.0, -50.0, 70.0], [-160.0, 20.0, 95.0]])
    motion = np.array([[1, 2, 3, *angles[0], *angles[1]], [0, 0, 0, 0, 0, 0, 0, 0, 0]])
    bvh = read_bvh(saved(bvh_text(ARM, motion, order=order, newline=newline)))
    assert bvh.names == ("a", "b", "b.end", "b.end2") and bvh.parents == (-1, 0, 1, 1)
    assert bvh.fps == 30 and bvh.num_frames == 2
    first, second = (np.linalg.multi_dot([turn(a, v) for a, v in zip(order, row, strict=True)]) for row in angles)
    root = np.array([1, 2, 3])
    joint = root + first @ [0, 2, 0]
    expected = [root, joint, joint + first @ second @ [1, 0, 0], joint + first @ second @ [0, 0, 3]]
    np.testing.assert_allclose(bvh.global_positions()[0], expected, atol=1e-9)
    np.testing.assert_allclose(bvh.global_positions()[1], [[0, 0, 0], [0, 2, 0], [1, 2, 0], [0, 2, 3]], atol=1e-12)


def test_position_channels_replace_the_offset_on_any_joint(saved):
    text = """HIERARCHY
ROOT top { OFFSET 9 9 9
  CHANNELS 3 Zrotation Xrotation Yrotation
  JOINT low {
    OFFSET 5 6 7
    CHANNELS 4 Yposition Zrotation Zposition Xrotation
    End Site { OFFSET 0 0 0 } } }
MOTION
Frames: 1
Frame Time: 0.008333
90 0 0 1 0 2 0
"""
    positions = read_bvh(saved("\ufeff" + text)).global_positions()
    np.testing.assert_allclose(positions[0, 1], [9 - 1, 9 + 5, 9 + 2], atol=1e-12)


def test_several_roots_and_names_with_blanks(saved):
    text = (
        "HIERARCHY\nROOT left hand\n{\nOFFSET 1 0 0\nCHANNELS 1 Xposition\n}\nROOT b\n{\nOFFSET 0 1 0\nCHANNELS 0\n}\n"
        "MOTION\nFrames:\t2\nFrame Time:\t0.05\n4\n5"
    )
    bvh = read_bvh(saved(text))
    assert bvh.names == ("left hand", "b") and bvh.parents == (-1, -1) and bvh.fps == 20
    np.testing.assert_allclose(bvh.global_positions(), [[[4, 0, 0], [0, 1, 0]], [[5, 0, 0], [0, 1, 0]]])


def test_keywords_in_any_case_and_headers_without_colons(saved):
    text = bvh_text(ARM, np.arange(27.0).reshape(3, 9))
    plain = read_bvh(saved(text))
    for old in ("HIERARCHY", "ROOT", "JOINT", "End Site", "OFFSET", "CHANNELS", "MOTION", "Frames:", "Frame Time:"):
        text = text.replace(old, old.lower().replace(":", " " if old == "Frames:" else " :"))
    text = text.replace("Xrotation", "XROTATION").replace("  ", "\t")
    other = read_bvh(saved(text))
    assert (other.names, other.channels, other.fps) == (plain.names, plain.channels, plain.fps)
    np.testing.assert_array_equal(other.motion, plain.motion)


def test_scale_channels_scale_child_bones(saved):
    text = """HIERARCHY
ROOT a { OFFSET 0 0 0
  CHANNELS 9 Xposition Yposition Zposition Zrotation Xrotation Yrotation Xscale Yscale Zscale
  JOINT b { OFFSET 1 2 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site { OFFSET 0 1e-05 3.0E+00 } } }
MOTION
Frames: 1
Frame Time: 0.05
0 0 0 90 0 0 2 3 1 0 0 0
"""
    positions = read_bvh(saved(text)).global_positions()[0]
    np.testing.assert_allclose(positions, [[0, 0, 0], [-6, 2, 0], [-6, 2, 3]], atol=1e-4)


def test_zero_positions_do_not_remove_bones(saved):
    text = """HIERARCHY
ROOT a { OFFSET 5 5 5
  CHANNELS 3 Xposition Yposition Zposition
  JOINT b { OFFSET 1 2 0
    CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
    End Site { OFFSET 0 0 3 } } }
MOTION
Frames: 1
Frame Time: 0.05
0 0 0 0 0 0 0 0 0
"""
    np.testing.assert_allclose(read_bvh(saved(text)).global_positions()[0], [[0, 0, 0], [1, 2, 0], [1, 2, 3]])


GOOD = bvh_text(ARM, np.arange(27.0).reshape(3, 9))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("  \r\n ", "is empty"),
        ("PK\x03\x04 something", "does not begin with HIERARCHY"),
        (GOOD[: GOOD.index("MOTION")], "no MOTION section"),
        (GOOD[:60], "no MOTION section"),
        (GOOD.replace("}", "", 1), "1 braces open"),
        (GOOD.replace("MOTION", "}\nMOTION"), "closes more braces"),
        (GOOD.replace("OFFSET 0 2 0", "OFFSET 0 two 0"), "OFFSET of joint 'b' is '0 two 0'"),
        (GOOD.replace("OFFSET 0 2 0", "OFFSET 0 2"), "not three numbers"),
        (GOOD.replace("CHANNELS 3", "CHANNELS 4"), "CHANNELS of joint 'b'"),
        (GOOD.replace("Frames: 3", "Frames: none"), "'Frames: none'"),
        (GOOD.replace("Frames: 3", "Frames: 0"), "must be positive"),
        (GOOD.replace("Frames: 3", "Frames: 5"), "announces 5 frames but the file holds 3"),
        (GOOD.replace("Frames: 3", "Frames: 2"), "announces 2 frames but the file holds 3"),
        (GOOD[:-30], "has 6 values where the joints have 9 channels"),
        (GOOD[: GOOD.index("Frame Time")], "'Frames: N' and 'Frame Time: S' are missing"),
        (GOOD.replace("13.000000", "nan"), "value 5 is nan"),
        (GOOD.replace("13.000000", "-inf"), "value 5 is -inf"),
        (
            GOOD.replace("13.000000", "13,0"),
            "line 24, value 5 is '13,0', not a number; export the file again, with points for",
        ),
        (GOOD.replace("  JOINT b", "  BONE b"), "'BONE b' is not a line"),
        (GOOD.replace("HIERARCHY", "HIERARCHY\nOFFSET 0 0 0"), "'OFFSET 0 0 0' comes before any ROOT"),
        (GOOD.replace("HIERARCHY", "HIERARCHY\nCHANNELS 3"), "'CHANNELS 3' comes before any ROOT"),
        (GOOD.replace("HIERARCHY", "HIERARCHY\nEnd Site"), "'End Site' comes before any ROOT"),
    ],
)
def test_damage_is_reported_in_one_sentence(saved, text, says):
    with pytest.raises(InputError, match="clip.bvh") as caught:
        read_bvh(saved(text))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_line_number_is_that_of_the_file(saved):
    lines = GOOD.split("\n")
    row = next(i for i, line in enumerate(lines) if line.startswith("Frame Time")) + 2
    lines[row] = "1 2 3"
    with pytest.raises(InputError, match=rf"line {row + 1} has 3 values"):
        read_bvh(saved("\n".join(lines)))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_bvh(tmp_path / "none.bvh")
    with pytest.raises(InputError, match="is a folder"):
        read_bvh(tmp_path)


def wild_motion(skeleton, frames: int, seed: int) -> np.ndarray:
    """Joints of rigid bones in random directions, including opposite and straight ones."""
    random = np.random.default_rng(seed)
    lengths = random.uniform(0.05, 0.4, skeleton.num_joints)
    directions = random.normal(size=(frames, skeleton.num_joints, 3))
    directions[1] = -directions[0]
    directions[2] = [0, 1, 0]
    directions[3] = [0, -1, 0]
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    for parent in {p for p in skeleton.parents if p >= 0 and skeleton.parents.count(p) > 1}:
        below = [joint for joint, above in enumerate(skeleton.parents) if above == parent]
        turned = np.linalg.qr(random.normal(size=(frames, 3, 3)))[0]
        turned *= np.linalg.det(turned)[:, None, None]  # rotations: bones that leave one joint are rigid together
        directions[:, below] = directions[0, below] @ turned
    joints = np.zeros((frames, skeleton.num_joints, 3))
    joints[:, 0] = random.normal(size=(frames, 3)).cumsum(axis=0)
    left = list(range(1, skeleton.num_joints))
    done = {0}
    while left:
        joint = next(j for j in left if skeleton.parents[j] in done)
        joints[:, joint] = joints[:, skeleton.parents[joint]] + directions[:, joint] * lengths[joint]
        done.add(joint)
        left.remove(joint)
    return joints


@pytest.mark.parametrize("skeleton", [HUMANML3D, KIT], ids=lambda s: s.name)
def test_writing_and_reading_joints_is_exact(tmp_path, skeleton):
    joints = wild_motion(skeleton, 12, seed=3)
    write_bvh(tmp_path / "x.bvh", joints, skeleton)
    bvh = read_bvh(tmp_path / "x.bvh")
    assert bvh.fps == skeleton.fps
    found = bvh.global_positions()[:, [bvh.names.index(name) for name in skeleton.joints]]
    assert np.abs(found - joints).max() < 1e-4


def test_written_file_is_plain_standard_bvh(tmp_path):
    write_bvh(tmp_path / "x.bvh", wild_motion(HUMANML3D, 5, 0), HUMANML3D, fps=30)
    lines = (tmp_path / "x.bvh").read_text(encoding="ascii").splitlines()
    bvh = read_bvh(tmp_path / "x.bvh")
    assert lines[:2] == ["HIERARCHY", "ROOT pelvis"] and bvh.fps == 30
    assert sorted(name for name in bvh.names if not name.endswith(".end")) == sorted(HUMANML3D.joints)
    assert [len(channels) for channels in bvh.channels if channels] == [6] + [3] * (sum(map(bool, bvh.channels)) - 1)
    rest = dict(zip(bvh.names, bvh.rest_positions(), strict=True))
    assert rest["head"][1] > rest["neck"][1] > rest["pelvis"][1] > rest["left_knee"][1] > rest["left_ankle"][1]
    assert rest["left_wrist"][0] > rest["left_shoulder"][0] > 0 > rest["right_wrist"][0]
    assert rest["left_foot"][2] > rest["left_ankle"][2]


def test_written_angles_do_not_jump_by_whole_turns(tmp_path):
    turns = np.deg2rad(np.arange(0, 720, 5.0))
    joints = np.repeat(wild_motion(HUMANML3D, 1 + 3, 1)[:1], len(turns), axis=0)
    cosine, sine = np.cos(turns)[:, None], np.sin(turns)[:, None]
    x, z = joints[..., 0].copy(), joints[..., 2].copy()
    joints[..., 0], joints[..., 2] = cosine * x + sine * z, cosine * z - sine * x
    write_bvh(tmp_path / "x.bvh", joints)
    motion = read_bvh(tmp_path / "x.bvh").motion
    assert np.abs(np.diff(motion[:, 3:], axis=0)).max() < 180


@pytest.mark.parametrize(
    ("joints", "fps", "says"),
    [
        (np.zeros((4, 21, 3)), 20, "do not fit skeleton 'humanml3d'"),
        (np.zeros((0, 22, 3)), 20, "do not fit"),
        (np.full((4, 22, 3), np.nan), 20, "NaN"),
        (np.zeros((4, 22, 3)), 0, "fps 0"),
    ],
)
def test_unwritable_joints_are_refused_and_leave_nothing(tmp_path, joints, fps, says):
    with pytest.raises(InputError, match=says):
        write_bvh(tmp_path / "x.bvh", joints, HUMANML3D, fps)
    assert not list(tmp_path.iterdir())


def test_joints_at_one_point_are_written_without_nan(tmp_path):
    write_bvh(tmp_path / "x.bvh", np.zeros((3, 22, 3)))
    assert np.isfinite(read_bvh(tmp_path / "x.bvh").motion).all()


def test_every_shared_recording_reads(shared_data):
    paths = sorted((shared_data / "bvh").rglob("*.bvh"))
    assert len(paths) >= 20
    for path in paths:
        bvh = read_bvh(path)
        positions = bvh.frames(0, 60).global_positions()
        assert bvh.fps == (30 if path.parent.name == "bandai" else 120)
        assert positions.shape == (min(60, bvh.num_frames), len(bvh.names), 3)
        assert 100 < np.ptp(positions[0, :, 1]) < 200  # people, in centimetres, upright


def test_real_motions_survive_writing_and_reading(shared_data, tmp_path):
    paths = sorted((shared_data / "mocap" / "new_joints").glob("*.npy"))[::200]
    for path in paths:
        joints = np.load(path)
        write_bvh(tmp_path / "x.bvh", joints)
        bvh = read_bvh(tmp_path / "x.bvh")
        found = bvh.global_positions()[:, [bvh.names.index(name) for name in HUMANML3D.joints]]
        errors = np.linalg.norm(found - joints, axis=-1)
        assert errors.mean() < 1e-3 and errors.max() < 0.012  # pelvis and chest of recordings are not quite rigid


def test_made_bodies_are_well_formed(saved):
    tree = body(AUTODESK)
    bvh = read_bvh(saved(bvh_text(tree, np.zeros((2, 3 + 3 * len(tree))))))
    assert "LeftUpLeg" in bvh.names and bvh.rest_positions()[:, 1].max() > 150
