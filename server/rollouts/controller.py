"""Watches active rollouts: closes windows, asks the guards, and carries out what is decided."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic, time
from typing import Final, Protocol

from onnxpress.packages.errors import OnnxpressError
from onnxpress.server.errors import EpochConflictError, RolloutStateError
from onnxpress.server.rollouts.collector import Buffer, Counter, Pair, Report
from onnxpress.server.rollouts.decide import Decision, decide
from onnxpress.server.rollouts.guards import Guards, Reading
from onnxpress.server.rollouts.pairs import NO_PAIRS, KeptRow, Pairs, worst
from onnxpress.server.rollouts.recorder import Recorder
from onnxpress.server.rollouts.records import Entry, Header
from onnxpress.server.rollouts.replay import restored
from onnxpress.server.rollouts.shadow import Plan, Shadow, shadow_salt
from onnxpress.server.serving.routing import Routes
from onnxpress.server.versions.desired import Desired
from onnxpress.server.versions.rollout import Rollout, RolloutAction, RolloutState
from onnxpress.server.versions.status import Outcome

# A window ends after a second, or once the candidate has answered so many calls.
WINDOW_S, WINDOW_CALLS = 1.0, 50
TICK_S: Final = 0.1
ACTOR: Final = "onnxpress rollout"

logger = logging.getLogger(__name__)


class Deployments(Protocol):
    """What a controller asks of the control plane."""

    def rollouts(self) -> list[Desired]: ...


class Changes(Protocol):
    def change_rollout(
        self, name: str, action: RolloutAction, expected_epoch: int | None, reason: str, actor: str
    ) -> Outcome: ...


@dataclass(frozen=True)
class Copying:
    """Of the copies of a rollout. share: of the live version's calls, now; unanswerable: why there are none."""

    share: float
    pairs: Pairs
    dropped: int  # rows
    unanswerable: str


@dataclass(frozen=True)
class Progress:
    """What this server knows of an active rollout; next: what is decided, in one sentence."""

    rollout: int
    step_calls: int
    next: str
    readings: tuple[Reading, ...] = ()
    copies: Copying | None = None  # None without a shadow


@dataclass
class _Trial:
    """One rollout on this server."""

    pair: Pair
    counter: Counter
    guards: Guards
    step: int
    window_began: float
    edges: tuple[float, ...] = ()  # of the bins of scores, as they were recorded last
    pairs: Pairs = NO_PAIRS
    dropped: int = 0  # rows of copies


class Controller:
    """Owns the trials, in the thread that calls `tick`; `_progress` and `_kept` are replaced as a whole.

    Each replica decides on its own evidence, and the outcome is a compare-and-swap on the deployment's epoch: whoever
    is first makes the change, and the others follow it.
    """

    def __init__(
        self,
        deployments: Deployments,
        changes: Changes,
        routes: Callable[[], Routes],
        buffer: Buffer,
        shadow: Shadow,
        recorder: Recorder | None = None,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], float] = time,
    ) -> None:
        """`recorder`: keeps the windows across restarts; None: a restart counts anew."""
        self._deployments, self._changes, self._routes = deployments, changes, routes
        self._buffer, self._shadow, self._recorder = buffer, shadow, recorder
        self._clock, self._now = clock, now
        self._trials: dict[str, _Trial] = {}
        self._progress: dict[str, Progress] = {}
        self._kept: dict[str, Sequence[KeptRow]] = {}  # until the model's next rollout
        self._lock = threading.Lock()  # `tick` is called by one thread at a time

    def progress(self, model: str) -> Progress | None:
        """None without an active rollout."""
        return self._progress.get(model)

    def pairs(self, model: str) -> Sequence[KeptRow]:
        """Rows that both versions of the newest rollout answered and that differ most, the worst first."""
        return self._kept.get(model, ())

    def tick(self) -> None:
        """Does what is due now."""
        with self._lock:
            active = {desired.model: desired for desired in self._deployments.rollouts()}
            self._buffer.watched = {model: str(desired.candidate) for model, desired in active.items()}
            reports = self._buffer.take()
            self._trials = {model: trial for model, trial in self._trials.items() if model in active}
            self._progress = {model: one for model, one in self._progress.items() if model in active}
            for model, desired in active.items():
                self._follow(model, desired, reports.get(model, []))
            self._shadow.follow({model: plan for model, one in active.items() if (plan := self._copying(model, one))})

    def _copying(self, model: str, desired: Desired) -> Plan | None:
        """Whose calls are copied to whom; None without a shadow."""
        trial, rollout = self._trials.get(model), desired.rollout
        if trial is None or rollout is None or not rollout.plan.shadow:
            return None
        pair = trial.pair
        return Plan(pair.champion, pair.candidate, rollout.plan.shadow / 100, shadow_salt(rollout.salt(model)))

    def _follow(self, model: str, desired: Desired, reports: list[Report]) -> None:
        rollout = desired.rollout
        assert rollout is not None, "it is active"
        trial = self._trial(model, desired, rollout)
        if trial is None:
            self._tell(model, Progress(rollout.id, 0, f"version {rollout.candidate} is not loaded on this server"))
            return
        calls, seconds = trial.counter.add(reports), self._clock() - trial.window_began
        if seconds < WINDOW_S and calls + self._shadow.calls(model) < WINDOW_CALLS:
            return
        copied = self._shadow.take(model)
        window = trial.counter.close(seconds, copied)
        trial.pairs += Pairs(window.pairs, window.flips, window.largest)
        trial.dropped += copied.dropped
        trial.guards.add(window)
        self._kept = {**self._kept, model: worst(self._shadow.rows(model), trial.counter.kept.rows)}
        trial.window_began = self._clock()
        readings = trial.guards.readings()
        step_s = self._now() - rollout.step_since
        decision = decide(rollout, readings, trial.guards.step_calls, step_s)
        copies = None
        if rollout.plan.shadow:
            copies = Copying(self._shadow.share(model), trial.pairs, trial.dropped, self._shadow.unanswerable(model))
        self._tell(model, Progress(rollout.id, trial.guards.step_calls, decision.reason, tuple(readings), copies))
        self._record(model, trial, desired, decision, Entry(step_s=step_s, seconds=seconds, window=window))
        if decision.action is not None:
            self._carry_out(model, desired, decision)

    def _trial(self, model: str, desired: Desired, rollout: Rollout) -> _Trial | None:
        """The trial of a rollout; None while one of its versions is not loaded here."""
        route = self._routes().models.get(model)
        lane = route.lanes.get(str(rollout.candidate)) if route is not None else None
        if route is None or route.live is None or lane is None or route.epoch != desired.epoch:
            return None
        trial, pair = self._trials.get(model), Pair(rollout.id, route.live, lane)
        if trial is None or trial.pair != pair:
            self._trials[model] = trial = self._begun(model, pair, rollout)
        if trial.step != rollout.step:
            trial.step = rollout.step
            trial.guards.start_step()
        return trial

    def _begun(self, model: str, pair: Pair, rollout: Rollout) -> _Trial:
        """A trial with the evidence that was recorded of it: before a restart, or before a version was reloaded."""
        header = Header(model, rollout.id, pair.champion.digest, pair.candidate.digest)
        entries = self._recorder.begin(header) if self._recorder is not None else []
        edges = next((entry.edges for entry in reversed(entries) if entry.edges), ())
        step = entries[-1].step if entries else rollout.step
        if entries:
            logger.info("model %r: rollout %d goes on with %d recorded windows", model, rollout.id, len(entries))
        pairs = sum((Pairs(one.window.pairs, one.window.flips, one.window.largest) for one in entries), NO_PAIRS)
        return _Trial(pair, Counter(pair, edges), restored(rollout, entries), step, self._clock(), edges, pairs)

    def _record(self, model: str, trial: _Trial, desired: Desired, decision: Decision, entry: Entry) -> None:
        if self._recorder is None:
            return
        assert desired.rollout is not None, "it is active"
        edges, action = trial.counter.edges, decision.action
        told = replace(
            entry,
            time=self._now(),
            step=desired.rollout.step,
            epoch=desired.epoch,
            paused=desired.rollout.state is RolloutState.PAUSED,
            action=action.value if action is not None else "",
            edges=edges if edges != trial.edges else (),
        )
        trial.edges = edges
        self._recorder.keep(model, told)

    def _carry_out(self, model: str, desired: Desired, decision: Decision) -> None:
        assert decision.action is not None, "there is something to do"
        try:
            self._changes.change_rollout(model, decision.action, desired.epoch, decision.reason, ACTOR)
        except (EpochConflictError, RolloutStateError) as error:
            logger.info("model %r: somebody else changed the rollout first: %s", model, error)
        except OnnxpressError as error:
            logger.error("model %r: %s is due and failed: %s", model, decision.action.value, error)  # noqa: TRY400
        else:
            level = logging.WARNING if decision.action is RolloutAction.ROLL_BACK else logging.INFO
            logger.log(level, "model %r: %s: %s", model, decision.action.value, decision.reason)

    def _tell(self, model: str, progress: Progress) -> None:
        self._progress = {**self._progress, model: progress}
