"""Search over embeddings of motions."""

from realign.index.items import MotionItem
from realign.index.joints import PackedJoints, write_joints
from realign.index.library import MotionLibrary, write_library
from realign.index.motion_index import MotionIndex, SearchResult

__all__ = [
    "MotionIndex",
    "MotionItem",
    "MotionLibrary",
    "PackedJoints",
    "SearchResult",
    "write_joints",
    "write_library",
]
