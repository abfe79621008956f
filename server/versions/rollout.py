"""A rollout: a candidate beside the live version, which gets a growing share of the calls. Pure.

A Rollout is a part of the desired state, so each change of it is a new epoch; `Desired` holds the newest one of a
model, also after its end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

from onnxpress.server.errors import RolloutStateError

SALT_BYTES_MAX: Final = 64  # of a key of blake2b
PLACES_PER_CENT: Final = 100  # of the 10,000 places of routing.py


class RolloutState(Enum):
    RUNNING = "running"
    PAUSED = "paused"  # weights stay as they are; guards still roll back
    PROMOTED = "promoted"  # the candidate is the live version
    ROLLED_BACK = "rolled back"  # the candidate is worse: a guard or a person took it out
    ABORTED = "aborted"  # it ended without a verdict


ACTIVE: Final = frozenset({RolloutState.RUNNING, RolloutState.PAUSED})


class RolloutAction(Enum):
    """What can be done with an active rollout, and the state that follows."""

    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLL_BACK = "roll-back"
    ABORT = "abort"
    PAUSE = "pause"
    RESUME = "resume"


STATE_AFTER: Final = MappingProxyType({
    RolloutAction.ADVANCE: RolloutState.RUNNING,
    RolloutAction.PROMOTE: RolloutState.PROMOTED,
    RolloutAction.ROLL_BACK: RolloutState.ROLLED_BACK,
    RolloutAction.ABORT: RolloutState.ABORTED,
    RolloutAction.PAUSE: RolloutState.PAUSED,
    RolloutAction.RESUME: RolloutState.RUNNING,
})  # fmt: skip


@dataclass(frozen=True)
class Step:
    """weight: the candidate's share in per cent; 0: copies only. It lasts `baking_s` and `calls_min` calls at least."""

    weight: float
    baking_s: int
    calls_min: int


@dataclass(frozen=True)
class GuardPolicy:
    """A guard that differs from its default; floor: what it tolerates."""

    off: bool = False
    floor: float | None = None


@dataclass(frozen=True)
class Plan:
    """What the caller of a deploy asks for."""

    steps: tuple[Step, ...]
    guards: Mapping[str, GuardPolicy] = field(default_factory=dict)
    advance_without_evidence: bool = False
    shadow: float = 0.0  # per cent of the live version's calls that the candidate answers too
    hold: bool = False  # the last step lasts until somebody decides


@dataclass(frozen=True)
class Rollout:
    """id: the epoch that began it. step: the index of the current step. reason: why it is in its state and step."""

    id: int
    candidate: int
    plan: Plan
    step: int
    step_since: float  # seconds since 1970
    state: RolloutState = RolloutState.RUNNING
    reason: str = ""

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def last(self) -> bool:
        """Whether the candidate is promoted after the current step."""
        return self.step == len(self.plan.steps) - 1

    @property
    def current(self) -> Step:
        return self.plan.steps[self.step]

    @property
    def places(self) -> int:
        """The candidate's share of the places of routing.py."""
        return round(self.current.weight * PLACES_PER_CENT) if self.active else 0

    def salt(self, model: str) -> bytes:
        """What makes this rollout's places of route keys independent of those of others."""
        salt = f"{model}/{self.id}".encode()
        return salt if len(salt) <= SALT_BYTES_MAX else blake2b(salt, digest_size=SALT_BYTES_MAX).digest()

    def after(self, action: RolloutAction, reason: str, now: float) -> "Rollout":
        """The rollout after `action`. Raises RolloutStateError."""
        if not self.active:
            raise RolloutStateError(f"the rollout of version {self.candidate} is {self.state.value}: {self.reason}")
        if action is RolloutAction.RESUME and self.state is not RolloutState.PAUSED:
            raise RolloutStateError(f"the rollout of version {self.candidate} is not paused")
        if action is RolloutAction.ADVANCE:
            if self.state is RolloutState.PAUSED:
                raise RolloutStateError(f"the rollout of version {self.candidate} is paused: resume it first")
            if self.last:
                raise RolloutStateError(f"the rollout of version {self.candidate} is at its last step: promote it")
            return replace(self, step=self.step + 1, step_since=now, reason=reason)
        return replace(self, state=STATE_AFTER[action], reason=reason)


def begin(epoch: int, candidate: int, plan: Plan, now: float) -> Rollout:
    """The rollout that `epoch` begins."""
    return Rollout(epoch, candidate, plan, 0, now, reason="it began")
