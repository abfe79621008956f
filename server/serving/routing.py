"""Which lane answers which model: immutable snapshots, replaced whole when a version goes live or away."""

from dataclasses import dataclass, field
from typing import Any

from onnxpress.server.errors import NotReadyError, UnknownModelError, UnknownVersionError
from onnxpress.server.serving.lane import Lane


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

    def lane(self, version: str) -> Lane:
        """The lane of a version, or the live one for an empty version.

        Raises UnknownVersionError, NotReadyError.
        """
        if not version:
            if self.live is not None:
                return self.live
            states = "; ".join(f"version {name} is {state}" for name, state in self.unready.items())
            raise NotReadyError(f"model {self.model!r} has no version ready: {states or 'it is not loaded'}")
        lane = self.lanes.get(version)
        if lane is not None:
            return lane
        if version in self.unready:
            raise NotReadyError(f"version {version} of model {self.model!r} is {self.unready[version]}")
        known = sorted({*self.lanes, *self.unready}, key=int)
        raise UnknownVersionError(f"model {self.model!r} has no version {version}; there are {', '.join(known)}")


@dataclass(eq=False)
class Routes:
    """Every model's route. A new snapshot starts with no learned request headers, so none outlives its lane."""

    models: dict[str, Route] = field(default_factory=dict)
    learned: Any = None  # the codec's own

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
