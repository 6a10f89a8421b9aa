"""How a push, a reward's gradient times its strength, enters a sampling step."""

from torch import Tensor

from realign.diffusion.prediction import Level, PredictionType, score_shift


class Update:
    """How a push enters a sampling step; each rule changes the model output or the next sample."""

    def output(self, output: Tensor, push: Tensor, level: Level, kind: PredictionType) -> Tensor:
        """Model output handed to the scheduler."""
        return output

    def sample(self, x_next: Tensor, push: Tensor, level: Level, after: Level) -> Tensor:
        """Sample that the next step starts from."""
        return x_next


class ScoreShift(Update):
    """Adds the push to the score, in whatever form the model predicts it."""

    def output(self, output: Tensor, push: Tensor, level: Level, kind: PredictionType) -> Tensor:
        """Shifted model output."""
        return score_shift(output, push, level, kind)


class Additive(Update):
    """Adds the push to x_{t-1}: the practical form of arXiv 2511.19217."""

    def sample(self, x_next: Tensor, push: Tensor, level: Level, after: Level) -> Tensor:
        """Shifted sample."""
        return x_next + push


class ExactDDPM(Update):
    """Adds beta_t / sqrt(alpha_t) times the push to x_{t-1} (arXiv 2511.19217, Theorem 3).

    alpha_t = abar_t / abar_{t-1} is taken between two sampling steps, which need not be neighbours in training; it is
    the squared quotient of both levels' alpha.
    """

    def sample(self, x_next: Tensor, push: Tensor, level: Level, after: Level) -> Tensor:
        """Shifted sample."""
        root = level.alpha / after.alpha
        if root == 0:  # pure noise holds no signal to push
            return x_next
        return x_next + (1 - root**2) / root * push


UPDATES: dict[str, Update] = {"score_shift": ScoreShift(), "additive": Additive(), "ddpm": ExactDDPM()}
