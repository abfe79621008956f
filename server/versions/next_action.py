"""Decides the next action that brings a model to its desired state. Pure: no I/O, no clock; `now` is an argument."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxpress.server.versions.lifecycle import State, versions_to_unload

RETRY_FIRST_S = 1.0
RETRY_MAX_S = 300.0


@dataclass(frozen=True)
class Failure:
    """A version that failed to load: consecutive failures, and the time of the next attempt (monotonic seconds)."""

    reason: str
    attempts: int
    retry_at: float

    @staticmethod
    def after(former: "Failure | None", reason: str, now: float) -> "Failure":
        """The next failure of a version; the delay doubles, up to RETRY_MAX_S."""
        attempts = former.attempts + 1 if former else 1
        wait = min(RETRY_FIRST_S * 2.0 ** min(attempts - 1, 30), RETRY_MAX_S)
        return Failure(reason, attempts, now + wait)


@dataclass(frozen=True)
class Wanted:
    """The desired state, and explicit requests to this server, as `next_action` reads them."""

    version: int  # 0: nothing
    previous: int  # kept warm for a rollback; 0: nothing
    epoch: int
    suspended: bool = False  # unloaded by explicit request, in this epoch
    kept: frozenset[int] = frozenset()  # loaded by explicit request, or by a change that is being made
    candidate: int = 0  # of an active rollout, loaded beside the live version; 0: none


@dataclass(frozen=True)
class Observed:
    """One model as this process serves it."""

    version: int  # the version that answers requests which name none; 0: none
    epoch: int  # of the route that is published
    states: Mapping[int, State] = field(default_factory=dict)
    failures: Mapping[int, Failure] = field(default_factory=dict)


@dataclass(frozen=True)
class Load:
    version: int


@dataclass(frozen=True)
class Publish:
    """Publish a route with the desired version and epoch."""


@dataclass(frozen=True)
class Unload:
    versions: tuple[int, ...]


@dataclass(frozen=True)
class Rest:
    """Nothing to do now."""


Action = Load | Publish | Unload | Rest


def next_action(wanted: Wanted, observed: Observed, now: float) -> Action:
    """Priorities: what callers wait for, a candidate, unneeded versions, the version kept warm for a rollback.

    While the desired version cannot be loaded, the current one stays live.
    """
    ready = [version for version, state in observed.states.items() if state is State.READY]
    if wanted.suspended:
        idle = [version for version in ready if version not in wanted.kept]
        return Unload(tuple(idle)) if idle else Rest()
    if wanted.version in ready and (observed.version, observed.epoch) != (wanted.version, wanted.epoch):
        return Publish()
    if _due(wanted.version, observed, now):
        return Load(wanted.version)
    if _due(wanted.candidate, observed, now):
        return Load(wanted.candidate)
    idle = versions_to_unload(
        ready, wanted.version, wanted.previous, wanted.kept | {observed.version, wanted.candidate}
    )
    if idle:
        return Unload(tuple(idle))
    return Load(wanted.previous) if _due(wanted.previous, observed, now) else Rest()


def _due(version: int, observed: Observed, now: float) -> bool:
    """Whether a version is to be loaded now: it is neither loaded nor loading, and its next attempt is due."""
    if not version or observed.states.get(version) in (State.LOADING, State.READY, State.DRAINING):
        return False
    failure = observed.failures.get(version)
    return failure is None or failure.retry_at <= now
