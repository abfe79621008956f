"""What recorded windows say: the evidence that a restarted server goes on with, and the decisions again. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from onnxpress.server.rollouts.decide import Decision, decide
from onnxpress.server.rollouts.guards import Guards, Reading
from onnxpress.server.rollouts.records import Entry
from onnxpress.server.versions.rollout import Rollout, RolloutState


@dataclass(frozen=True)
class Replayed:
    """A recorded window, the readings after it, and the decision on them."""

    entry: Entry
    readings: tuple[Reading, ...]
    step_calls: int
    decision: Decision

    @property
    def as_made(self) -> bool:
        """Whether the server that recorded the window decided the same."""
        return self.decision.action == self.entry.decided


def restored(rollout: Rollout, entries: Iterable[Entry]) -> Guards:
    """The guards after these windows, in the step of the last one."""
    guards, step = Guards(rollout.plan.guards), 0
    for entry in entries:
        step = _add(guards, step, entry)
    return guards


def replay(rollout: Rollout, entries: Iterable[Entry]) -> Iterator[Replayed]:
    """Every decision again, with its sentence and numbers. Of `rollout` only the candidate and the plan are read.

    The same windows give the same decisions; where windows are missing or merged, later ones may come a little later.
    """
    guards, step = Guards(rollout.plan.guards), 0
    for entry in entries:
        step = _add(guards, step, entry)
        readings = guards.readings()
        state = RolloutState.PAUSED if entry.paused else RolloutState.RUNNING
        then = replace(rollout, step=entry.step, state=state)
        decision = decide(then, readings, guards.step_calls, entry.step_s)
        yield Replayed(entry, tuple(readings), guards.step_calls, decision)


def _add(guards: Guards, step: int, entry: Entry) -> int:
    """Adds a window to guards that are in `step`. Returns the step that they are in then."""
    if entry.step != step:
        guards.start_step()
    guards.add(entry.window)
    return entry.step
