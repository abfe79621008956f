"""The guards of a rollout: what each counts, what it tolerates, and what the windows so far say. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from onnxpress.server.rollouts import evidence
from onnxpress.server.rollouts.evidence import CLEARS, CONVICTS, TIMES_WEIGHTS, Evidence, Scores, average
from onnxpress.server.rollouts.windows import Arm, Window
from onnxpress.server.versions.rollout import GuardPolicy


@dataclass(frozen=True)
class Reading:
    """One guard after the windows so far.

    evidence: ln E that the candidate does harm; it convicts at CONVICTS if `excess` is above the floor. absence: ln E
    that a harm that matters is absent, None if the guard does not ask for it. text: the numbers, for people.
    """

    guard: str
    evidence: float
    excess: float
    floor: float
    absence: float | None
    text: str

    @property
    def convicts(self) -> bool:
        return self.evidence >= CONVICTS and self.excess > self.floor

    @property
    def clears(self) -> bool:
        return self.absence is None or self.absence >= CLEARS


class _Rate:
    """Events among units, of which the candidate may have its share."""

    def __init__(
        self, name: str, noun: str, floor: float, harm: float, count: Callable[[Arm], tuple[int, int]]
    ) -> None:
        """`count` returns events and units of an arm; `harm`: the excess whose absence a step waits for."""
        self.name, self._noun, self._floor, self._harm, self._count = name, noun, floor, harm, count
        self._evidence, self._absence = Evidence(TIMES_WEIGHTS), Evidence()
        self._total = Window()

    def add(self, window: Window) -> None:
        k0, n0 = self._count(window.champion)
        k1, n1 = self._count(window.answered)
        self._evidence.add(evidence.share_factors(k0, k1, n0, n1))
        # The champion's rate is what earlier windows say, so the bet does not depend on what it is about.
        before, seen = self._count(self._total.champion)
        base = before / seen if seen else 0.0
        if base + self._harm < 1:
            self._absence.add(evidence.clear_factors(k1, n1, base + self._harm))
        self._total += window

    def start_step(self) -> None:
        self._absence = Evidence()

    def reading(self) -> Reading:
        (k0, n0), (k1, n1) = self._count(self._total.champion), self._count(self._total.answered)
        excess = (k1 / n1 if n1 else 0.0) - (k0 / n0 if n0 else 0.0)
        text = f"{k1:,} of {n1:,} {self._noun} with the candidate, {k0:,} of {n0:,} with the champion"
        return Reading(self.name, float(self._evidence.value), excess, self._floor, float(self._absence.value), text)


class _Slow:
    """Runs beyond the champion's own quantiles of run time over forecast; three quantiles as one guard."""

    def __init__(self, floor: float) -> None:
        def counted(name: str) -> Callable[[Arm], tuple[int, int]]:
            return lambda arm: (getattr(arm, name), arm.runs)

        self.name = "slow"
        self._parts = [_Rate(name, "runs were slow", floor, SLOW_HARM, counted(name)) for name in SLOW]

    def add(self, window: Window) -> None:
        for part in self._parts:
            part.add(window)

    def start_step(self) -> None:
        for part in self._parts:
            part.start_step()

    def reading(self) -> Reading:
        readings = [part.reading() for part in self._parts]
        together = float(average([one.evidence for one in readings]))
        worst = max(readings, key=lambda one: one.evidence)
        return Reading("slow", together, worst.excess, worst.floor, readings[1].absence, worst.text)


class _Shift:
    """Scores on different requests: their total variation."""

    name = "scores"

    def __init__(self, floor: float) -> None:
        self._floor, self._scores, self._evidence = floor, Scores(floor), Evidence()
        self._rows = [0, 0]

    def add(self, window: Window) -> None:
        bins = window.champion.bins, window.answered.bins
        self._evidence.add(self._scores.factors(*bins))
        self._rows = [seen + sum(of) for seen, of in zip(self._rows, bins, strict=True)]

    def start_step(self) -> None:
        """A shift below the floor is legitimate, so no step waits for its absence."""

    def reading(self) -> Reading:
        variation = self._scores.variation
        text = (
            f"the scores of {self._rows[1]:,} rows differ from those of {self._rows[0]:,} of the champion by "
            f"{variation:.2f} (total variation)"
        )
        return Reading(self.name, float(self._evidence.value), variation, self._floor, None, text)


class _Difference:
    """Rows that both versions answered: the largest difference of a score. Off unless its floor is given."""

    name = "difference"

    def __init__(self, floor: float) -> None:
        self._floor, self._largest, self._pairs = floor, 0.0, 0

    def add(self, window: Window) -> None:
        self._largest = max(self._largest, window.largest)
        self._pairs += window.pairs

    def start_step(self) -> None:
        """What differed once differs."""

    def reading(self) -> Reading:
        beyond = self._largest > self._floor
        text = f"the scores of {self._pairs:,} rows that both answered differ by {self._largest:.3g} at most"
        return Reading(self.name, CONVICTS if beyond else 0.0, self._largest, self._floor, None, text)


class _Disagree:
    """Rows that both versions answered: how many labels differ."""

    name = "disagree"

    def __init__(self, floor: float) -> None:
        self._floor, self._evidence = floor, Evidence()
        self._flips = self._pairs = 0

    def add(self, window: Window) -> None:
        self._evidence.add(evidence.level_factors(window.flips, window.pairs, self._floor))
        self._flips += window.flips
        self._pairs += window.pairs

    def start_step(self) -> None:
        """Versions may disagree, so no step waits for their agreement."""

    def reading(self) -> Reading:
        share = self._flips / self._pairs if self._pairs else 0.0
        text = f"{self._flips:,} of {self._pairs:,} rows that both answered have another label"
        return Reading(self.name, float(self._evidence.value), share, self._floor, None, text)


Guard = _Rate | _Slow | _Shift | _Disagree | _Difference

EXCESS_FLOOR: Final = 0.0005
EVENT_HARM: Final = 0.01
SLOW: Final = ("slow_q90", "slow_q99", "slow_max")
SLOW_HARM: Final = 0.05
# What each guard tolerates unless the deployment says otherwise.
FLOORS: Final[Mapping[str, float]] = {
    "errors": EXCESS_FLOOR,
    "refused": EXCESS_FLOOR,
    "invalid": EXCESS_FLOOR,
    "slow": EXCESS_FLOOR,
    "scores": 0.30,
    "disagree": 0.30,
}
# Guards that are on only with a floor: the scores of an improved version differ, those of a recompiled one must not.
OPTIONAL: Final = ("difference",)
NAMES: Final = (*FLOORS, *OPTIONAL)


_BUILT: Final[Mapping[str, Callable[[float], Guard]]] = {
    "errors": lambda floor: _Rate("errors", "calls failed", floor, EVENT_HARM, lambda arm: (arm.errors, arm.calls)),
    "refused": lambda floor: _Rate(
        "refused", "calls were refused by the data contract", floor, EVENT_HARM, lambda arm: (arm.refused, arm.calls)
    ),
    "invalid": lambda floor: _Rate(
        "invalid", "calls got NaN or an infinity", floor, EVENT_HARM, lambda arm: (arm.invalid, arm.checked)
    ),
    "slow": _Slow,
    "scores": _Shift,
    "disagree": _Disagree,
    "difference": _Difference,
}


class Guards:
    """All guards of one rollout. Owned by the thread that adds windows; the same windows give the same readings."""

    def __init__(self, policies: Mapping[str, GuardPolicy] | None = None) -> None:
        policies = policies or {}
        default = GuardPolicy()
        self._guards = [
            _BUILT[name](floor if (own := policies.get(name, default).floor) is None else own)
            for name, floor in FLOORS.items()
            if not policies.get(name, default).off
        ]
        self._guards += [
            _BUILT[name](floor)
            for name in OPTIONAL
            if not (policy := policies.get(name, default)).off and (floor := policy.floor) is not None
        ]
        self.step_calls = 0  # of the candidate in the current step, copies included

    def add(self, window: Window) -> None:
        self.step_calls += window.answered.calls
        for guard in self._guards:
            guard.add(window)

    def start_step(self) -> None:
        """Harm is remembered from step to step; its absence is shown in each step anew, at the new weight."""
        self.step_calls = 0
        for guard in self._guards:
            guard.start_step()

    def readings(self) -> list[Reading]:
        return [guard.reading() for guard in self._guards]
