"""Which version of which model is live: prepares, commits, flips and cleans up. One method per admin call."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from onnxpress.packages.errors import OnnxpressError, RefusedPackageError
from onnxpress.protos.deployment_pb2 import Deployment
from onnxpress.server.errors import (
    EpochConflictError,
    NothingToRollBackError,
    StateWriteError,
    UnknownModelError,
    UnknownVersionError,
)
from onnxpress.server.facts import AdminFact, AuditLog
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.routing import Route
from onnxpress.server.serving.scheduler import Scheduler
from onnxpress.server.sources.folder import Repository
from onnxpress.server.versions.desired import Desired, desired_state, read_deployment, write_deployment
from onnxpress.server.versions.lifecycle import State, check_transition, versions_to_unload
from onnxpress.server.versions.loader import Loader
from onnxpress.server.versions.preflight import Verdict
from onnxpress.server.versions.rollback_history import History, after_deploy, after_rollback
from onnxpress.server.versions.status import ModelStatus, Outcome, VersionStatus

# How long a deploy waits for requests that the former version still holds.
RELEASE_S = 30.0
# What a caller reads of a version that nobody has asked to be loaded.
UNLOADED = "on disk but not loaded: deploy it or load it"
LOADING = "being loaded: the server is starting"
MISSING = "package missing"
GONE = "what the deployment wants live, but not in the repository"

logger = logging.getLogger(__name__)


@dataclass
class _Model:
    """Owned by the Deployer: `versions` and `desired` change under `lock`, which a change holds from start to end."""

    name: str
    desired: Desired
    deployment: Deployment | None = None
    versions: dict[int, VersionStatus] = field(default_factory=dict)
    pinned: frozenset[int] = frozenset()  # loaded by explicit request, not by the deployment
    lock: threading.Lock = field(default_factory=threading.Lock)


class Deployer:
    """Every method blocks and may be called from any thread; changes of one model happen one after the other."""

    def __init__(
        self,
        repository: Repository,
        scheduler: Scheduler,
        loader: Loader,
        audit: AuditLog,
        trial: Callable[[str, int], Verdict],
        unloaded: Callable[[Lane], None],
    ) -> None:
        """`trial` loads a version where it can do no harm; `unloaded` is told when a lane is gone."""
        self._repository = repository
        self._scheduler = scheduler
        self._loader = loader
        self._audit = audit
        self._trial = trial
        self._unloaded = unloaded
        self._models: dict[str, _Model] = {}
        self._models_lock = threading.Lock()  # owns `_models` itself
        self.on_change: Callable[[str], None] = lambda _model: None  # set once, before `start`

    def announce(self) -> None:
        """Takes note of every deployment, before the ports open: callers are told to wait until `start` has loaded it.

        NOT_FOUND, which no client retries, is for what is not in the repository.
        """
        for name in self._repository.models():
            try:
                deployment = read_deployment(self._repository.root / name)
            except OnnxpressError as error:
                logger.error("model %r is not served: %s", name, error)  # noqa: TRY400 -- the reason says it all
                continue
            versions = self._repository.versions(name)
            desired = desired_state(deployment, versions)
            assert desired is not None, "a model has at least one version"
            self._adopt(name, desired, deployment)
            wanted = {desired.version, desired.previous}
            unready = {str(version): LOADING if version in wanted else UNLOADED for version in versions}
            self._scheduler.replace_route(Route(name, desired.epoch, None, {}, unready))

    def start(self) -> None:
        """Loads what was announced. A model that cannot be loaded is failed; the others are served."""
        for model in list(self._models.values()):
            try:
                self._start_model(model)
            except OnnxpressError as error:
                logger.error("model %r is not served: %s", model.name, error)  # noqa: TRY400
                self._publish(model)

    def _start_model(self, model: _Model) -> None:
        self._recover(model)
        with model.lock:
            desired = model.desired
            for version in (desired.version, desired.previous):
                if not version:
                    continue
                try:
                    # What was deployed was tried then; a folder that just lies there never was.
                    self._load(model, version, trial=model.deployment is None)
                except OnnxpressError as error:
                    logger.error("version %d of model %r: %s", version, model.name, error)  # noqa: TRY400
            self._publish(model)

    def deploy(self, name: str, version: int, expected_epoch: int | None, reason: str, actor: str) -> Outcome:
        """Makes `version` live. When this returns, every request sent afterwards is answered by it.

        Raises UnknownModelError, UnknownVersionError, RefusedPackageError, EpochConflictError, StateWriteError: then
        nothing has changed.
        """
        model = self._known(name)
        desired, _ = self._newest(model)
        expected = desired.epoch if expected_epoch is None else expected_epoch
        fact = AdminFact(actor, "deploy", name, desired.version, version, expected + 1, "", reason, "ok")
        return self._change(
            model, lambda now: (version, after_deploy(now.history, now.version, version)), expected, fact
        )

    def rollback(self, name: str, expected_epoch: int | None, reason: str, actor: str) -> Outcome:
        """Makes the version live that was live before and was not itself rolled back from.

        Raises what `deploy` raises, and NothingToRollBackError.
        """
        model = self._known(name)
        desired, _ = self._newest(model)
        target, _ = _back(name, desired)
        expected = desired.epoch if expected_epoch is None else expected_epoch
        fact = AdminFact(actor, "rollback", name, desired.version, target, expected + 1, "", reason, "ok")
        return self._change(model, partial(_back, name), expected, fact)

    def rollback_target(self, name: str) -> Outcome:
        """What a rollback would do now. Raises UnknownModelError, NothingToRollBackError."""
        desired, _ = self._newest(self._known(name))
        target, _ = _back(name, desired)
        return Outcome(name, target, desired.version, desired.epoch, changed=False)

    def _change(
        self, model: _Model, step: Callable[[Desired], tuple[int, History]], expected: int, fact: AdminFact
    ) -> Outcome:
        """Makes the version live that `step` chooses, which also says what rollbacks may go back to afterwards."""
        with model.lock:
            desired = model.desired
            try:
                desired = self._catch_up(model)
                if desired.epoch != expected:
                    raise EpochConflictError(f"model {model.name!r} is at epoch {desired.epoch}, expected {expected}")
                version, history = step(desired)
                live = model.versions.get(desired.version)
                if version == desired.version and live is not None and live.state is State.READY:
                    return Outcome(model.name, version, desired.previous, desired.epoch, changed=False)
                lane = self._load(model, version, trial=True)
                self._check_on_disk(model, version, lane)
                fact = replace(fact, from_version=desired.version, to_version=version, digest=lane.digest)
                self._commit(model, history, fact)
            except OnnxpressError as error:
                self._refused(model, replace(fact, epoch=desired.epoch, result=f"refused: {error}"))
                raise
            self._publish(model)
            self._unload_unneeded(model)
            return Outcome(model.name, version, desired.version, model.desired.epoch, changed=True)

    def _check_on_disk(self, model: _Model, version: int, lane: Lane) -> None:
        """What goes live must be there after a restart, so a warm version needs its package too.

        Raises RefusedPackageError when the package is missing, incomplete or not the one that was loaded.
        """
        if version not in self._repository.versions(model.name):
            raise RefusedPackageError(f"version {version} of {model.name!r} is loaded, but no longer in the repository")
        if self._repository.read(model.name, version).digest != lane.digest:
            raise RefusedPackageError(
                f"version {version} of {model.name!r} was changed in the repository since it was loaded"
            )

    def _newest(self, model: _Model) -> tuple[Desired, Deployment | None]:
        """The desired state and its record, on disk where another replica on this repository has gone ahead of us."""
        deployment = read_deployment(self._repository.root / model.name)
        if deployment is None or deployment.epoch <= model.desired.epoch:
            return model.desired, model.deployment
        newest = desired_state(deployment, [])
        assert newest is not None, "a deployment names a version"
        return newest, deployment

    def _catch_up(self, model: _Model) -> Desired:
        """Makes live here what is live on disk, so that the next change starts from the truth."""
        newest, deployment = self._newest(model)
        if newest != model.desired:
            self._load(model, newest.version, trial=True)
            model.deployment = deployment
            model.desired = newest
            self._publish(model)
            logger.warning("model %r: caught up with epoch %d, which another replica wrote", model.name, newest.epoch)
        return newest

    def _refused(self, model: _Model, fact: AdminFact) -> None:
        """A change that did not happen leaves a record and nothing else: what it had loaded goes again."""
        self._unload_unneeded(model)
        try:
            self._audit.append(fact)
        except StateWriteError as error:
            # The caller is told the first reason, which is the one to act on.
            logger.error("model %r: the refusal is not in the audit log: %s", model.name, error)  # noqa: TRY400

    def _commit(self, model: _Model, history: History, fact: AdminFact) -> None:
        """Durable before visible: first the audit log, then the deployment; a refused write is told to both."""
        desired = model.desired
        deployment = Deployment(
            model=model.name,
            epoch=desired.epoch + 1,
            live_version=fact.to_version,
            previous_version=history[-1] if history else 0,
            history=history,
            reason=fact.reason,
            actor=fact.actor,
        )
        deployment.updated_at.FromDatetime(datetime.now(UTC))
        self._audit.append(fact)
        write_deployment(self._repository.root / model.name, deployment)
        model.deployment = deployment
        model.desired = Desired(fact.to_version, deployment.epoch, history)

    def load(self, name: str, version: int, actor: str) -> None:
        """Loads a version (0: what the deployment says) beside what is live; it answers requests that name it."""
        model = self._known(name)
        with model.lock:
            wanted = version or model.desired.version
            lane = self._load(model, wanted, trial=True)
            fact = AdminFact(
                actor, "load", name, model.desired.version, wanted, model.desired.epoch, lane.digest, "", "ok"
            )
            self._audit.append(fact)
            model.pinned |= {wanted}
            self._publish(model)

    def unload(self, name: str, actor: str) -> None:
        """Stops serving a model until it is loaded or deployed again; the deployment stays as it is."""
        model = self._known(name)
        with model.lock:
            desired = model.desired
            self._audit.append(AdminFact(actor, "unload", name, desired.version, 0, desired.epoch, "", "", "ok"))
            model.pinned = frozenset()
            self._unload(model, [status.version for status in model.versions.values() if status.lane is not None])

    def status(self, name: str) -> ModelStatus:
        """Raises UnknownModelError."""
        model = self._known(name)
        versions, on_disk = dict(model.versions), self._repository.versions(name)
        for version in on_disk:
            versions.setdefault(version, VersionStatus(version, State.AVAILABLE))
        for version in versions.keys() - set(on_disk):
            if versions[version].state is State.READY:
                versions[version] = replace(versions[version], reason=MISSING)
        ordered = tuple(versions[version] for version in sorted(versions))
        return ModelStatus(name, model.desired, model.deployment, ordered)

    def models(self) -> list[str]:
        """Names of what is served and of what has appeared on disk since."""
        with self._models_lock:
            return sorted({*self._models, *self._repository.models()})

    def _known(self, name: str) -> _Model:
        with self._models_lock:
            model = self._models.get(name)
        if model is not None:
            return model
        versions = self._repository.versions(name)
        if not versions:
            raise UnknownModelError(
                f"model {name!r} is not in the repository; there are {', '.join(self.models()) or 'none'}"
            )
        # A folder that appeared after the start: known, and live by a deploy only.
        return self._adopt(name, Desired(0, 0), None)

    def _adopt(self, name: str, desired: Desired, deployment: Deployment | None) -> _Model:
        with self._models_lock:
            return self._models.setdefault(name, _Model(name, desired, deployment))

    def _load(self, model: _Model, version: int, *, trial: bool) -> Lane:
        """The lane of a version, loaded now unless it is ready. Its status tells what happened."""
        status = model.versions.get(version)
        if status is not None and status.state is State.READY and status.lane is not None:
            return status.lane
        if version not in self._repository.versions(model.name):
            known = ", ".join(map(str, self._repository.versions(model.name)))
            raise UnknownVersionError(f"model {model.name!r} has no version {version}; there are {known or 'none'}")
        status = self._enter(model, status or VersionStatus(version, State.AVAILABLE), State.LOADING)
        try:
            lane = (
                self._load_tried(model.name, version)
                if trial
                else self._loader.load(self._repository.read(model.name, version))
            )
        except OnnxpressError as error:
            self._enter(model, replace(status, reason=str(error)), State.FAILED)
            self._publish(model)
            raise
        except Exception as error:
            self._enter(model, replace(status, reason="an unforeseen error, see the log"), State.FAILED)
            logger.exception("loading version %d of model %r", version, model.name)
            raise RefusedPackageError(
                f"version {version} of {model.name!r} cannot be loaded: {type(error).__name__}"
            ) from error
        self._enter(model, replace(status, lane=lane), State.READY)
        logger.info("model %r version %d is ready, batches of up to %d rows", model.name, version, lane.cost.batch_rows)
        if lane.signature.alone:
            logger.warning("model %r version %d: shared batches: no: %s", model.name, version, lane.signature.alone)
        return lane

    def _load_tried(self, name: str, version: int) -> Lane:
        verdict = self._trial(name, version)
        package = self._repository.read(name, version)
        if package.digest != verdict.digest:
            raise RefusedPackageError(f"version {version} of {name!r} was changed while it was tried")
        return self._loader.load(package, verdict.curve, verdict.sharing)

    def _enter(self, model: _Model, status: VersionStatus, state: State) -> VersionStatus:
        check_transition(status.state, state)
        entered = replace(status, state=state, reason=status.reason if state is State.FAILED else "")
        model.versions[status.version] = entered
        self.on_change(model.name)
        return entered

    def _publish(self, model: _Model) -> None:
        """Flips the routes, and waits until no request is held that the former route sent."""
        lanes = {
            str(s.version): s.lane for s in model.versions.values() if s.lane is not None and s.state is State.READY
        }
        unready = {str(version): UNLOADED for version in self._repository.versions(model.name)}
        unready |= {
            str(s.version): s.state.value + (f" ({s.reason})" if s.reason else "")
            for s in model.versions.values()
            if s.state is not State.AVAILABLE
        }
        live = str(model.desired.version)
        if model.desired.version and live not in unready:
            unready[live] = GONE
        for version in lanes:
            unready.pop(version, None)
        route = Route(model.name, model.desired.epoch, lanes.get(live), lanes, unready)
        former = self._scheduler.replace_route(route)
        self.on_change(model.name)
        if former is not None and not self._scheduler.wait_released(former, RELEASE_S):
            logger.warning("model %r: epoch %d still holds %d requests", model.name, former.epoch, former.held)

    def _unload_unneeded(self, model: _Model) -> None:
        loaded = [s.version for s in model.versions.values() if s.state is State.READY]
        self._unload(model, versions_to_unload(loaded, model.desired.version, model.desired.previous, model.pinned))

    def _unload(self, model: _Model, versions: list[int]) -> None:
        if not versions:
            return
        draining = [self._enter(model, model.versions[version], State.DRAINING) for version in versions]
        self._publish(model)
        for status in draining:
            self._drop(model, status)
        self._publish(model)

    def _drop(self, model: _Model, status: VersionStatus) -> None:
        """Unloads a lane that no route leads to any more, once its last lease is back."""
        lane = status.lane
        assert lane is not None, "only loaded versions drain"
        if not self._scheduler.wait_released(lane, RELEASE_S):
            logger.warning("%r keeps its leases; it is left to them", lane)
        self._enter(model, replace(status, lane=None), State.AVAILABLE)
        self._unloaded(lane)

    def _recover(self, model: _Model) -> None:
        """The audit log is written first: a record without its deployment was never carried out, and now says so."""
        epoch, promised = model.desired.epoch, self._audit.last_epoch(model.name)
        if promised > epoch:
            why = "not carried out: the server ended before it was durable"
            self._audit.append(
                AdminFact("onnxpress", "recover", model.name, 0, model.desired.version, epoch, "", why, "ok")
            )


def _back(name: str, desired: Desired) -> tuple[int, History]:
    """The version that a rollback makes live, and the history then."""
    if not desired.history:
        raise NothingToRollBackError(
            f"model {name!r} has no earlier version to go back to; "
            "one that was rolled back from, or never live, goes live by a deploy with its number"
        )
    return after_rollback(desired.history)
