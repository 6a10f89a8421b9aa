"""Noise paths, and sampling and guidance along them."""

from realign.diffusion.flow import FlowMatching
from realign.diffusion.path import CLEAN_STEP, NoisePath
from realign.diffusion.vp import VP

__all__ = ["CLEAN_STEP", "VP", "FlowMatching", "NoisePath"]
