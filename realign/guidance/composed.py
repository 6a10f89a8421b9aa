"""Guidance of longer motions, made of that of their windows."""

from jaxtyping import Bool, Float, Real
from torch import Tensor

from realign.diffusion.windows import Windows
from realign.guidance.gradient import Guidance


class WindowedGuidance(Guidance):
    """Guidance of sequences by that of their windows: each window's gradient fades into that of the next.

    Args:
        guidance: Bound to the captions of the windows.
        windows: The windows, in their order.
    """

    def __init__(self, guidance: Guidance, windows: Windows) -> None:
        self.guidance, self.windows, self.config = guidance, windows, guidance.config

    def gradient(
        self, x_t: Float[Tensor, "B N W"], t: Real[Tensor, "B"], mask: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B N W"]:
        """Gradient of the windows' rewards; arguments as in `Guidance`."""
        cut, of_each = self.windows.cut, self.windows.of_each
        return self.windows.blend(self.guidance.gradient(cut(x_t), of_each(t), self.windows.window_mask))
