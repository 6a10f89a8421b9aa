"""Reading skinned figures of glTF: what was written, figures of other programs, damaged files."""

import base64
import json
import struct
import warnings

import numpy as np
import pytest
import torch
from made import person

from realign.errors import InputError
from realign.motion import HUMANML3D, MotionClip
from realign.motion.bvh import read_bvh
from realign.motion.gltf import _Buffer, _packed
from realign.motion.gltf_reader import read_gltf
from realign.motion.rotation_solver import solve_rotations
from realign.motion.rotations import quaternion_multiply

MIXAMO = [
    "Hips",
    "LeftUpLeg",
    "RightUpLeg",
    "Spine",
    "LeftLeg",
    "RightLeg",
    "Spine1",
    "LeftFoot",
    "RightFoot",
    "Spine2",
]
MIXAMO += ["LeftToeBase", "RightToeBase", "Neck", "LeftShoulder", "RightShoulder", "Head", "LeftArm", "RightArm"]
MIXAMO += ["LeftForeArm", "RightForeArm", "LeftHand", "RightHand"]


def standing(frames: int = 30) -> np.ndarray:
    joints = person(3, frames, HUMANML3D, turn=0.1).numpy() * 2
    joints[..., 1] -= joints[..., 1].min()
    return joints.astype(np.float32)


def foreign(frames: int = 30, fps: float = 20.0, kind: str = "LINEAR", **changes) -> dict:
    """A figure of Mixamo's names in centimetres below a node that scales it and turns it up, as Blender writes it."""
    posed = solve_rotations(torch.from_numpy(standing(frames)), HUMANML3D, fps)
    buffer = _Buffer()
    times = buffer.add(np.arange(frames) / fps)
    rest, rotations = posed.rest.numpy() * 100, np.roll(posed.rotations.numpy(), -1, axis=-1)
    nodes = [{"name": "Armature", "children": [1], "scale": [0.01] * 3, "rotation": [-(0.5**0.5), 0, 0, 0.5**0.5]}]
    back = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # the hips stand along Z below the armature
    root = posed.root.numpy() * 100 @ back.T
    turn = torch.tensor([0.5**0.5, 0.5**0.5, 0, 0]).expand(frames, 4)
    rotations[:, 0] = np.roll(quaternion_multiply(turn, posed.rotations[:, 0].float()).numpy(), -1, axis=-1)
    for joint, name in enumerate(MIXAMO):
        below = [child + 1 for child, parent in enumerate(HUMANML3D.parents) if parent == joint]
        place = root[0] if joint == 0 else rest[joint]
        nodes.append(
            {"name": f"mixamorig:{name}", "translation": place.tolist()} | ({"children": below} if below else {})
        )
    paths = [(1, "translation", root)] + [(joint + 1, "rotation", rotations[:, joint]) for joint in range(22)]
    samplers = []
    for _, _, rows in paths:
        if kind == "CUBICSPLINE":
            rows = np.stack([np.zeros_like(rows), rows, np.zeros_like(rows)], axis=1).reshape(-1, rows.shape[1])
        samplers.append({"input": times, "output": buffer.add(rows), "interpolation": kind})
    channels = [{"sampler": k, "target": {"node": node, "path": path}} for k, (node, path, _) in enumerate(paths)]
    data = bytes(buffer.data)
    content = {
        "asset": {"version": "2.0", "generator": "another"}, "nodes": nodes, "skins": [{"joints": list(range(1, 23))}],
        "animations": [{"name": "Armature|mixamo.com|Layer0", "channels": channels, "samplers": samplers}],
        "accessors": buffer.accessors, "bufferViews": buffer.views, "buffers": [{"byteLength": len(data)}],
    }  # fmt: skip
    return {"content": content | changes, "data": data}


def save(path, file: dict):
    path.write_bytes(_packed(file["content"], file["data"]))
    return path


def test_what_was_written_is_read_back(tmp_path):
    clip = MotionClip(standing(), 20.0, "a person walks")
    clip.save(tmp_path / "x.glb")
    clip.save(tmp_path / "x.bvh")
    found = MotionClip.load(tmp_path / "x.glb")
    assert (found.caption, found.fps, len(found)) == ("a person walks", 20.0, 30)
    assert np.abs(found.joints - MotionClip.load(tmp_path / "x.bvh").joints).max() < 1e-4


def test_a_figure_of_another_program_is_retargeted(tmp_path):
    plain = MotionClip.load(save(tmp_path / "x.glb", foreign()))
    MotionClip(standing(), 20.0).save(tmp_path / "own.bvh")
    bvh = read_bvh(tmp_path / "own.bvh")
    own = bvh.global_positions()[:, [bvh.names.index(name) for name in HUMANML3D.joints]]
    (figure,) = read_gltf(tmp_path / "x.glb")
    assert np.abs(figure.positions - own).max() < 1e-4  # metres and Y up, through the node above the hips
    assert plain.caption == ""
    for joint, parent in ((7, 4), (8, 5), (18, 16), (20, 18), (21, 19)):  # limbs keep their directions
        bones = [joints[:, joint] - joints[:, parent] for joints in (plain.joints, own)]
        units = [bone / np.linalg.norm(bone, axis=-1, keepdims=True) for bone in bones]
        assert np.abs(units[0] - units[1]).max() < 1e-3
    for kind, frames, fps in (("CUBICSPLINE", 30, 20.0), ("STEP", 30, 20.0), ("LINEAR", 59, 40.0)):
        found = MotionClip.load(save(tmp_path / "y.glb", foreign(frames, fps, kind)))
        assert len(found) == 30
        if fps == 20:  # at the key frames all kinds agree
            assert np.abs(found.joints - plain.joints).max() < 1e-4
    assert len(MotionClip.load(tmp_path / "y.glb", fps=20)) == 59  # slower than its times say


def test_sparse_key_frames_are_interpolated(tmp_path):
    file = foreign(5, 2.0)
    figure = read_gltf(save(tmp_path / "x.glb", file))[0]
    assert (figure.fps, figure.num_frames) == (60.0, 121)
    bones = np.linalg.norm(figure.positions[:, 4] - figure.positions[:, 1], axis=-1)
    assert np.ptp(bones) < 1e-5  # rotations are interpolated, so that bones keep their lengths between key frames
    assert len(MotionClip.load(tmp_path / "x.glb")) == 41


def test_several_animations_and_buffers_beside_or_inside(tmp_path):
    file = foreign()
    file["content"]["animations"] *= 2
    file["content"]["animations"].append({"name": "camera", "channels": [], "samplers": []})
    assert len(MotionClip.load_all(save(tmp_path / "x.glb", file))) == 2
    content = foreign()["content"]
    for uri in ("x%20y.bin", "data:application/octet-stream;base64," + base64.b64encode(file["data"]).decode()):
        (tmp_path / "x y.bin").write_bytes(file["data"])
        content["buffers"][0]["uri"] = uri
        (tmp_path / "x.gltf").write_text(json.dumps(content))
        assert len(MotionClip.load(tmp_path / "x.gltf")) == 30
    for uri, reason in (
        ("../x.bin", "outside its folder"),
        ("http://a.b/c", "outside|beside"),
        ("no.bin", "beside it"),
    ):
        content["buffers"][0]["uri"] = uri
        (tmp_path / "x.gltf").write_text(json.dumps(content))
        with pytest.raises(InputError, match=reason):
            MotionClip.load(tmp_path / "x.gltf")


def test_bad_files_are_one_sentence(tmp_path):
    file = foreign()
    path = save(tmp_path / "x.glb", file)
    whole = path.read_bytes()
    nodes, views, accessors = (file["content"][name] for name in ("nodes", "bufferViews", "accessors"))
    loop = [*nodes[:1], nodes[1] | {"children": [1]}, *nodes[2:]]
    for changes, reason in (
        ({"skins": []}, "has no skin"),
        ({"animations": []}, "no animation of its skin"),
        ({"asset": {"version": "1.0"}}, "glTF 1.0"),
        ({"nodes": loop}, "damaged"),
        ({"nodes": nodes[:5]}, "damaged"),
        ({"nodes": [nodes[0], *({"name": f"bone{k}"} | each for k, each in enumerate(nodes[1:]))]}, None),
        ({"nodes": [each | {"name": f"n{k}"} for k, each in enumerate(nodes)]}, "unknown rig"),
        ({"skins": [{"joints": [-1]}]}, "damaged"),
        ({"skins": 3}, "damaged"),
        ({"bufferViews": [each | {"extensions": {"EXT_meshopt_compression": {}}} for each in views]}, "compress"),
        ({"accessors": [each | {"count": 10**9} for each in accessors]}, "damaged"),
        ({"accessors": [each | {"byteOffset": -4} for each in accessors]}, "damaged"),
    ):
        save(path, foreign(**changes))
        if reason is None:
            assert MotionClip.load(path)
            continue
        with pytest.raises(InputError, match=reason) as error:
            MotionClip.load(path)
        assert "x.glb" in str(error.value)
    nan = bytearray(file["data"])
    struct.pack_into("<f", nan, views[1]["byteOffset"], float("nan"))
    path.write_bytes(_packed(file["content"], bytes(nan)))
    with pytest.raises(InputError, match="NaN"):
        MotionClip.load(path)
    rng = np.random.default_rng(0)
    for cut in (4, 13, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match="x.glb is cut off at"):
            MotionClip.load(path)
    for _ in range(40):  # a file with damage is refused in a sentence, or still is a motion
        torn = bytearray(whole)
        for place in rng.integers(12, min(len(torn), 12_000), 3):
            torn[place] = rng.integers(256)
        path.write_bytes(torn)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                MotionClip.load_all(path)
        except InputError:
            pass
