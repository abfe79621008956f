"""Shadow traffic: the candidate answers copies of the live version's calls, after their answers have left."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from random import random
from time import monotonic, sleep
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxpress.server.rollouts.answers import answer, not_finite
from onnxpress.server.rollouts.copies import Copies, Copy, Wanted
from onnxpress.server.rollouts.pairs import NO_PAIRS, Columns, Comparison, Kept, KeptRow, Pairs, columns, is_float
from onnxpress.server.rollouts.windows import NO_CALLS, Arm
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.routing import CHAMPION, PLACES, place

SHADOW_TICK_S: Final = 0.05
# Forecast of one run of copies at most: a call that arrives meanwhile competes with it for a core.
RUN_US_MAX: Final = 500.0
# Where calls wait, copies do: so long between two looks, and so long at most before the rest is dropped.
LOOK_S, PATIENCE_S = 0.001, 0.25
# Scores of one window that are binned.
SCORES_MAX: Final = 2_000
# The share that is copied falls to this part of itself where copies were dropped, and grows by this part otherwise.
SHRINK, GROW = 0.7, 1.05
SHARE_MIN: Final = 0.001


class Plan(NamedTuple):
    """Whose calls are copied, to whom, and which: those whose place with `salt` is below `share` of all places."""

    champion: Lane
    candidate: Lane
    share: float  # 0 to 1
    salt: bytes


@dataclass(frozen=True)
class Copied:
    """What came of copies. arm: as calls of the candidate; an error, refusal or NaN counts if the champion had none."""

    arm: Arm = NO_CALLS
    pairs: Pairs = NO_PAIRS
    scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))  # of the candidate
    dropped: int = 0  # rows

    def __add__(self, other: "Copied") -> "Copied":
        scores = np.concatenate([self.scores, other.scores])[:SCORES_MAX]
        return Copied(self.arm + other.arm, self.pairs + other.pairs, scores, self.dropped + other.dropped)


NO_COPIES: Final = Copied()


class Shade:
    """One rollout's copies. Owned by the thread that works, but for `result`, under the lock of Shadow."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.share = plan.share  # falls below the plan's where the server has no room for more copies
        self.comparison = Comparison(plan.champion.signature, plan.candidate.signature)
        self.kept = Kept()
        self.result = NO_COPIES

    @property
    def below(self) -> int:
        return round(self.share * PLACES)

    def adapt(self, *, dropped: bool) -> None:
        share = max(self.share * SHRINK, SHARE_MIN) if dropped else min(self.share * GROW, self.plan.share)
        self.share = min(share, self.plan.share)


class Shadow:
    """Lets candidates answer copies, in the thread that calls `work`.

    A copy is dropped rather than delaying a call: it runs only while no call waits, and after PATIENCE_S not at all.
    Where there is no room for all, fewer calls are copied, chosen by the place of their route key and not by when they
    came, so that what is compared is not the quiet seconds only.
    """

    def __init__(
        self,
        copies: Copies,
        busy: Callable[[], bool],
        clock: Callable[[], float] = monotonic,
        wait: Callable[[float], None] = sleep,
    ) -> None:
        """`busy`: whether calls wait for a run slot."""
        self._copies, self._busy, self._clock, self._wait = copies, busy, clock, wait
        self._shades: Mapping[str, Shade] = {}  # replaced as a whole, under the lock
        self._lock = threading.Lock()

    def follow(self, plans: Mapping[str, Plan]) -> None:
        """Copies as `plans` say, by model, from now on."""
        with self._lock:
            shades = {}
            for model, plan in plans.items():
                shade = self._shades.get(model)
                shades[model] = shade if shade is not None and shade.plan == plan else Shade(plan)
            self._shades = shades

    def take(self, model: str) -> Copied:
        """What came of the model's copies since the last call."""
        with self._lock:
            shade = self._shades.get(model)
            if shade is None:
                return NO_COPIES
            result, shade.result = shade.result, NO_COPIES
            return result

    def calls(self, model: str) -> int:
        """Calls that were compared since the last `take`."""
        shade = self._shades.get(model)
        return shade.result.arm.calls if shade is not None else 0

    def share(self, model: str) -> float:
        """The share of the live version's calls that is copied now, 0 to 1."""
        shade = self._shades.get(model)
        return shade.share if shade is not None and not shade.comparison.unanswerable else 0.0

    def rows(self, model: str) -> Sequence[KeptRow]:
        """Rows whose answers differ most, the worst first."""
        shade = self._shades.get(model)
        return shade.kept.rows if shade is not None else ()

    def unanswerable(self, model: str) -> str:
        """Why no copies are made; empty if they are."""
        shade = self._shades.get(model)
        return shade.comparison.unanswerable if shade is not None else ""

    def work(self) -> None:
        """Runs what was copied since the last call."""
        shades = self._shades
        self._copies.wanted = {
            model: Wanted(shade.plan.champion.version, shade.below >= PLACES)
            for model, shade in shades.items()
            if not shade.comparison.unanswerable
        }
        copies, dropped = self._copies.take()
        deadline = self._clock() + PATIENCE_S
        for model, shade in shades.items():
            mine = [copy for copy in copies if copy.lane == shade.plan.champion.id]
            lost = dropped.get(model, 0)
            for joined in _joined(mine, shade.plan.candidate):
                if self._has_room(deadline):
                    self._add(shade, _answered(shade, joined))
                else:
                    lost += sum(copy.rows for copy in joined)
            shade.adapt(dropped=lost > 0)
            if lost:
                self._add(shade, Copied(dropped=lost))

    def _has_room(self, deadline: float) -> bool:
        """Waits until no call waits, `deadline` at most."""
        while self._busy():
            if self._clock() >= deadline:
                return False
            self._wait(LOOK_S)
        return True

    def _add(self, shade: Shade, copied: Copied) -> None:
        with self._lock:
            shade.result += copied


def shadow_salt(salt: bytes) -> bytes:
    """The salt that chooses copies: independent of who is in the canary."""
    return blake2b(b"shadow " + salt, digest_size=32).digest()


def _joined(copies: Sequence[Copy], candidate: Lane) -> list[list[Copy]]:
    """Copies that run together: brief, and of no more rows than the candidate's batches have."""
    groups: list[list[Copy]] = []
    rows, most = 0, candidate.cost.batch_rows
    while most > 1 and candidate.cost.micros(most) > RUN_US_MAX:
        most //= 2
    for copy in copies:
        if not groups or rows + copy.rows > most:
            groups.append([])
            rows = 0
        groups[-1].append(copy)
        rows += copy.rows
    return groups


def _answered(shade: Shade, copies: Sequence[Copy]) -> Copied:
    """Lets the candidate answer the chosen rows of `copies`, and compares."""
    plan = shade.plan
    chosen = [_chosen(copy, shade.below, plan.salt) for copy in copies]
    counts = [count for count, _ in chosen]
    if not sum(counts):
        return NO_COPIES
    mask = np.concatenate([of for _, of in chosen])
    feeds = {
        spec.name: np.concatenate([copy.inputs[spec.name] for copy in copies])[mask]
        for spec in plan.champion.signature.inputs
    }
    specs = plan.champion.signature.outputs
    each = [columns(copy.outputs, specs, copy.rows) for copy in copies]
    ours = [np.concatenate([of[place] for of in each])[mask] for place in range(len(specs))]
    owner = np.repeat(np.arange(len(copies)), [copy.rows for copy in copies])[mask]  # which copy a row is of
    return _compared(shade, feeds, ours, owner, np.array(counts))


def _compared(
    shade: Shade, feeds: dict[str, NDArray[Any]], ours: Columns, owner: NDArray[np.int64], counts: NDArray[np.int64]
) -> Copied:
    """`ours`: what the champion answered to `feeds`. `owner`: the copy of each row; `counts`: calls of each copy."""
    candidate = shade.plan.candidate
    answers = answer(candidate, feeds)
    pairs, scores, invalid = NO_PAIRS, [], np.zeros(len(owner), bool)
    outputs = candidate.signature.outputs
    for rows, theirs in answers.parts:
        mine = [column[rows] for column in ours]
        pairs += shade.comparison.compare(mine, theirs, {name: of[rows] for name, of in feeds.items()}, shade.kept)
        invalid[rows] = not_finite(theirs, outputs) & ~not_finite(mine, shade.plan.champion.signature.outputs)
        score = next((place for place, spec in enumerate(outputs) if is_float(spec)), None)
        if score is not None:
            scores.append(theirs[score][:, -1].astype(np.float64))
    by_copy = partial(_by_copy, owner=owner, counts=counts)
    calls = int(counts.sum()) - by_copy(answers.untried)
    arm = Arm(
        calls=calls,
        errors=by_copy(answers.failed),
        refused=by_copy(answers.refused),
        checked=calls - by_copy(answers.failed | answers.refused),
        invalid=by_copy(invalid),
    )
    return Copied(arm, pairs, np.concatenate([np.empty(0), *scores]), int(answers.untried.sum()))


def _by_copy(wrong: NDArray[np.bool_], owner: NDArray[np.int64], counts: NDArray[np.int64]) -> int:
    """How many calls have such a row, if each copy has as many such calls as it can."""
    return int(np.minimum(np.bincount(owner[wrong], minlength=len(counts)), counts).sum())


def _chosen(copy: Copy, below: int, salt: bytes) -> tuple[int, NDArray[np.bool_]]:
    """How many calls of a copy are compared, and which rows are theirs."""
    if copy.chosen_from is None:  # all; once the share has fallen below that, all or none of the run
        chosen = below >= PLACES or _draw() < below
        return chosen * copy.calls, np.full(copy.rows, chosen)
    of = copy.chosen_from.columns()
    calls = [
        variant == CHAMPION and (place(salt, key.encode()) if key else _draw()) < below
        for variant, key in zip(of.variants, of.keys, strict=True)
    ]
    return sum(calls), np.repeat(np.array(calls, bool), of.rows)


def _draw() -> int:
    """The place of a call without a key."""
    return int(random() * PLACES)  # noqa: S311 -- no secret
