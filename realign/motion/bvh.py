"""BVH in and out: the public names, gathered from the modules that hold them."""

from realign.motion.bvh_reader import Bvh, read_bvh
from realign.motion.bvh_writer import write_bvh
from realign.motion.retarget import import_bvh

__all__ = ["Bvh", "import_bvh", "read_bvh", "write_bvh"]
