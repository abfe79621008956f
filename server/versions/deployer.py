"""Which version of which model is live: prepares, commits, flips and cleans up. One method per admin call."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from onnxpress.packages.errors import OnnxpressError, RefusedPackageError
from onnxpress.protos.deployment_pb2 import Deployment
from onnxpress.server.errors import (
    EpochConflictError,
    StateWriteError,
    UnknownModelError,
    UnknownVersionError,
)
from onnxpress.server.facts import AdminFact
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.routing import Route
from onnxpress.server.serving.scheduler import Scheduler
from onnxpress.server.sources.folder import Repository
from onnxpress.server.versions.audit import OK, AuditState, FileAuditLog, Intent
from onnxpress.server.versions.desired import Desired, desired_state, read_deployment, write_deployment
from onnxpress.server.versions.lifecycle import State, check_transition, versions_to_unload
from onnxpress.server.versions.loader import Loader
from onnxpress.server.versions.preflight import Verdict
from onnxpress.server.versions.recovery import settle
from onnxpress.server.versions.rollback_history import History, after_deploy, back
from onnxpress.server.versions.state_folder import StateFolder
from onnxpress.server.versions.status import ModelStatus, Outcome, VersionStatus, with_disk

# How long a deploy waits for requests that the former version still holds.
RELEASE_S = 30.0
CHANGES_MAX = 16
# What a caller reads of a version that nobody has asked to be loaded.
UNLOADED = "on disk but not loaded: deploy it or load it"
LOADING = "being loaded: the server is starting"
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
        audit: FileAuditLog,
        state: StateFolder,
        trial: Callable[[str, int], Verdict],
        unloaded: Callable[[Lane], None],
    ) -> None:
        """`trial` loads a version where it can do no harm; `unloaded` is told when a lane is gone."""
        self._repository = repository
        self._scheduler = scheduler
        self._loader = loader
        self._audit = audit
        self._state = state
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
        with model.lock:
            self._settle(model)
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
        fact = AdminFact(actor, "deploy", name, desired.version, version, expected + 1, "", reason)
        return self._change(
            model, lambda now: (version, after_deploy(now.history, now.version, version)), expected, fact
        )

    def rollback(self, name: str, expected_epoch: int | None, reason: str, actor: str) -> Outcome:
        """Makes the version live that was live before and was not itself rolled back from.

        Raises what `deploy` raises, and NothingToRollBackError.
        """
        model = self._known(name)
        desired, _ = self._newest(model)
        target, _ = back(name, desired.history)
        expected = desired.epoch if expected_epoch is None else expected_epoch
        fact = AdminFact(actor, "rollback", name, desired.version, target, expected + 1, "", reason)
        return self._change(model, lambda now: back(name, now.history), expected, fact)

    def rollback_target(self, name: str) -> Outcome:
        """What a rollback would do now. Raises UnknownModelError, NothingToRollBackError."""
        desired, _ = self._newest(self._known(name))
        target, _ = back(name, desired.history)
        return Outcome(name, target, desired.version, desired.epoch, changed=False)

    def _change(
        self, model: _Model, step: Callable[[Desired], tuple[int, History]], expected: int, fact: AdminFact
    ) -> Outcome:
        """Makes the version live that `step` chooses, which also says what rollbacks may go back to afterwards."""
        with model.lock:
            desired = self._catch_up(model)
            live = model.versions.get(fact.to_version)
            unchanged = (fact.to_version, expected) == (desired.version, desired.epoch)
            if unchanged and live is not None and live.state is State.READY:
                return Outcome(model.name, desired.version, desired.previous, desired.epoch, changed=False)
            with self._recorded(model, fact) as intent:
                if desired.epoch != expected:
                    raise EpochConflictError(f"model {model.name!r} is at epoch {desired.epoch}, expected {expected}")
                version, history = step(desired)
                lane = self._load(model, version, trial=True)
                self._check_on_disk(model, version, lane)
                fact = replace(fact, from_version=desired.version, to_version=version, digest=lane.digest)
                self._commit(model, history, replace(intent, fact=fact))
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

    @contextmanager
    def _recorded(self, model: _Model, fact: AdminFact) -> Iterator[Intent]:
        """The intent is on disk before anything is done; a change that does not happen says so, and is undone."""
        self._settle(model)
        intent = self._audit.begin(fact)
        try:
            yield intent
        except OnnxpressError as error:
            self._unload_unneeded(model)
            refused = replace(intent, fact=replace(fact, epoch=model.desired.epoch))
            self._finish(refused, AuditState.ABORTED, f"refused: {error}")
            raise

    def _finish(self, intent: Intent, state: AuditState, result: str) -> None:
        """An outcome that cannot be written is found out and written by the next change, or the next start."""
        try:
            self._audit.finish(intent, state, result)
        except StateWriteError as error:
            # What is done is done, and the caller is told the reason that can be acted on.
            logger.error("model %r: %s is not in the audit log: %s", intent.fact.model, state.value, error)  # noqa: TRY400

    def _commit(self, model: _Model, history: History, intent: Intent) -> None:
        """The intent is durable already; the deployment makes the change, and the outcome says so."""
        desired, fact = model.desired, intent.fact
        deployment = Deployment(
            model=model.name,
            epoch=desired.epoch + 1,
            live_version=fact.to_version,
            previous_version=history[-1] if history else 0,
            history=history,
            reason=fact.reason,
            actor=fact.actor,
            changes=[*(model.deployment.changes if model.deployment else ()), intent.change][-CHANGES_MAX:],
        )
        deployment.updated_at.FromDatetime(datetime.now(UTC))
        write_deployment(self._repository.root / model.name, deployment)
        self._finish(intent, AuditState.COMMITTED, OK)
        model.deployment = deployment
        model.desired = Desired(fact.to_version, deployment.epoch, history)

    def load(self, name: str, version: int, actor: str) -> None:
        """Loads a version (0: what the deployment says) beside what is live; it answers requests that name it."""
        model = self._known(name)
        with model.lock:
            wanted, desired = version or model.desired.version, model.desired
            fact = AdminFact(actor, "load", name, desired.version, wanted, desired.epoch, "", "")
            with self._recorded(model, fact) as intent:
                lane = self._load(model, wanted, trial=True)
                self._audit.finish(replace(intent, fact=replace(fact, digest=lane.digest)), AuditState.COMMITTED)
                model.pinned |= {wanted}
            self._publish(model)

    def unload(self, name: str, actor: str) -> None:
        """Stops serving a model until it is loaded or deployed again; the deployment stays as it is."""
        model = self._known(name)
        with model.lock:
            fact = AdminFact(actor, "unload", name, model.desired.version, 0, model.desired.epoch, "", "")
            with self._recorded(model, fact) as intent:
                self._audit.finish(intent, AuditState.COMMITTED)
            model.pinned = frozenset()
            self._unload(model, [status.version for status in model.versions.values() if status.lane is not None])

    def status(self, name: str) -> ModelStatus:
        """Raises UnknownModelError."""
        model = self._known(name)
        versions = with_disk(model.versions, self._repository.versions(name))
        return ModelStatus(name, model.desired, model.deployment, versions)

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

    def _settle(self, model: _Model) -> None:
        """Tells what became of changes that servers which have ended were making. The caller holds the model's lock."""
        deployment = read_deployment(self._repository.root / model.name)
        epoch, changes = (deployment.epoch, list(deployment.changes)) if deployment else (0, [])
        settle(self._audit, self._state.alive, self._state.server, model.name, epoch, changes)
