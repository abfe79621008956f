"""Carries out decisions: loads versions, publishes routes, unloads versions."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from time import monotonic

from onnxpress.packages.errors import OnnxpressError, RefusedPackageError
from onnxpress.packages.package import Package
from onnxpress.packages.read import read_package
from onnxpress.server.errors import NotReadyError
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.routing import CANARY, Route, Share, Target
from onnxpress.server.serving.scheduler import Scheduler
from onnxpress.server.sources.source import Source
from onnxpress.server.versions.desired import Desired
from onnxpress.server.versions.lifecycle import State, check_transition
from onnxpress.server.versions.loader import Loader
from onnxpress.server.versions.model import Model
from onnxpress.server.versions.next_action import Failure, Observed
from onnxpress.server.versions.preflight import PreflightResult
from onnxpress.server.versions.status import VersionStatus

# Seconds that a change waits for the requests held by the former route or a lane.
RELEASE_S = 30.0
# Seconds that a thread waits for another one that loads or unloads the same version.
OTHERS_S = 600.0
# The reason in the error of a call to a version that is not loaded.
UNLOADED = "on disk but not loaded: deploy it or load it"
LOADING = "being loaded: the server is starting"
GONE = "what the deployment wants live, but not in the repository"

logger = logging.getLogger(__name__)


class Actuator:
    """Every method blocks and may be called from any thread; a model's own state is in Model, under its locks."""

    def __init__(
        self,
        source: Source,
        scheduler: Scheduler,
        loader: Loader,
        preflight: Callable[[Path, str, int], PreflightResult],
        unloaded: Callable[[Lane], None],
        model_mib_max: int,
    ) -> None:
        """`preflight` loads a version in a child process; `unloaded` is called with each lane that was dropped."""
        self._source = source
        self._scheduler = scheduler
        self._loader = loader
        self._preflight = preflight
        self._unloaded = unloaded
        self._model_mib_max = model_mib_max
        self.on_change: Callable[[str], None] = lambda _model: None  # set once, before anything is loaded

    def observe(self, model: Model) -> Observed:
        """The observed state of the model. The caller holds the model's `lock`."""
        route = self._scheduler.routes.models.get(model.name)
        states = {status.version: status.state for status in model.versions.values()}
        live = int(route.live.version) if route is not None and route.live is not None else 0
        return Observed(live, route.epoch if route is not None else 0, states, dict(model.failures))

    def announce(self, model: Model, versions: Iterable[int]) -> None:
        """Publishes a route without lanes: until a load, calls get UNAVAILABLE, which clients retry, not NOT_FOUND."""
        desired = model.desired
        wanted = {desired.version, desired.previous, desired.candidate}
        unready = {str(version): LOADING if version in wanted else UNLOADED for version in versions}
        self._scheduler.replace_route(Route(model.name, desired.epoch, None, {}, unready))

    def load(self, model: Model, version: int, *, preflight: bool) -> Lane:
        """Returns the lane of a version and loads the version unless it is ready; updates its status.

        Raises UnknownModelError, UnknownVersionError, RefusedPackageError, DrainingError, NotReadyError.
        """
        with model.lock:
            status = self._await_others(model, version)
            if status.state is State.READY and status.lane is not None:
                return status.lane
            try:
                folder = self._source.fetch(model.name, version)
            except OnnxpressError as error:
                self._failed(model, version, str(error))
                raise
            status = self._enter(model, status, State.LOADING)
        try:
            lane = self._load(model.name, version, folder, preflight=preflight)
        except OnnxpressError as error:
            self._give_up(model, status, str(error))
            raise
        except Exception as error:
            self._give_up(model, status, "an unforeseen error, see the log")
            logger.exception("loading version %d of model %r", version, model.name)
            raise RefusedPackageError(
                f"version {version} of {model.name!r} cannot be loaded: {type(error).__name__}"
            ) from error
        with model.lock:
            model.failures.pop(version, None)
            self._enter(model, replace(status, lane=lane), State.READY)
        logger.info(
            "model %r version %d is ready, batches of up to %d rows, %s",
            model.name,
            version,
            lane.cost.batch_rows,
            lane.session.engine,
        )
        if lane.signature.alone:
            logger.warning("model %r version %d: shared batches: no: %s", model.name, version, lane.signature.alone)
        return lane

    def read(self, name: str, version: int) -> Package:
        """The package of a version as it is in the source now. Raises what `Source.fetch` and `read_package` raise."""
        return read_package(self._source.fetch(name, version), name, version, self._model_mib_max)

    def publish(self, model: Model, *, flip: bool) -> None:
        """Replaces the model's route. `flip`: to the desired version, which is ready; otherwise the live lane stays.

        Waits until no request of a former route is held. With `flip` the caller holds `changing`.
        """
        with model.lock:
            former = self._scheduler.routes.models.get(model.name)
            lanes = {
                str(s.version): s.lane for s in model.versions.values() if s.lane is not None and s.state is State.READY
            }
            live, epoch = str(model.desired.version), model.desired.epoch
            if not flip and former is not None:
                live, epoch = former.live.version if former.live is not None else "", former.epoch
            if former is None or epoch == model.desired.epoch:
                shares, salt = _shares(model.desired, lanes)
            else:  # the shares of the epoch that is still published
                shares = tuple(one for one in former.shares if one.target.lane in lanes.values())
                salt = former.salt
            route = Route(
                model.name, epoch, lanes.get(live), lanes, self._unready(model, lanes), shares=shares, salt=salt
            )
            if (replaced := self._scheduler.replace_route(route)) is not None:
                model.formers.append(replaced)
            formers = list(model.formers)
        self.on_change(model.name)
        until = monotonic() + RELEASE_S
        for one in formers:
            if not self._scheduler.wait_released(one, max(0.0, until - monotonic())):
                logger.warning("model %r: epoch %d still holds %d requests", model.name, one.epoch, one.held)
        with model.lock:
            model.formers = [one for one in model.formers if one.held and one not in formers]

    def unload(self, model: Model, versions: Iterable[int]) -> None:
        """Drains and drops versions; skips those that are not ready. The caller holds `changing`."""
        with model.lock:
            ready = [model.versions[one] for one in versions if model.versions[one].state is State.READY]
            draining = [self._enter(model, status, State.DRAINING) for status in ready]
        if not draining:
            return
        self.publish(model, flip=False)
        for status in draining:
            lane = status.lane
            assert lane is not None, "only loaded versions drain"
            if not self._scheduler.wait_released(lane, RELEASE_S):
                logger.warning("%r keeps its leases; it is left to them", lane)
            with model.lock:
                self._enter(model, replace(status, lane=None), State.AVAILABLE)
            self._unloaded(lane)
        self.publish(model, flip=False)

    def _unready(self, model: Model, lanes: dict[str, Lane]) -> dict[str, str]:
        """Versions that exist and cannot answer, with the reason."""
        unready = {str(version): UNLOADED for version in self._source.versions(model.name)}
        unready |= {
            str(s.version): s.state.value + (f" ({s.reason})" if s.reason else "")
            for s in model.versions.values()
            if s.state is not State.AVAILABLE
        }
        if model.desired.version:
            unready.setdefault(str(model.desired.version), GONE)
        return {version: why for version, why in unready.items() if version not in lanes}

    def _await_others(self, model: Model, version: int) -> VersionStatus:
        """The status of a version that no other thread is loading or unloading. The caller holds `lock`."""

        def status() -> VersionStatus:
            return model.versions.get(version) or VersionStatus(version, State.AVAILABLE)

        busy = (State.LOADING, State.DRAINING)
        if not model.lock.wait_for(lambda: status().state not in busy, OTHERS_S):
            raise NotReadyError(f"version {version} of {model.name!r} is {status().state.value} for too long")
        return status()

    def _load(self, name: str, version: int, folder: Path, *, preflight: bool) -> Lane:
        if not preflight:
            return self._loader.load(read_package(folder, name, version, self._model_mib_max))
        result = self._preflight(folder, name, version)
        package = read_package(folder, name, version, self._model_mib_max)
        if package.digest != result.digest:
            raise RefusedPackageError(f"version {version} of {name!r} was changed while it was tried")
        return self._loader.load(package, result.measured)

    def _give_up(self, model: Model, status: VersionStatus, reason: str) -> None:
        with model.lock:
            self._enter(model, replace(status, reason=reason), State.FAILED)
            self._failed(model, status.version, reason)

    def _failed(self, model: Model, version: int, reason: str) -> None:
        """Records the reason, and the time of the next attempt. The caller holds `lock`."""
        if version in (model.desired.version, model.desired.previous):
            model.failures[version] = Failure.after(model.failures.get(version), reason, monotonic())
        former = self._scheduler.routes.models.get(model.name)
        # The lanes and their shares stay and only the reasons change, so there is no request to wait for.
        if former is None:
            route = Route(model.name, model.desired.epoch, None, {}, self._unready(model, {}))
        else:
            route = replace(former, unready=self._unready(model, former.lanes), held=0)
        self._scheduler.replace_route(route)
        if former is not None:
            model.formers = [one for one in (*model.formers, former) if one.held]
        self.on_change(model.name)

    def _enter(self, model: Model, status: VersionStatus, state: State) -> VersionStatus:
        check_transition(status.state, state)
        entered = replace(status, state=state, reason=status.reason if state is State.FAILED else "")
        model.versions[status.version] = entered
        model.lock.notify_all()
        self.on_change(model.name)
        return entered


def _shares(desired: Desired, lanes: dict[str, Lane]) -> tuple[tuple[Share, ...], bytes]:
    """The shares of an active rollout, and the salt of its route keys; none while its candidate is not loaded here."""
    lane, rollout = lanes.get(str(desired.candidate)), desired.rollout
    if lane is None or rollout is None or not rollout.places:
        return (), b""
    return (Share(rollout.places, Target(lane, CANARY)),), rollout.salt(desired.model)
