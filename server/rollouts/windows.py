"""What two versions did in a window of time, and how they compare in it. Immutable; adding merges windows."""

from dataclasses import dataclass, fields
from typing import Final

BINS: Final = 10
Bins = tuple[int, ...]
NO_BINS: Bins = (0,) * BINS


@dataclass(frozen=True)
class Arm:
    """One version in one window. Calls are those that the deployment sent to it, not those that named it.

    A route key's failures of one kind count once in a rollout, so that one bad client convicts nobody.
    """

    calls: int = 0  # answered, or failed with an error of the version
    errors: int = 0  # calls that failed although the request was valid
    refused: int = 0  # calls that the version's data contract refused
    checked: int = 0  # answered calls whose outputs were looked at
    invalid: int = 0  # of these, those with a NaN or an infinity
    runs: int = 0
    slow_q90: int = 0  # runs beyond the champion's own quantile of run time over forecast
    slow_q99: int = 0
    slow_max: int = 0
    bins: Bins = NO_BINS  # rows by score, in tenths of the champion's scores

    def __add__(self, other: "Arm") -> "Arm":
        counts = {name.name: getattr(self, name.name) + getattr(other, name.name) for name in fields(self)[:-1]}
        return Arm(**counts, bins=tuple(a + b for a, b in zip(self.bins, other.bins, strict=True)))


NO_CALLS: Final = Arm()


@dataclass(frozen=True)
class Window:
    """What both versions did. pairs: rows that both answered; flips: those whose labels differ; largest: their scores.

    copies: what the candidate did with copies of calls that the champion answered.
    """

    champion: Arm = Arm()
    candidate: Arm = Arm()
    pairs: int = 0
    flips: int = 0
    largest: float = 0.0
    copies: Arm = Arm()

    def __add__(self, other: "Window") -> "Window":
        return Window(
            self.champion + other.champion,
            self.candidate + other.candidate,
            self.pairs + other.pairs,
            self.flips + other.flips,
            max(self.largest, other.largest),
            self.copies + other.copies,
        )

    @property
    def answered(self) -> Arm:
        """What the candidate did with calls and with copies."""
        return self.candidate + self.copies
