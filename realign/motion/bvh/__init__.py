"""Reading, retargeting and writing BVH files."""

from realign.motion.bvh.reader import Bvh, read_bvh
from realign.motion.bvh.retarget import import_bvh
from realign.motion.bvh.writer import write_bvh

__all__ = ["Bvh", "import_bvh", "read_bvh", "write_bvh"]
