"""Files of rotations, read back by plain programs of their own: one motion in every format."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from body_parts import made_body
from made import person
from scipy.spatial.transform import Rotation

from realign.cli import main
from realign.errors import InputError
from realign.motion.amass import BodyMotion
from realign.motion.clip import MotionClip
from realign.motion.rotation_solver import solve_rotations
from realign.motion.skeleton import HUMANML3D, KIT
from realign.motion.smpl import BodyModel
from realign.render.save import save_motions


def clip(frames: int = 12) -> MotionClip:
    """A motion whose bones change their length, as generated ones do."""
    return MotionClip(person(0, frames).numpy(), 20.0, "a person 歩く")


def body_of_size(size: float) -> np.ndarray:
    """A person of rigid bones, so many times as large as the reference, who walks off."""
    rng, frames = np.random.default_rng(4), 10
    turns = np.linspace(0, 1, frames)[:, None, None] * rng.normal(0, 0.2, (22, 3))
    local = [Rotation.from_rotvec(turns[:, joint]) for joint in range(22)]
    offsets = np.array(HUMANML3D.rest_offsets) * size
    for joint, side in ((18, 1), (19, -1)):  # arms that hang do not stand for legs
        offsets[joint] = [side * 0.25 * size, 0, 0]
    root = np.linspace([0, 1, 0], [0.5, 1, 2], frames) * size
    return chained(local, offsets, root, list(HUMANML3D.parents)).astype(np.float32)


def rigid_joints(motion: MotionClip) -> np.ndarray:
    skeleton = KIT if motion.skeleton == "kit" else HUMANML3D
    return solve_rotations(torch.from_numpy(motion.joints), skeleton, motion.fps).joints().numpy()


def chained(local: list[Rotation], offsets: np.ndarray, root: np.ndarray, parents: list[int]) -> np.ndarray:
    """(T, J, 3) positions from rotations of T frames for each joint."""
    world, places = [], []
    for joint, parent in enumerate(parents):
        world.append(local[joint] if parent < 0 else world[parent] * local[joint])
        places.append(root if parent < 0 else places[parent] + world[parent].apply(offsets[joint]))
    return np.stack(places, axis=1)


def plain_bvh(path: Path) -> tuple[dict[str, np.ndarray], float]:
    """Positions by joint of a .bvh, read word by word."""
    words = path.read_text().split()
    names, parents, offsets, orders, stack = [], [], [], [], []
    at = 0
    while words[at] != "MOTION":
        word = words[at]
        if word in ("ROOT", "JOINT", "End"):
            names.append(words[at + 1])
            parents.append(stack[-1] if stack else -1)
            orders.append([])
            offsets.append([0.0] * 3)
        elif word == "{":
            stack.append(len(names) - 1)
        elif word == "}":
            stack.pop()
        elif word == "OFFSET":
            offsets[-1] = [float(value) for value in words[at + 1 : at + 4]]
        elif word == "CHANNELS":
            orders[-1] = words[at + 2 : at + 2 + int(words[at + 1])]
        at += 1
    frames, seconds = int(words[at + 2]), float(words[at + 5])
    values = np.array(words[at + 6 :], dtype=float).reshape(frames, -1)
    local, column, root = [], 0, values[:, :3]
    for order in orders:
        turns = [i for i, name in enumerate(order) if name.endswith("rotation")]
        axes = "".join(order[i][0] for i in turns)
        angles = values[:, [column + i for i in turns]]
        local.append(Rotation.from_euler(axes, angles, degrees=True) if turns else Rotation.identity(frames))
        column += len(order)
    places = chained(local, np.array(offsets), root, parents)
    return {name: places[:, i] for i, name in enumerate(names) if name != "Site"}, 1 / seconds


def plain_glb(path: Path) -> tuple[dict, list[np.ndarray]]:
    """The JSON of a .glb and the arrays of its accessors, as the specification lays them out."""
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data)) and len(data) % 4 == 0
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON" and size % 4 == 0
    content = json.loads(data[20 : 20 + size])
    rest, kind = struct.unpack_from("<I4s", data, 20 + size)
    binary = data[28 + size :]
    assert kind == b"BIN\0" and rest == len(binary) == content["buffers"][0]["byteLength"]
    arrays = []
    for accessor in content["accessors"]:
        view = content["bufferViews"][accessor["bufferView"]]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor["type"]]
        kind = {5126: "<f4", 5123: "<u2", 5121: "u1"}[accessor["componentType"]]
        assert view["byteOffset"] % 4 == 0 and view["byteOffset"] + view["byteLength"] <= len(binary)
        array = np.frombuffer(binary, kind, accessor["count"] * width, view["byteOffset"]).reshape(-1, width)
        assert array.nbytes == view["byteLength"]
        if "min" in accessor:  # float32 numbers, told exactly
            assert np.array_equal(array.min(axis=0), np.float32(accessor["min"]))
            assert np.array_equal(array.max(axis=0), np.float32(accessor["max"]))
        arrays.append(array)
    return content, arrays


def glb_joints(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Positions by joint, and the times of the frames."""
    content, arrays = plain_glb(path)
    nodes, (animation,) = content["nodes"], content["animations"]
    parents = [
        next((p for p, node in enumerate(nodes) if i in node.get("children", [])), -1) for i in range(len(nodes))
    ]
    frames = len(arrays[animation["samplers"][0]["input"]])
    local = [Rotation.identity(frames) for _ in nodes]
    moves = {}
    for channel in animation["channels"]:
        sampler = animation["samplers"][channel["sampler"]]
        node, output = channel["target"]["node"], arrays[sampler["output"]]
        assert sampler["interpolation"] == "LINEAR" and len(output) == frames
        if channel["target"]["path"] == "rotation":
            assert np.abs(np.linalg.norm(output, axis=-1) - 1).max() < 1e-6
            assert (output[1:] * output[:-1]).sum(axis=-1).min() > -1e-6  # the short way round
            local[node] = Rotation.from_quat(output)
        else:
            moves[node] = output
    assert list(moves) == [0]
    offsets = np.array([node.get("translation", (0, 0, 0)) for node in nodes])
    joints = content["skins"][0]["joints"]
    places = chained([local[i] for i in joints], offsets, moves[0], [parents[i] for i in joints])
    times = arrays[animation["samplers"][0]["input"]][:, 0]
    return {nodes[i]["name"]: places[:, i] for i in joints}, times


def still_body(rest: np.ndarray, parents: tuple[int, ...]) -> BodyModel:
    """A body of these joints at rest, whose shape has no effect."""
    return BodyModel("smplh", rest, np.zeros((len(rest), 3, 16)), parents)


def amass_joints(path: Path, offsets: np.ndarray, pelvis: np.ndarray) -> tuple[np.ndarray, float]:
    """HumanML3D's joints of a .npz on a body with these offsets from the parents."""
    rest = np.array(offsets)
    rest[0] = pelvis
    for joint, parent in enumerate(HUMANML3D.parents):
        if parent >= 0:
            rest[joint] += rest[parent]
    motion = BodyMotion.read(path)
    joints = still_body(rest, HUMANML3D.parents).joints(motion.poses[:, :22], motion.betas, motion.trans)
    x, y, z = np.moveaxis(joints, -1, 0)
    return np.stack([-x, z, y], axis=-1), motion.fps


def test_one_motion_in_every_format(tmp_path):
    motion = clip()
    expected = rigid_joints(motion)
    for suffix in ("bvh", "npz", "glb", "npy"):
        motion.save(tmp_path / f"x.{suffix}")
    found, fps = plain_bvh(tmp_path / "x.bvh")
    assert list(sorted(found)) == sorted(HUMANML3D.joints) and fps == pytest.approx(20)
    assert np.abs(np.stack([found[name] for name in HUMANML3D.joints], axis=1) - expected).max() < 1e-5
    found, times = glb_joints(tmp_path / "x.glb")
    assert np.abs(np.stack([found[name] for name in HUMANML3D.joints], axis=1) - expected).max() < 1e-5
    assert np.abs(times - np.arange(12) / 20).max() < 1e-6
    rest = solve_rotations(torch.from_numpy(motion.joints), HUMANML3D).rest.numpy()
    joints, fps = amass_joints(tmp_path / "x.npz", rest, np.zeros(3))
    assert np.abs(joints - expected).max() < 1e-6 and fps == 20
    differences = np.linalg.norm(np.load(tmp_path / "x.npy") - expected, axis=-1)
    assert 0 < differences.mean() < 0.025  # what rigid bones cannot follow


def test_a_written_bvh_is_read_as_the_same_motion(tmp_path):
    """Neither its height nor its path nor its bones change: rigid bones are all that differs from the .npy."""
    joints = body_of_size(1.03)
    joints[..., 1] -= joints[..., 1].min() + 0.014  # a foot in the floor
    motion = MotionClip(joints, 20.0)
    motion.save(tmp_path / "x.bvh")
    motion.save(tmp_path / "fast.bvh", fps=40)
    for name in ("x.bvh", "fast.bvh"):
        found = MotionClip.load(tmp_path / name)
        assert found.fps == 20 and np.abs(found.joints - joints).max() < 1e-4
    MotionClip(body_of_size(1.3), 20.0).save(tmp_path / "tall.bvh")  # a body of another size is retargeted
    tall = MotionClip.load(tmp_path / "tall.bvh").joints
    lengths = np.linalg.norm(tall[:, 1:] - tall[:, list(HUMANML3D.parents[1:])], axis=-1)
    assert np.abs(lengths - np.linalg.norm(HUMANML3D.rest_offsets, axis=-1)[1:]).max() < 1e-4
    assert tall[..., 1].min() == 0


def test_amass_files_hold_what_viewers_ask_for(tmp_path):
    clip().save(tmp_path / "x.npz", fps=40)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    shapes = {name: array.shape for name, array in found.items()}
    assert shapes == {
        **{"trans": (23, 3), "poses": (23, 156), "betas": (16,), "dmpls": (23, 8)},
        **{"gender": (), "mocap_framerate": (), "mocap_frame_rate": ()},
    }
    assert found["gender"].dtype.kind == "U" and str(found["gender"]) == "neutral"
    assert found["mocap_framerate"] == found["mocap_frame_rate"] == 40
    assert not found["betas"].any() and not found["dmpls"].any() and not found["poses"][:, 66:].any()
    upright = Rotation.from_rotvec(found["poses"][0, :3]).apply([0, 1, 0])
    assert upright[2] > 0.8 and np.abs(found["trans"][::2, 2] - rigid_joints(clip())[:, 0, 1]).max() < 1e-9


def test_a_body_model_gives_its_pelvis_and_rest_pose(tmp_path):
    model = made_body("smplh")
    (tmp_path / "bodies" / "female").mkdir(parents=True)
    np.savez(tmp_path / "bodies" / "female" / "model.npz", **model)
    body = BodyModel.read(tmp_path / "bodies" / "female" / "model.npz")
    rng = np.random.default_rng(2)
    poses, trans = rng.normal(0, 0.4, (6, 22, 3)), rng.normal(0, 1, (6, 3))
    x, y, z = np.moveaxis(body.joints(poses, np.zeros(16), trans, 22), -1, 0)
    motion = MotionClip(np.stack([-x, z, y], axis=-1), 20.0)
    motion.save(tmp_path / "x.npz", body_models=tmp_path / "bodies")
    written = BodyMotion.read(tmp_path / "x.npz")
    assert written.gender == "female" and not written.gender_is_bytes
    x, y, z = np.moveaxis(body.joints(written.poses, written.betas, written.trans, 22), -1, 0)
    assert np.abs(np.stack([-x, z, y], axis=-1) - motion.joints).max() < 1e-5


def test_figures_are_valid_gltf(tmp_path):
    motion = clip()
    motion.save(tmp_path / "x.glb")
    content, arrays = plain_glb(tmp_path / "x.glb")
    assert content["asset"]["version"] == "2.0" and content["animations"][0]["name"] == motion.caption
    (mesh,), (skin,) = content["meshes"], content["skins"]
    (primitive,) = mesh["primitives"]
    points, normals, owners, weights = (
        arrays[primitive["attributes"][name]] for name in ("POSITION", "NORMAL", "JOINTS_0", "WEIGHTS_0")
    )
    faces = arrays[primitive["indices"]].reshape(-1, 3)
    assert faces.max() < len(points) and np.abs(np.linalg.norm(normals, axis=-1) - 1).max() < 1e-6
    assert owners.max() < len(skin["joints"]) and (weights.sum(axis=-1) == 1).all()
    assert not owners[:, 1:].any()  # unused ones are zero
    a, b, c = (points[faces[:, corner]] for corner in range(3))
    outward = np.cross(b - a, c - a)
    assert ((outward * normals[faces].sum(axis=1)).sum(axis=-1) > 0).all()  # counter-clockwise from outside
    accessors = content["accessors"]
    assert {"min", "max"} <= set(accessors[primitive["attributes"]["POSITION"]])
    assert all({"min", "max"} <= set(accessors[s["input"]]) for s in content["animations"][0]["samplers"])
    binds = arrays[skin["inverseBindMatrices"]].reshape(-1, 4, 4).swapaxes(1, 2)  # stored by columns
    places, parents = {}, {c: p for p, node in enumerate(content["nodes"]) for c in node.get("children", [])}
    for joint in skin["joints"]:
        below = joint in parents
        places[joint] = places[parents[joint]] + content["nodes"][joint]["translation"] if below else np.zeros(3)
        assert np.abs(binds[joint] @ [*places[joint], 1] - [0, 0, 0, 1]).max() < 1e-6
    figure = next(i for i, node in enumerate(content["nodes"]) if "skin" in node)
    assert content["scenes"][0]["nodes"] == [0, figure] and "translation" not in content["nodes"][figure]


def test_kit_motions_have_figures_but_no_smpl_rotations(tmp_path):
    motion = MotionClip(person(0, 5, KIT).numpy(), 12.5, "", "kit")
    motion.save(tmp_path / "x.glb")
    found, _ = glb_joints(tmp_path / "x.glb")
    assert np.abs(found["left_toes"] - rigid_joints(motion)[:, 20] * KIT.metres).max() < 1e-5
    with pytest.raises(InputError, match="21 joints of kit"):
        motion.save(tmp_path / "x.npz")
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("x.gif", {"fps": 30}, ".gif file keeps the rate"),
        ("x.npy", {"fps": 30}, ".npy file keeps the rate"),
        ("x.npy", {"smooth": 0.1}, ".npy file keeps the joints"),
        ("x.glb", {"smooth": -1}, "smoothed over -1 s"),
        ("x.glb", {"smooth": float("nan")}, "smoothed over nan s"),
        ("x.npz", {"fps": 0}, "the rate to write must be"),
        ("x.npz", {"fps": float("nan")}, "the rate to write must be"),
        ("x.bvh", {"body_models": "."}, "no use for body models"),
        ("x.npz", {"body_models": "nowhere"}, "nowhere does not exist"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, name, options, says):
    with pytest.raises(InputError, match=says):
        save_motions(tmp_path / name, [clip(3)], **options)
    assert not list(tmp_path.iterdir())


def test_commands_write_them_and_refuse_early(tmp_path, capsys):
    np.save(tmp_path / "walk.npy", body_of_size(1.0))
    words = ["render", str(tmp_path / "walk.npy"), "-o"]
    for name in ("x.npz", "x.glb", "x.bvh"):
        assert main([*words, str(tmp_path / name), "--output-fps", "40", "--smooth", "0.05"]) == 0
        assert capsys.readouterr().out.strip() == str(tmp_path / name)
    assert BodyMotion.read(tmp_path / "x.npz").fps == 40 and len(BodyMotion.read(tmp_path / "x.npz").trans) == 19
    for command in (words, ["generate", "a person walks", "-o"]):
        assert main([*command, str(tmp_path / "y.gif"), "--output-fps", "40"]) == 2
        assert "keeps the rate" in capsys.readouterr().err
    assert not (tmp_path / "y.gif").exists()
