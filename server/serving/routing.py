"""Which lane answers which call: immutable snapshots, replaced whole when a version goes live or away. Pure."""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from onnxpress.packages.names import VERSION_RULE, is_version
from onnxpress.server.errors import InvalidRequestError, NotReadyError, UnknownModelError, UnknownVersionError
from onnxpress.server.serving.lane import Lane

PLACES = 10_000
# Why a lane answers: it is the live one, it has a share of the calls, it gets copies, or the caller named its version.
CHAMPION, CANARY, SHADOW, NAMED = "champion", "canary", "shadow", "named"
VERSION_SHOWN_MAX = 64


def place(salt: bytes, key: bytes) -> int:
    """Where a route key stands in a rollout, 0 to 9,999: keyed blake2b, so rollouts' cohorts are independent.

    `salt`: model and rollout, as in `churn/7`, at most 64 bytes.
    """
    digest = blake2b(key, digest_size=8, key=salt).digest()
    return (int.from_bytes(digest, "little") * PLACES) >> 64


class Target(NamedTuple):
    """A lane, and why it answers."""

    lane: Lane
    variant: str


class Share(NamedTuple):
    """A part of the calls: those whose place is below `below`, and in no share before it."""

    below: int  # 0 to PLACES: raising it adds callers and moves none away
    target: Target


@dataclass(eq=False)
class Route:
    """One epoch of one model's deployment.

    `held` belongs to the Scheduler: requests that this deployment sent to a lane and that are not answered yet.
    """

    model: str
    epoch: int
    live: Lane | None
    lanes: dict[str, Lane]  # by version, the live one included
    unready: dict[str, str]  # versions that exist and do not answer -> their state and why
    held: int = 0
    shares: tuple[Share, ...] = ()  # taken from what the live version would get
    shadows: tuple[Target, ...] = ()  # get copies of what the live version answers
    salt: bytes = b""
    # The one target of calls that name no version; None where there are several or none.
    only: Target | None = field(init=False)

    def __post_init__(self) -> None:
        self.only = Target(self.live, CHAMPION) if self.live is not None and not self.shares else None

    def choose(self, key: str, draw: float) -> Target:
        """The target of a call that names no version: by its key, or where that is empty by `draw`, 0 up to 1.

        Raises NotReadyError.
        """
        if self.shares:
            at = place(self.salt, key.encode()) if key else int(draw * PLACES)
            for share in self.shares:
                if at < share.below:
                    return share.target
        return Target(self.lane(""), CHAMPION)

    def named(self, version: str) -> Target:
        """The target of a call that names its version. Raises like `lane`."""
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
    """Every model's route."""

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
        return Routes({**self.models, route.model: route})
