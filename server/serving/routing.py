"""Routing: which lane answers a call. Routes are immutable snapshots, replaced when versions change. Pure."""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from onnxpress.packages.names import VERSION_RULE, is_version
from onnxpress.server.errors import InvalidRequestError, NotReadyError, UnknownModelError, UnknownVersionError
from onnxpress.server.serving.lane import Lane

PLACES = 10_000
# Why a lane answers a call: it is live, it has a share of the calls, it gets copies, or the client named its version.
CHAMPION, CANARY, SHADOW, NAMED = "champion", "canary", "shadow", "named"
VERSION_SHOWN_MAX = 64


def place(salt: bytes, key: bytes) -> int:
    """The place of a route key in a rollout, 0 to 9,999: a keyed blake2b, so that rollouts have independent cohorts.

    `salt`: model and rollout, as in `churn/7`, at most 64 bytes.
    """
    digest = blake2b(key, digest_size=8, key=salt).digest()
    return (int.from_bytes(digest, "little") * PLACES) >> 64


class Target(NamedTuple):
    """A lane, and the reason why it answers."""

    lane: Lane
    variant: str


class Share(NamedTuple):
    """A share of the calls: those whose place is less than `below`, and not in an earlier share."""

    below: int  # 0 to PLACES; raising it adds callers to the share and removes none
    target: Target


@dataclass(eq=False)
class Route:
    """One epoch of one model's deployment.

    `held` belongs to the Scheduler: requests that this route sent to a lane and that are not yet answered.
    """

    model: str
    epoch: int
    live: Lane | None
    lanes: dict[str, Lane]  # by version, including the live one
    unready: dict[str, str]  # versions that exist but cannot answer -> their state and the reason
    held: int = 0
    shares: tuple[Share, ...] = ()  # of the calls that the live version would otherwise answer
    shadows: tuple[Target, ...] = ()  # get copies of the calls that the live version answers
    salt: bytes = b""
    # The only target of calls that name no version; None if there are several or none.
    only: Target | None = field(init=False)

    def __post_init__(self) -> None:
        self.only = Target(self.live, CHAMPION) if self.live is not None and not self.shares else None

    def choose(self, key: str, draw: float) -> Target:
        """The target of a call that names no version: by its key, or if that is empty by `draw`, in [0, 1).

        Raises NotReadyError.
        """
        if self.shares:
            at = place(self.salt, key.encode()) if key else int(draw * PLACES)
            for share in self.shares:
                if at < share.below:
                    return share.target
        return Target(self.lane(""), CHAMPION)

    def named(self, version: str) -> Target:
        """The target of a call that names its version. Raises the errors of `lane`."""
        return Target(self.lane(version), NAMED)

    def lane(self, version: str) -> Lane:
        """The lane of a version, or the live one for an empty version.

        Raises InvalidRequestError, UnknownVersionError, NotReadyError.
        """
        if not version:
            if self.live is not None:
                return self.live
            states = "; ".join(f"version {name} is {state}" for name, state in self.unready.items())
            raise NotReadyError(f"model {self.model!r} has no version ready: {states or 'it is not loaded'}")
        lane = self.lanes.get(version)
        if lane is not None:
            return lane
        if not is_version(version):
            shown = version if len(version) <= VERSION_SHOWN_MAX else version[:VERSION_SHOWN_MAX] + "…"
            raise InvalidRequestError(f"model_version must be {VERSION_RULE}, or empty, got {shown!r}")
        if version in self.unready:
            raise NotReadyError(f"version {version} of model {self.model!r} is {self.unready[version]}")
        known = sorted({*self.lanes, *self.unready}, key=int)
        raise UnknownVersionError(f"model {self.model!r} has no version {version}; there are {', '.join(known)}")


@dataclass(frozen=True, eq=False)
class Routes:
    """The routes of all models."""

    models: dict[str, Route] = field(default_factory=dict)

    def route(self, model: str) -> Route:
        """Raises UnknownModelError."""
        route = self.models.get(model)
        if route is None:
            raise UnknownModelError(
                f"model {model!r} is not served; there are {', '.join(sorted(self.models)) or 'none'}"
            )
        return route

    def replacing(self, route: Route) -> "Routes":
        """A copy with `route` as the route of its model."""
        return Routes({**self.models, route.model: route})
