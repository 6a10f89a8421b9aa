import json

import numpy as np
import pytest
import torch

from realign.errors import InputError
from realign.motion import HUMANML3D, KIT, get_skeleton


@pytest.mark.parametrize("skeleton", [HUMANML3D, KIT], ids=lambda s: s.name)
def test_is_a_tree_whose_chains_hold_every_bone_once(skeleton):
    assert [len(skeleton.joints), len(skeleton.parents), len(skeleton.raw_offsets)] == [skeleton.num_joints] * 3
    bones = [(a, b) for chain in skeleton.chains for a, b in zip(chain, chain[1:], strict=False)]
    assert sorted(bones, key=lambda bone: bone[1]) == list(zip(skeleton.parents, range(30), strict=False))[1:]
    assert len(set(skeleton.joints)) == skeleton.num_joints


@pytest.mark.parametrize("skeleton", [HUMANML3D, KIT], ids=lambda s: s.name)
def test_left_and_right_are_exchanged(skeleton):
    order = np.array(skeleton.mirror_order)
    assert (order[order] == np.arange(skeleton.num_joints)).all()
    for left, right in skeleton.pairs:
        assert skeleton.joints[left].replace("left", "right") == skeleton.joints[right]
    # The tree and the neutral directions are symmetric, which makes mirrored features exact.
    assert all(order[skeleton.parents[j]] == skeleton.parents[order[j]] for j in range(1, skeleton.num_joints))
    raw = np.array(skeleton.raw_offsets)
    assert np.array_equal(raw[order], raw * [-1, 1, 1])
    assert [order[j] for j in skeleton.feet_left] == list(skeleton.feet_right)
    assert (order[skeleton.facing[0]], order[skeleton.facing[2]]) == (skeleton.facing[1], skeleton.facing[3])


def test_widths():
    assert (HUMANML3D.num_features, KIT.num_features) == (263, 251)
    assert (HUMANML3D.fps, KIT.fps) == (20, 12.5)


def test_names_are_looked_up():
    assert get_skeleton("KIT") is KIT
    with pytest.raises(InputError, match="'smpl'.*humanml3d or kit"):
        get_skeleton("smpl")


def test_target_pose_gives_bone_lengths():
    pose = torch.zeros(21, 3)
    pose[:, 1] = torch.arange(21)
    offsets = np.array(KIT.with_target(pose).rest_offsets)
    assert np.array_equal(np.linalg.norm(offsets, axis=-1)[1:], np.arange(1, 21) - np.array(KIT.parents[1:]))
    with pytest.raises(InputError, match="21, 3"):
        KIT.with_target(torch.zeros(22, 3))
    with pytest.raises(InputError, match="zero or undefined length"):
        KIT.with_target(torch.zeros(21, 3))


def test_agrees_with_the_published_constants(reference_dir):
    published = json.loads((reference_dir / "skeletons.json").read_text())
    assert list(HUMANML3D.joints) == published["humanml3d"]["joints"]
    for skeleton in (HUMANML3D, KIT):
        values = published[skeleton.name]
        assert skeleton.fps == values["fps"]
        assert [list(chain) for chain in skeleton.chains] == values["chains"]
        assert [list(offset) for offset in skeleton.raw_offsets] == values["raw_offsets"]
        facing = values["facing_joints"]
        assert list(skeleton.facing) == [
            facing[k] for k in ("right_hip", "left_hip", "right_shoulder", "left_shoulder")
        ]
        assert [list(skeleton.feet_left), list(skeleton.feet_right)] == [
            values["feet"]["left"],
            values["feet"]["right"],
        ]
        assert list(skeleton.leg_joints) == values["leg_length_joints"]
        assert skeleton.contact_threshold == values["contact_threshold"]


def test_target_is_the_published_clip(reference_dir):
    pose = torch.from_numpy(np.load(reference_dir / "pose_raw_000021.npy")[0, :22])
    assert np.allclose(HUMANML3D.with_target(pose).rest_offsets, HUMANML3D.rest_offsets, rtol=0, atol=1e-10)
