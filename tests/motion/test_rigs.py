import pytest
import yaml
from bvh_made import AUTODESK, sided

from realign.errors import InputError
from realign.motion.bvh import read_bvh
from realign.motion.rigs import REQUIRED, RIG_EXAMPLE, load_rig, recognise_rig, rig_from_dict
from realign.motion.skeleton import HUMANML3D, KIT

AUTODESK_NAMES = list(AUTODESK.values())
CMU_MOTION_BUILDER = [*AUTODESK_NAMES, "LHipJoint", "RHipJoint", "LowerBack", "Neck1", "LThumb", "LeftFingerBase"]
DAZ = ["hip", "abdomen", "chest", "neck", "head", *sided(dict.fromkeys(["a"], "lCollar"), ("l", "r")).values()] + [
    side + part for side in "lr" for part in ("Thigh", "Shin", "Foot", "Shldr", "ForeArm", "Hand", "Foot.end")
]
BANDAI = ["joint_Root", "Hips", "Spine", "Chest", "Neck", "Head"] + [
    f"{part}_{side}"
    for side in "LR"
    for part in ("Shoulder", "UpperArm", "LowerArm", "Hand", "UpperLeg", "LowerLeg", "Foot", "Toes")
]
BIOVISION = ["Hips", "Chest", "Neck", "Head"] + [
    side + part
    for side in ("Left", "Right")
    for part in ("Hip", "Knee", "Ankle", "Toe", "Collar", "Shoulder", "Elbow", "Wrist")
]


@pytest.mark.parametrize(
    ("names", "rig"),
    [
        (BANDAI, "Bandai-Namco"),
        (DAZ, "CMU (Daz-friendly)"),
        (CMU_MOTION_BUILDER, "CMU (MotionBuilder-friendly)"),
        (AUTODESK_NAMES, "Mixamo"),
        ([f"mixamorig:{name}" for name in [*AUTODESK_NAMES, "Spine2"]], "Mixamo"),
        ([f"mixamorig1:{name}" for name in AUTODESK_NAMES], "Mixamo"),
        ([f"mixamorig{name}" for name in AUTODESK_NAMES], "Mixamo"),
        ([f"mixamorig_{name}" for name in AUTODESK_NAMES], "Mixamo"),
        ([f"Character:{name.upper()}" for name in AUTODESK_NAMES], "Mixamo"),
        (BIOVISION, "Biovision"),
        (list(HUMANML3D.joints), "realign"),
        (list(KIT.joints), "realign (KIT)"),
    ],
)
def test_rigs_are_recognised_by_their_names(names, rig):
    found = recognise_rig(names)
    assert found.name == rig and not found.missing(names)
    resolved = found.resolve(names)
    assert set(REQUIRED) <= set(resolved.joints)
    plain = [names[resolved.joints[f"{side}_knee"]].lower().replace("_", "") for side in ("left", "right")]
    assert plain[0] != plain[1] and plain[0].replace("left", "right") in (plain[1], plain[0])


def test_unknown_rig_lists_what_is_missing_and_the_remedy():
    with pytest.raises(InputError) as caught:
        recognise_rig([name for name in BANDAI if name != "LowerLeg_L"])
    message = str(caught.value)
    assert "nearest to Bandai-Namco" in message and "left_knee" in message and "right_knee" not in message
    assert "YAML rig map" in message and "left_hip: NAME" in message and "UpperLeg_L" in message
    with pytest.raises(InputError, match="unknown rig: no joint stands for left_hip"):
        recognise_rig(["root", "bone1", "bone2"])


def test_example_is_a_valid_map(tmp_path):
    assert {key.replace("left", "right") for key in yaml.safe_load(RIG_EXAMPLE)["joints"]} <= {
        *REQUIRED,
        *("head", "right_foot"),
    }
    path = tmp_path / "rig.yaml"
    path.write_text(RIG_EXAMPLE)
    rig = load_rig(path)
    assert rig.fps == 60 and rig.up == "y" and rig.skip_frames == 1 and rig.spine == ("Spine", "Spine1")
    with pytest.raises(InputError, match="rig.yaml: no joint stands for right_hip"):
        rig.resolve(AUTODESK_NAMES)


def test_own_map_is_taken_by_its_word():
    joints = {ours: f"bone {ours}" for ours in REQUIRED}
    names = list(joints.values())
    resolved = rig_from_dict({"joints": joints}).resolve(names)
    assert {ours: names[index] for ours, index in resolved.joints.items()} == joints
    for extra, lost in (({"spine": ["back"]}, "back"), ({"joints": {**joints, "head": "skull"}}, "skull")):
        with pytest.raises(InputError, match=f"no joint {lost}; correct the rig map"):
            rig_from_dict({"joints": joints, **extra}).resolve(names)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "has no 'joints'"),
        (["a"], "has no 'joints'"),
        ({"joints": "a"}, "has no 'joints'"),
        ({"joints": {}, "scale": 3}, "unknown keys 'scale'"),
        ({"joints": {"left_nose": "a"}}, "unknown keys 'left_nose'"),
        ({"joints": {}, "up": "x"}, "up is y or z"),
        ({"joints": {}, "fps": -1}, "fps a positive number"),
        ({"joints": {}, "skip_frames": 1.5}, "skip_frames a whole"),
        ({"joints": {}, "spine": "Spine"}, "spine is a list"),
    ],
)
def test_faulty_maps_are_refused(content, says):
    with pytest.raises(InputError, match=says):
        rig_from_dict(content)


def test_unreadable_maps_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_rig(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("joints: [")
    with pytest.raises(InputError, match="is no YAML") as caught:
        load_rig(tmp_path / "bad.yaml")
    assert "\n" not in str(caught.value)


def test_shared_recordings_are_recognised(shared_data):
    for folder, rig in (("bandai", "Bandai-Namco"), ("cmu_daz", "CMU (Daz-friendly)")):
        for path in sorted((shared_data / "bvh" / folder).glob("*.bvh"))[:4]:
            assert recognise_rig(read_bvh(path).names).name == rig
