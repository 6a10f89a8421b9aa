from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from realign.errors import InputError
from realign.motion.bvh.joint_names import first, lookup
from realign.motion.bvh.rig_map import PLACED, REQUIRED, RIG_EXAMPLE, RigMap, load_rig, rig_from_dict, unmapped

__all__ = ["REQUIRED", "RIGS", "RIG_EXAMPLE", "RigMap", "choose_rig", "load_rig", "recognise_rig", "rig_from_dict"]


def _body(limbs: str, side: tuple[str, str], neck: str, spine: str, head: str = "Head") -> dict[str, Any]:
    """Fields of a rig map from its left limbs: hip knee ankle foot shoulder elbow wrist.

    Args:
        limbs: Names of the seven left joints, separated by blanks; alternatives are separated by ``|``.
        side: Marks of left and right joints; the first occurrence of the left mark is replaced.
        neck: Name of the neck.
        spine: Names from hips to neck, separated by blanks.
        head: Name of the head.
    """
    parts = ("hip", "knee", "ankle", "foot", "shoulder", "elbow", "wrist")
    joints = {"neck": tuple(neck.split("|")), "head": tuple(head.split("|"))}
    for part, names in zip(parts, limbs.split(), strict=True):
        joints[f"left_{part}"] = tuple(names.split("|"))
        joints[f"right_{part}"] = tuple(name.replace(*side, 1) for name in names.split("|"))
    return {"joints": joints, "spine": tuple(spine.split())}


_AUTODESK = "LeftUpLeg LeftLeg LeftFoot LeftToeBase|LeftToe|LeftFoot.end LeftArm LeftForeArm LeftHand"
_REALIGN = "left_hip left_knee left_ankle left_foot left_shoulder left_elbow left_wrist"
_SMPL = "L_Hip L_Knee L_Ankle L_Foot|L_Toe L_Shoulder L_Elbow L_Wrist"
_TRUNK = {name: (name,) for name in ("pelvis", "spine1", "spine2", "spine3")}
_COLLARS = {
    f"{side}_collar": (f"{side}_collar", f"{side[0]}_collar", f"{side[0]}_thorax") for side in ("left", "right")
}
_KIT_PLACES = {"pelvis": ("root",), "spine1": ("spine1",), "spine3": ("spine2",)}


def _in_place(name: str, body: dict[str, Any], placed: Mapping[str, tuple[str, ...]]) -> RigMap:
    """A rig whose trunk joints have HumanML3D's positions."""
    return RigMap(name, {**body["joints"], **placed}, body["spine"])


RIGS: tuple[RigMap, ...] = (
    _in_place("realign", _body(_REALIGN, ("left", "right"), "neck", ""), {**_TRUNK, **_COLLARS}),
    _in_place("SMPL", _body(_SMPL, ("L_", "R_"), "Neck", ""), {**_TRUNK, **_COLLARS}),
    _in_place(
        "realign (KIT)",
        _body(_REALIGN.replace("left_foot", "left_toes"), ("left", "right"), "neck", "spine1 spine2"),
        _KIT_PLACES,
    ),
    RigMap(
        "Bandai-Namco",
        **_body(
            "UpperLeg_L LowerLeg_L Foot_L Toes_L UpperArm_L LowerArm_L Hand_L", ("_L", "_R"), "Neck", "Spine Chest"
        ),
    ),
    RigMap(
        "CMU (Daz-friendly)",
        **_body("lThigh lShin lFoot lToe|lFoot.end lShldr lForeArm lHand", ("l", "r"), "neck", "abdomen chest", "head"),
        settle_frames=5,  # the converter blended the limbs out of the pose it added over four frames
    ),
    RigMap("CMU (MotionBuilder-friendly)", **_body(_AUTODESK, ("Left", "Right"), "Neck1", "LowerBack Spine Spine1")),
    RigMap(
        "Biovision",
        **_body(
            "LeftHip LeftKnee LeftAnkle LeftToe|LeftAnkle.end LeftShoulder LeftElbow LeftWrist",
            ("Left", "Right"),
            "Neck",
            "Chest Chest2 Chest3 Chest4",
        ),
    ),
    RigMap("Mixamo", **_body(_AUTODESK, ("Left", "Right"), "Neck", "Spine Spine1 Spine2 Spine3")),
    RigMap(
        "Rigify",  # pelvis, neck and head are numbered spine joints
        **_body(
            "thigh.L shin.L foot.L toe.L upper_arm.L forearm.L hand.L",
            (".L", ".R"),
            "spine.004|neck",
            "spine.001 spine.002 spine.003",
            "spine.006|head",
        ),
    ),
)


def _common() -> RigMap:
    """Joints by the names that most rigs use (Biped, VRM, Unreal, OptiTrack, Rokoko, Xsens, ASF ...)."""
    parts = {
        "hip": "upleg upperleg thigh uleg thighbend femur hip",
        "knee": "lowerleg lowleg shin calf lleg tibia knee leg",
        "ankle": "ankle foot",
        "foot": "toebase toe toes toe0 ball footend foot ankleend",
        "shoulder": "upperarm uparm uarm upperarmbend shldr shldrbend humerus arm shoulder",
        "elbow": "forearm lowerarm lowarm farm forearmbend radius elbow",
        "wrist": "wrist hand forearmend lowerarmend farmend elbowend",
    }
    joints = {
        f"{side}_{part}": tuple(f"{side}/{word}{number}" for word in words.split() for number in ("", "1"))
        for side in ("left", "right")
        for part, words in parts.items()
    }
    trunk = "waist ab abdomen abdomenlower lowerback abdomenupper spine spine0 spine1 l5 l3 spine2 t12 spine3 spine4 "
    trunk += "spine5 torso chest chestlower upperback chest1 chest2 upperchest chestupper chest3 chest4 thorax t8"
    joints |= {"neck": ("/neck", "/neck1", "/necklower", "/lowerneck", "/necktwist1", "/neck0"), "head": ("/head",)}
    return RigMap("common names", joints, tuple(f"/{word}" for word in trunk.split()))


_COMMON = _common()


def recognise_rig(names: Sequence[str]) -> RigMap:
    """The built-in rig that fits a file's joint names best.

    Args:
        names: Joint names of the file, End Sites included.

    Returns:
        The rig with the most joints in the file, among those with all required joints.

    Raises:
        InputError: No built-in rig finds all required joints; the message names those that the nearest rig misses and
            shows the YAML map to give instead.
    """
    best = min(RIGS, key=lambda rig: (len(rig.missing(names)), -_score(rig, names)))
    if missing := best.missing(names):
        if not _COMMON.missing(names):
            return _COMMON
        nearest = (
            f"unknown rig, nearest to {best.name}" if len(missing) < len(REQUIRED) - len(PLACED) else "unknown rig"
        )
        raise InputError(unmapped(nearest, missing, names))
    return best


def choose_rig(own: RigMap | None, names: Sequence[str]) -> RigMap:
    """The rig map for a file with these joint names.

    Args:
        own: The user's map; without joints, it adds to the recognised rig.
        names: Joint names of the file, End Sites included.

    Raises:
        InputError: The rig is not recognised and `own` does not name joints.
    """
    if own is not None and own.joints:
        return own
    known = recognise_rig(names)
    if own is None:
        return known
    skip = known.skip_frames if own.skip_frames is None else own.skip_frames
    return replace(known, spine=own.spine or known.spine, up=own.up, fps=own.fps, skip_frames=skip)


def _score(rig: RigMap, names: Sequence[str]) -> int:
    """Number of a rig's joints in a file."""
    table = lookup(tuple(names))
    return sum(
        first(candidates, table) is not None for candidates in (*rig.joints.values(), *((n,) for n in rig.spine))
    )
