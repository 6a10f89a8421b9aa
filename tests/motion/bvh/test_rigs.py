import pytest
import yaml
from bvh_made import AUTODESK, sided

from realign.errors import InputError
from realign.motion.bvh import read_bvh
from realign.motion.bvh.rigs import REQUIRED, RIG_EXAMPLE, choose_rig, load_rig, recognise_rig, rig_from_dict
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


def parted(form: str, parts: str, sides: tuple[str, str] = ("L", "R")) -> list[str]:
    """Names of both sides."""
    return [form.format(side=side, part=part) for side in sides for part in parts.split()]


LIMBS = "UpperLeg LowerLeg Foot Toes Shoulder UpperArm LowerArm Hand"
MAYA = "UpLeg Leg Foot ToeBase Shoulder Arm ForeArm Hand"
LONG = ("Left", "Right")
FOREIGN = {  # names, then the joints of the left limbs, the neck and the spine
    "biped": (
        ["Bip01", "Bip01 Pelvis", "Bip01 Spine", "Bip01 Spine1", "Bip01 Neck", "Bip01 Head", "Bip01 Footsteps"]
        + parted("Bip01 {side} {part}", "Thigh Calf Foot Toe0 Clavicle UpperArm Forearm Hand Finger0"),
        "Thigh Calf Foot Toe0 UpperArm Forearm Hand", "Bip01 Neck", "Bip01 Spine,Bip01 Spine1",
    ),
    "biped, underscores": (
        ["Bip001_Pelvis", "Bip001_Spine", "Bip001_Neck", "Bip001_Head"]
        + parted("Bip001_{side}_{part}", "Thigh Calf Foot Toe0 Clavicle UpperArm Forearm Hand"),
        "Thigh Calf Foot Toe0 UpperArm Forearm Hand", "Bip001_Neck", "Bip001_Spine",
    ),
    "vrm bones": (
        ["Root", *(f"J_Bip_C_{part}" for part in ("Hips", "Spine", "Chest", "UpperChest", "Neck", "Head"))]
        + parted("J_Bip_{side}_{part}", LIMBS.replace("Toes", "ToeBase")) + ["J_Sec_Hair1_01"],
        "UpperLeg LowerLeg Foot ToeBase UpperArm LowerArm Hand", "J_Bip_C_Neck",
        "J_Bip_C_Spine,J_Bip_C_Chest,J_Bip_C_UpperChest",
    ),
    "vrm humanoid": (
        ["hips", "spine", "chest", "upperChest", "neck", "head", *parted("{side}{part}", LIMBS, ("left", "right"))],
        "UpperLeg LowerLeg Foot Toes UpperArm LowerArm Hand", "neck", "spine,chest,upperChest",
    ),
    "unreal": (
        ["root", "pelvis", "spine_01", "spine_02", "spine_03", "neck_01", "head"]
        + parted("{part}_{side}", "thigh calf calf_twist_01 foot ball clavicle upperarm lowerarm hand", ("l", "r")),
        "thigh calf foot ball upperarm lowerarm hand", "neck_01", "spine_01,spine_02,spine_03",
    ),
    "rigify": (
        ["spine", *(f"spine.{i:03d}" for i in range(1, 7))]
        + parted("{part}.{side}", "pelvis thigh shin foot toe shoulder upper_arm forearm hand"),
        "thigh shin foot toe upper_arm forearm hand", "spine.004", "spine.001,spine.002,spine.003",
    ),
    "rigify, deforming": (
        ["DEF-spine", *(f"DEF-spine.{i:03d}" for i in range(1, 7))]
        + parted("DEF-{part}.{side}", "thigh shin foot toe shoulder upper_arm forearm hand")
        + parted("DEF-{part}.{side}.001", "thigh shin upper_arm forearm"),
        "thigh shin foot toe upper_arm forearm hand", "DEF-spine.004", "DEF-spine.001,DEF-spine.002,DEF-spine.003",
    ),
    "optitrack": (
        [f"Skeleton 001:{name}" for name in ("Hip", "Ab", "Chest", "Neck", "Head")]
        + parted("Skeleton 001:{side}{part}", "Shoulder UArm FArm Hand Thigh Shin Foot Toe"),
        "Thigh Shin Foot Toe UArm FArm Hand", "Skeleton 001:Neck", "Skeleton 001:Ab,Skeleton 001:Chest",
    ),
    "rokoko": (
        ["Hips", "Spine1", "Spine2", "Neck", "Head"]
        + parted("{side}{part}", "Thigh Shin Foot Toe Shoulder Arm ForeArm Hand", LONG),
        "Thigh Shin Foot Toe Arm ForeArm Hand", "Neck", "Spine1,Spine2",
    ),
    "xsens": (
        ["Pelvis", "L5", "L3", "T12", "T8", "Neck", "Head"]
        + parted("{side}{part}", "UpperLeg LowerLeg Foot Toe Shoulder UpperArm ForeArm Hand", LONG),
        "UpperLeg LowerLeg Foot Toe UpperArm ForeArm Hand", "Neck", "L5,L3,T12,T8",
    ),
    "acclaim": (
        ["root", "lowerback", "upperback", "thorax", "lowerneck", "upperneck", "head"]
        + parted("{side}{part}", "hipjoint femur tibia foot toes clavicle humerus radius wrist hand", ("l", "r")),
        "femur tibia foot toes humerus radius wrist", "lowerneck", "lowerback,upperback,thorax",
    ),
    "makehuman, spine counted downwards": (
        ["root", "spine05", "spine04", "spine03", "neck01", "head"]
        + parted("{part}.{side}", "upperleg01 upperleg02 lowerleg01 foot upperarm01 upperarm02 lowerarm01 wrist"),
        "upperleg01 lowerleg01 foot foot upperarm01 lowerarm01 wrist", "neck01", "spine05,spine04,spine03",
    ),
    "advanced skeleton": (
        ["Root_M", "Spine1_M", "Chest_M", "Neck_M", "Head_M"]
        + parted("{part}_{side}", "Hip Knee Ankle Toes Scapula Shoulder Elbow Wrist"),
        "Hip Knee Ankle Toes Shoulder Elbow Wrist", "Neck_M", "Spine1_M,Chest_M",
    ),
    "numbered mixamo": (
        [
            f"mixamorig:{name}_{i:02d}"
            for i, name in enumerate(["Hips", "Spine", "Neck", *parted("{side}{part}", MAYA, LONG)])
        ],
        "UpLeg Leg Foot ToeBase Arm ForeArm Hand", "mixamorig:Neck_02", "mixamorig:Spine_01",
    ),
    "prefixed": (
        [f"Character1_{name}" for name in ["Hips", "Spine", "Neck", *parted("{side}{part}", MAYA, LONG)]],
        "UpLeg Leg Foot ToeBase Arm ForeArm Hand", "Character1_Neck", "Character1_Spine",
    ),
    "no neck, hands or toes": (
        ["Hips", "Spine", "Head", *parted("{side}{part}", "UpLeg Leg Foot Arm ForeArm ForeArm.end", LONG)],
        "UpLeg Leg Foot Foot Arm ForeArm ForeArm.end", None, "Spine",
    ),
}  # fmt: skip


@pytest.mark.parametrize("rig", FOREIGN)
def test_common_rigs_are_recognised_by_usual_joint_names(rig):
    names, limbs, neck, spine = FOREIGN[rig]
    resolved = recognise_rig(names).resolve(names)
    found = {ours: names[index] for ours, index in resolved.joints.items()}
    assert found.get("neck") == neck and ",".join(names[index] for index in resolved.spine) == spine
    parts = ("hip", "knee", "ankle", "foot", "shoulder", "elbow", "wrist")
    for part, theirs in zip(parts, limbs.split(), strict=True):
        left, right = found[f"left_{part}"], found[f"right_{part}"]
        assert theirs in left and theirs in right and left != right


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
    with pytest.raises(InputError, match="unknown rig: no joint corresponds to left_hip"):
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
    with pytest.raises(InputError, match="rig.yaml: no joint corresponds to right_hip"):
        rig.resolve(AUTODESK_NAMES)


def test_an_own_map_is_strict():
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
        ({"joints": {}, "up": "w"}, "up one of x, y, z, -x, -y, -z"),
        ({"joints": {}, "fps": -1}, "fps a positive number"),
        ({"fps": True}, "fps a positive number"),
        ({"fps": "30"}, "fps a positive number"),
        ({}, "has no 'joints'"),
        ({"joints": {}, "skip_frames": 1.5}, "skip_frames a whole"),
        ({"joints": {}, "spine": "Spine"}, "spine must be a list"),
    ],
)
def test_faulty_maps_are_refused(content, says):
    with pytest.raises(InputError, match=says):
        rig_from_dict(content)


def test_a_map_without_joints_adds_to_the_rig_that_is_recognised(tmp_path):
    (tmp_path / "rig.yaml").write_text("fps: 24\nup: -x\n")
    rig = choose_rig(load_rig(tmp_path / "rig.yaml"), AUTODESK_NAMES)
    known = recognise_rig(AUTODESK_NAMES)
    assert (rig.fps, rig.up, rig.joints, rig.spine) == (24, "-x", known.joints, known.spine)
    assert choose_rig(None, AUTODESK_NAMES) == known


def test_unreadable_maps_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_rig(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("joints: [")
    with pytest.raises(InputError, match="is not YAML") as caught:
        load_rig(tmp_path / "bad.yaml")
    assert "\n" not in str(caught.value)


def test_shared_recordings_are_recognised(shared_data):
    for folder, rig in (("bandai", "Bandai-Namco"), ("cmu_daz", "CMU (Daz-friendly)")):
        for path in sorted((shared_data / "bvh" / folder).glob("*.bvh"))[:4]:
            assert recognise_rig(read_bvh(path).names).name == rig
