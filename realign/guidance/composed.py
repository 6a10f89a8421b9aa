"""Guidance made of guidance: of the windows of longer motions, and of several at once."""

from collections.abc import Sequence

from jaxtyping import Bool, Float, Real
from torch import Tensor

from realign.diffusion.prediction import PredictionType
from realign.diffusion.solver import Evaluation, Solver
from realign.diffusion.steered import SteeredSteps, Steers
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


class Together(Steers):
    """Several guidances of the same samples, each with its own strength and window; a later one sees what the earlier
    ones changed.

    Args:
        parts: The guidances, in order.
    """

    def __init__(self, parts: Sequence[Steers]) -> None:
        self.parts = list(parts)

    @classmethod
    def of(cls, *parts: Steers | None) -> Steers | None:
        """The guidances that are not None; one stays as it is."""
        found = [each for each in parts if each is not None]
        return cls(found) if len(found) > 1 else found[0] if found else None

    def over(self, solver: Solver, kind: PredictionType) -> SteeredSteps:
        """Begin a call of the sampler.

        Raises:
            InputError: One of them does not suit the solver.
        """
        return _StepsTogether([part.over(solver, kind) for part in self.parts])

    def finish(self, motion: Float[Tensor, "B F C"]) -> Float[Tensor, "B F C"]:
        """The decoded motions after all of them."""
        for part in self.parts:
            motion = part.finish(motion)
        return motion


class _StepsTogether(SteeredSteps):
    """Each guidance's part in every step, in order."""

    def __init__(self, parts: Sequence[SteeredSteps]) -> None:
        self.parts = parts

    def output(
        self,
        call: Evaluation,
        output: Float[Tensor, "B N W"],
        x_t: Float[Tensor, "B N W"],
        t: Real[Tensor, "B"],
        mask: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B N W"]:
        """The output after all of them."""
        for part in self.parts:
            output = part.output(call, output, x_t, t, mask)
        return output

    def sample(self, call: Evaluation, x_next: Float[Tensor, "B N W"]) -> Float[Tensor, "B N W"]:
        """The next samples after all of them."""
        for part in self.parts:
            x_next = part.sample(call, x_next)
        return x_next
