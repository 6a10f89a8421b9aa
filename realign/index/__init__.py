"""Search over embeddings of motions."""

from realign.index.items import MotionItem
from realign.index.motion_index import MotionIndex, SearchResult

__all__ = ["MotionIndex", "MotionItem", "SearchResult"]
