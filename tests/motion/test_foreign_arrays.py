"""Arrays as common tools save them: shapes, units, axes, normalised features, pickled results, attacks."""

import io
import os
import pickle
import struct
import warnings

import numpy as np
import pytest
import torch
from made import KIT_SCALED, person

from realign.errors import InputError, InputWarning
from realign.motion import HUMANML3D, KIT, MotionClip, joints_to_features
from realign.motion.upright import UP_AXES, turn_up


def real(frames: int = 30, skeleton=HUMANML3D) -> np.ndarray:
    """Joints of a body with the size and the height of an adult, in the skeleton's unit."""
    joints = person(3, frames, skeleton, turn=0.1).numpy() / (1.0 if skeleton is HUMANML3D else 400)
    joints = joints * 2 / (1.0 if skeleton is HUMANML3D else KIT.metres)
    joints[..., 1] -= joints[..., 1].min()
    return joints.astype(np.float32)


@pytest.fixture
def load(tmp_path):
    def loaded(array, **options) -> list[np.ndarray]:
        np.save(tmp_path / "x.npy", array, allow_pickle=True)
        return [clip.joints for clip in MotionClip.load_all(tmp_path / "x.npy", **options)]

    return loaded


@pytest.mark.parametrize(
    "change",
    [
        lambda j: j[None],
        lambda j: j[None, None],
        lambda j: j.transpose(1, 2, 0),
        lambda j: j.transpose(1, 2, 0)[None],
        lambda j: j.reshape(len(j), -1),
        lambda j: j.reshape(1, len(j), -1),
        lambda j: j.astype(">f4"),
        lambda j: j.astype(np.float64),
        np.asfortranarray,
    ],
    ids=["1TJ3", "11TJ3", "J3T", "1J3T", "flat", "1flat", "big-endian", "float64", "fortran"],
)
@pytest.mark.parametrize("skeleton", [HUMANML3D, KIT], ids=lambda s: s.name)
def test_shapes_of_one_clip(load, change, skeleton):
    joints = real(skeleton=skeleton)
    (found,) = load(change(joints))
    np.testing.assert_array_equal(found, joints)


def test_integers_are_positions_in_a_small_unit(load):
    with pytest.warns(InputWarning, match="millimetres"):
        (found,) = load(np.rint(1000 * real()).astype(np.int16))
    np.testing.assert_allclose(found, real(), atol=1e-3)


@pytest.mark.parametrize("joints", [24, 52, 55, 144])
@pytest.mark.parametrize("flat", [False, True])
def test_body_joints_of_smpl_are_used(load, joints, flat):
    more = np.concatenate([real(), np.random.default_rng(0).normal(size=(30, joints - 22, 3))], axis=1)
    with pytest.warns(InputWarning, match=f"the first 22 of its {joints} joints"):
        (found,) = load(more.reshape(30, -1) if flat else more)
    np.testing.assert_array_equal(found, real())


@pytest.mark.parametrize("width", [63, 66, 72, 156, 165])
def test_rotations_in_rows_are_not_positions(load, width):
    poses = 0.5 * np.random.default_rng(0).normal(size=(30, width)) * np.sin(np.arange(30))[:, None]
    with pytest.raises(InputError, match=f"rows of {width} numbers.*if they are rotations, such as those of SMPL"):
        load(poses)


def test_several_clips(load, tmp_path):
    joints, features = real(40), joints_to_features(torch.from_numpy(real(40))).numpy()
    for array in (
        joints.reshape(4, 10, 22, 3),
        joints.reshape(4, 10, 22, 3).transpose(0, 2, 3, 1),
        joints.reshape(2, 2, 10, 66),
        np.array([*joints.reshape(4, 10, 22, 3), joints[:7]], dtype=object)[:4],
    ):
        np.testing.assert_array_equal(np.concatenate(load(array)), joints)
    assert [len(clip) for clip in load(np.stack([features, features]))] == [39, 39]
    assert [len(clip) for clip in load(features.T[None, :, None])] == [39]  # as MDM's model gives them
    np.save(tmp_path / "two.npy", np.stack([features, features]))
    with pytest.raises(InputError, match="holds 2 motions"):
        MotionClip.load(tmp_path / "two.npy")


@pytest.mark.parametrize(
    ("skeleton", "factor", "unit"),
    [(HUMANML3D, 100, "centimetres"), (HUMANML3D, 1000, "millimetres"), (HUMANML3D, 39.37, "inches")]
    + [(KIT, KIT.metres, "metres"), (KIT, 100 * KIT.metres, "centimetres")],
)
def test_units_are_detected_by_leg_length(load, skeleton, factor, unit):
    with pytest.warns(InputWarning, match=f"x.npy: .* are in {unit}"):
        (found,) = load(factor * real(skeleton=skeleton))
    np.testing.assert_allclose(found, real(skeleton=skeleton), rtol=1e-4, atol=1e-4 / skeleton.metres)


@pytest.mark.parametrize("factor", [0.01, 10, 1e5, 1e200])
def test_implausible_sizes_are_refused(load, factor):
    with pytest.raises(InputError, match="are not a person"):
        load(factor * real().astype(np.float64))


@pytest.mark.parametrize("skeleton", [HUMANML3D, KIT], ids=lambda s: s.name)
@pytest.mark.parametrize("up", [axis for axis in UP_AXES if axis != "y"])
def test_another_up_axis_is_reported_and_turned(load, up, skeleton):
    joints = real(skeleton=skeleton)
    other = joints @ np.array(turn_up(np.eye(3), up)).T.astype(np.float32)
    for moved in (other, other - other[:1, :1], other - other[:, :1]):
        with pytest.raises(InputError, match=f"the body stands along {up}, but Y has to point up: give --up={up} "):
            load(moved)
    (found,) = load(other, up=up)
    np.testing.assert_allclose(found, joints, atol=1e-3)
    np.testing.assert_array_equal(load(other, up="y")[0], other)


def test_a_person_lying_on_the_floor_is_accepted(load):
    lying = real()[..., [0, 2, 1]] * np.float32([1, 1, -1]) + np.float32([0, 0, 0.5])
    lying[..., 1] -= lying[..., 1].min(axis=1, keepdims=True)
    np.testing.assert_array_equal(load(lying)[0], lying)


@pytest.mark.parametrize("skeleton", [HUMANML3D, KIT_SCALED], ids=lambda s: s.name)
def test_normalised_features_are_refused(load, skeleton):
    joints = torch.from_numpy(real(60, HUMANML3D if skeleton is HUMANML3D else KIT)).double()
    features = joints_to_features(joints, HUMANML3D if skeleton is HUMANML3D else KIT)
    assert len(load(features.numpy())) == 1
    noisy = features + 0.05 * torch.randn(features.shape, generator=torch.Generator().manual_seed(0)).double()
    assert len(load(noisy.numpy())) == 1  # as generated ones are
    normal = (features - features.mean(0)) / (features.std(0) + 1e-3)
    with pytest.raises(InputError, match=r"normalised features \(contacts from .* multiply them by Std.npy and add"):
        load(normal.numpy())
    with pytest.raises(InputError, match="normalised features"):
        load(np.zeros_like(normal))


def results(count: int = 3, frames: int = 30, **more) -> dict:
    motion = np.stack([real(frames + 10)[i : i + frames] for i in range(count)]).transpose(0, 2, 3, 1)
    about = {"text": [f"a person walks {i}" for i in range(count)], "lengths": np.arange(10, 10 + count)}
    return {"motion": motion, **about, "num_samples": count, "num_repetitions": 1, **more}


def write_pickle(path, payload: bytes, shape: tuple = ()) -> None:
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": shape})
        file.write(payload)


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("core", ["numpy._core", "numpy.core"])
def test_results_of_mdm(tmp_path, protocol, core):
    path, content = tmp_path / "results.npy", results(lengths=np.array([10, 12, 30]), num_samples=np.int64(3))
    payload = pickle.dumps(np.array(content, dtype=object), protocol)
    old, new = b"numpy._core.multiarray", f"{core}.multiarray".encode()
    if protocol == 3:
        payload = payload.replace(old, new)  # names end at a line's end
    else:
        payload = payload.replace(bytes([len(old)]) + old, bytes([len(new)]) + new)
        payload = (
            payload[:3] + struct.pack("<Q", len(payload) - 11) + payload[11:] if payload[2:3] == b"\x95" else payload
        )
    write_pickle(path, payload)
    clips = MotionClip.load_all(path)
    assert [(len(c), c.caption, c.fps) for c in clips] == [(n, f"a person walks {i}", 20) for i, n in
                                                           enumerate((10, 12, 30))]  # fmt: skip
    np.testing.assert_array_equal(clips[1].joints, real(40)[1:13])
    assert [c.caption for c in MotionClip.load_all(path, caption="mine")] == ["mine"] * 3


def test_other_pickles_are_refused_in_one_sentence(load, tmp_path):
    for content, reason in (
        ({"joints": real()}, "a pickled dict with joints"),
        (results(motion=real().tolist()), "a pickled dict with motion"),
        (results(motion=real()[:, :20].transpose(1, 2, 0)), r"shape \(20, 3, 30\)"),
        (results(motion=results()["motion"] * np.nan), "NaN"),
        ([1, 2, {}], "a pickled list"),
        ({"motion": torch.zeros(2, 22, 3, 4)}, "its pickle asks for torch"),
        ({"motion": np.zeros(3, dtype=[("a", "f4")])}, "an array of records"),
        (print, "its pickle asks for builtins.print"),
        (1j, "its pickle asks for builtins.complex"),
    ):
        with pytest.raises(InputError, match=reason) as caught:
            load(np.array(content, dtype=object) if isinstance(content, list) else _boxed(content))
        assert "\n" not in str(caught.value)
    whole = pickle.dumps(_boxed(results()), 4)
    for cut in (0, 1, 30, 100, 500, len(whole) - 1):
        write_pickle(tmp_path / "cut.npy", whole[:cut])
        with pytest.raises(InputError, match="its pickle is damaged"):
            MotionClip.load_all(tmp_path / "cut.npy")


def _boxed(content: object) -> np.ndarray:
    box = np.empty((), dtype=object)
    box[()] = content
    return box


class Call:
    """Pickled as a function call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def attacks(mark: str) -> dict[str, bytes]:
    """Pickles that would create the file `mark` or use something forbidden, each by another method."""
    mapped = (mark, "float32", "w+", 0, (4,))
    numpy_io = np.lib.format.open_memmap
    calls = {
        "system": Call(os.system, f"touch {mark}"),
        "eval": Call(eval, f"open({mark!r}, 'w')"),
        "exec": Call(exec, f"open({mark!r}, 'w')"),
        "open": Call(io.open, mark, "w"),
        "import": Call(__import__, "antigravity"),
        "getattr": Call(getattr, "text", "upper"),
        "memmap": Call(np.memmap, *mapped),
        "open_memmap": Call(numpy_io, mark, "w+", np.float32, (4,)),
        "load": Call(np.load, mark),
        "save": Call(np.save, mark, 1),
        "torch": Call(torch.load, mark),
        "in the dict": {"motion": Call(os.system, f"touch {mark}")},
        "as a key": {"motion": [1, {Call(os.system, f"touch {mark}"): 1}]},
    }
    found = {name: pickle.dumps(call, 4) for name, call in calls.items()}
    for module, name in (
        *(
            ("numpy", name)
            for name in ("load", "save", "fromfile", "memmap", "genfromtxt", "DataSource", "ndarray.tofile")
        ),
        *(("numpy._core.multiarray", name) for name in ("fromfile", "frombuffer", "_reconstruct.__globals__", "empty")),
        *(("numpy.core._multiarray_umath", "_reconstruct"), ("numpy.core.numeric", "load"), ("_codecs", "encode")),
        *(("builtins", "getattr"), ("codecs", "open"), ("copyreg", "_reconstructor"), ("numpy.testing", "x")),
        *(("realign.motion.pickled", "read_pickled"), ("this", "s"), ("posix", "system")),
    ):
        found[f"{module}.{name}"] = b"\x80\x04" + _text(module) + _text(name) + b"\x93" + _text(mark) + b"\x85R."
    core = _text("numpy._core.multiarray") + _text("_reconstruct") + b"\x93"
    array = _text("numpy") + _text("ndarray") + b"\x93"
    kind = _text("numpy") + _text("dtype") + b"\x93"
    head = b"\x80\x04"
    found["objects as bytes"] = (
        head + core + array + b"K\x00\x85C\x01b\x87R(K\x01K\x01\x85" + kind + _text("O8") + b"\x89\x88\x87R("
        + b"K\x03" + _text("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89C\x08AAAAAAAAtb."
    )  # fmt: skip
    found["a name for another"] = head + array + b"N}" + _text("__setstate__") + kind + b"s\x86b."
    found["huge shape"] = (
        head + core + array + b"K\x00\x85C\x01b\x87R(K\x01\x8a\x08" + b"\xff" * 7 + b"\x7f\x85" + kind + _text("f4")
        + b"\x89\x88\x87R\x89C\x04AAAAtb."
    )  # fmt: skip
    found["huge memo"] = head + b"Nr\xff\xff\xff\x7f."
    found["itself"] = head + b"]\x94h\x00a."
    found["extension"] = head + b"\x82\x01."
    found["persistent"] = head + b"Pos.system\n."
    return found


def _text(text: str) -> bytes:
    return b"\x8c" + bytes([len(text.encode())]) + text.encode()


def test_pickled_files_execute_no_code(tmp_path):
    mark = tmp_path / "mark"
    path = tmp_path / "x.npy"
    for name, payload in attacks(str(mark)).items():
        for shape in ((), (1,)):
            write_pickle(path, payload, shape)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with pytest.raises(InputError, match=r"x\.npy") as caught:
                    MotionClip.load_all(path)
            assert not mark.exists() and "\n" not in str(caught.value), name
    np.save(path, _boxed(results()), allow_pickle=True)
    assert len(MotionClip.load_all(path)) == 3  # the attacks have not changed the reader
