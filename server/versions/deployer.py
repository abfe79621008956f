"""Changes of the live version, one method per admin call: record the intent, swap the desired state, await it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import time

from onnxpress.packages.compatibility import Interface, compare, interface_of
from onnxpress.packages.errors import OnnxpressError, RefusedPackageError
from onnxpress.server.errors import (
    BreakingVersionError,
    EpochConflictError,
    StateWriteError,
    UnknownModelError,
    UnknownVersionError,
)
from onnxpress.server.facts import AdminFact
from onnxpress.server.serving.lane import Lane
from onnxpress.server.versions.actuator import Actuator
from onnxpress.server.versions.audit import OK, AuditState, FileAuditLog, Intent
from onnxpress.server.versions.desired import Desired, DesiredStore, Target
from onnxpress.server.versions.model import Model
from onnxpress.server.versions.reconciler import Reconciler
from onnxpress.server.versions.recovery import settle
from onnxpress.server.versions.rollout import Plan, RolloutAction
from onnxpress.server.versions.state_folder import StateFolder
from onnxpress.server.versions.status import Outcome
from onnxpress.server.versions.targets import begun, changed, deployed, rolled_back

logger = logging.getLogger(__name__)


@dataclass
class Attempt:
    """A change in progress; `fact` is completed as its details become known."""

    audit: FileAuditLog
    code: Callable[[BaseException], str]
    fact: AdminFact
    intent: Intent | None = None
    undecided: bool = False  # it failed, but may have taken effect

    def begin(self, *, epoch: int) -> Intent:
        """Records the intent to reach `epoch`. Raises StateWriteError."""
        self.intent = self.audit.begin(replace(self.fact, epoch=epoch))
        return self.intent

    def commit(self, *, epoch: int) -> None:
        """Raises StateWriteError."""
        assert self.intent is not None, "an outcome follows an intent"
        self.audit.finish(replace(self.intent, fact=replace(self.fact, epoch=epoch)), AuditState.COMMITTED, OK)

    def refuse(self, why: OnnxpressError) -> None:
        """Raises StateWriteError."""
        self.audit.refuse(self.intent, self.fact, self.code(why), str(why))


class Deployer:
    """Every method blocks and may be called from any thread; changes of one model happen one after the other."""

    def __init__(
        self,
        reconciler: Reconciler,
        store: DesiredStore,
        actuator: Actuator,
        audit: FileAuditLog,
        state: StateFolder,
        code: Callable[[BaseException], str],
    ) -> None:
        """`code` names the gRPC status of an error, for the audit log."""
        self._reconciler = reconciler
        self._store = store
        self._actuator = actuator
        self._audit = audit
        self._state = state
        self._code = code

    def settle(self) -> None:
        """At the start, records the outcome of changes whose servers have ended."""
        try:
            names = {intent.fact.model for intent in self._audit.unfinished()}
        except StateWriteError as error:
            logger.error("changes without an outcome stay so: %s", error)  # noqa: TRY400
            return
        for name in sorted(names):
            try:
                self._settle(name)
            except OnnxpressError as error:
                # The next change of the model will record them; until then `history` shows intents.
                logger.error("model %r: changes without an outcome stay so: %s", name, error)  # noqa: TRY400

    def deploy(
        self,
        name: str,
        version: int,
        expected_epoch: int | None,
        reason: str,
        actor: str,
        *,
        allow_breaking: bool = False,
    ) -> Outcome:
        """Makes `version` live. It answers every request that is sent after this returns.

        An active rollout ends: promoted if `version` is its candidate, else aborted.

        Raises UnknownModelError, UnknownVersionError, RefusedPackageError, EpochConflictError, StateWriteError, and
        unless `allow_breaking` BreakingVersionError for a version that the callers of the live one cannot call: then
        nothing has changed.
        """
        fact = AdminFact(actor, "deploy", name, 0, version, 0, "", reason)
        return self._change(fact, expected_epoch, lambda now: deployed(now, version), allow_breaking=allow_breaking)

    def roll_out(
        self,
        name: str,
        version: int,
        plan: Plan,
        expected_epoch: int | None,
        reason: str,
        actor: str,
        *,
        allow_breaking: bool = False,
    ) -> Outcome:
        """Begins a rollout of `version` beside the live one. Raises what `deploy` raises, and RolloutStateError."""
        fact = AdminFact(actor, "roll-out", name, 0, version, 0, "", reason)
        return self._change(
            fact, expected_epoch, lambda now: begun(now, version, plan, time()), allow_breaking=allow_breaking
        )

    def check_roll_out(
        self, name: str, version: int, plan: Plan, expected_epoch: int | None, *, allow_breaking: bool = False
    ) -> Desired:
        """The deployment beside which `roll_out` would begin. Changes nothing, and loads nothing.

        Raises what `roll_out` would raise, short of what loading the version would find.
        """
        model = self._reconciler.known(name)
        desired = self._reconciler.refresh(model)
        _check_epoch(desired, expected_epoch)
        begun(desired, version, plan, time())
        interface = interface_of(self._actuator.read(name, version).manifest)
        with model.lock:
            status = model.versions.get(version)
        if status is not None and status.lane is not None:
            interface = status.lane.interface
        if not allow_breaking and interface.inputs:  # that of a bare model is known while it is loaded
            self._check_interface(model, desired.version, version, interface)
        return desired

    def change_rollout(
        self, name: str, action: RolloutAction, expected_epoch: int | None, reason: str, actor: str
    ) -> Outcome:
        """Changes the active rollout. Raises what `deploy` raises, and RolloutStateError."""
        fact = AdminFact(actor, action.value, name, 0, 0, 0, "", reason)
        return self._change(fact, expected_epoch, lambda now: changed(now, action, reason, time()))

    def rollback(self, name: str, expected_epoch: int | None, reason: str, actor: str) -> Outcome:
        """Makes the newest version live that was live before and was not rolled back from.

        While a rollout is active it takes the candidate out instead, and the live version stays.

        Raises what `deploy` raises, and NothingToRollBackError.
        """
        fact = AdminFact(actor, "rollback", name, 0, 0, 0, "", reason)
        return self._change(fact, expected_epoch, lambda now: rolled_back(now, reason, time()))

    def rollback_target(self, name: str) -> Outcome:
        """What a rollback would do now. Raises UnknownModelError, NothingToRollBackError."""
        desired = self._reconciler.refresh(self._reconciler.known(name))
        target = rolled_back(desired, "", time())
        return Outcome(name, target.version, desired.version, desired.epoch, changed=False)

    def load(self, name: str, version: int, actor: str) -> None:
        """Loads a version (0: the deployed one) beside the live one; it answers requests that name it."""
        fact = AdminFact(actor, "load", name, 0, version, 0, "", "")
        with self._audited(fact) as attempt, self._changing(attempt) as (model, desired):
            wanted = version or desired.version
            attempt.fact = replace(attempt.fact, to_version=wanted)
            attempt.begin(epoch=desired.epoch)
            with model.holding(wanted):
                lane = self._actuator.load(model, wanted, preflight=True)
                attempt.fact = replace(attempt.fact, digest=lane.digest)
                attempt.commit(epoch=desired.epoch)
                with model.lock:
                    model.pinned |= {wanted}
                    if wanted == desired.version:
                        model.suspended = None
            self._actuator.publish(model, flip=False)

    def unload(self, name: str, actor: str) -> None:
        """Stops serving a model until it is loaded or deployed again; the deployment stays as it is."""
        fact = AdminFact(actor, "unload", name, 0, 0, 0, "", "")
        with self._audited(fact) as attempt, self._changing(attempt) as (model, desired):
            attempt.begin(epoch=desired.epoch)
            # The outcome comes first: an unload leaves no durable state from which a restart could derive it.
            attempt.commit(epoch=desired.epoch)
            with model.lock:
                model.pinned = frozenset()
                model.suspended = desired.epoch

    def _change(
        self, fact: AdminFact, expected: int | None, step: Callable[[Desired], Target], *, allow_breaking: bool = True
    ) -> Outcome:
        """Makes the deployment what `step` chooses, once the version that it brings in is loaded.

        `allow_breaking` by default, since a rollback must never be refused, and steps of a rollout were checked when
        it began.
        """
        with self._audited(fact) as attempt, self._changing(attempt) as (model, desired):
            _check_epoch(desired, expected)
            target = step(desired)
            version = target.incoming or target.version
            attempt.fact = replace(attempt.fact, to_version=version)
            with model.holding(version):
                as_desired = (target.version, target.rollout) == (desired.version, desired.rollout)
                if as_desired and model.suspended != desired.epoch:
                    # It is desired already, set here or by another replica: it is only awaited.
                    self._actuator.load(model, version, preflight=True)
                    self._reconciler.converge(model)
                    return Outcome(model.name, version, desired.previous, desired.epoch, changed=False)
                intent = attempt.begin(epoch=desired.epoch + 1)
                if version != desired.version or model.suspended == desired.epoch:
                    lane = self._actuator.load(model, version, preflight=True)
                    self._check_on_disk(model, version, lane)
                    if not allow_breaking and version not in (desired.version, desired.candidate):
                        self._check_interface(model, desired.version, version, lane.interface)
                    attempt.fact = replace(attempt.fact, digest=lane.digest)
                after = desired.after(intent.change, target, fact.reason, fact.actor)
                try:
                    self._store.compare_and_swap(after)
                except StateWriteError:
                    attempt.undecided = self._store.read(model.name) == after
                    raise
            self._reconciler.desire(model, after)
            try:
                attempt.commit(epoch=after.epoch)
            except StateWriteError as error:
                # The deployment is durable and names the change; the next change or start reads the outcome from it.
                logger.error("model %r: epoch %d is not in the audit log yet: %s", model.name, after.epoch, error)  # noqa: TRY400
            self._reconciler.converge(model)
            return Outcome(model.name, target.version, desired.version, after.epoch, changed=True)

    def _check_on_disk(self, model: Model, version: int, lane: Lane) -> None:
        """A live version must be loadable after a restart, so a warm version also needs its package in the source.

        Raises RefusedPackageError when the package is missing, incomplete or not the one that was loaded.
        """
        try:
            package = self._actuator.read(model.name, version)
        except (UnknownModelError, UnknownVersionError) as error:
            raise RefusedPackageError(
                f"version {version} of {model.name!r} is loaded, but no longer in the repository"
            ) from error
        if package.digest != lane.digest:
            raise RefusedPackageError(
                f"version {version} of {model.name!r} was changed in the repository since it was loaded"
            )

    def _check_interface(self, model: Model, live: int, version: int, interface: Interface) -> None:
        """Raises BreakingVersionError if callers of version `live` cannot call `version` unchanged."""
        with model.lock:
            status = model.versions.get(live)
        if status is not None and status.lane is not None:
            former = status.lane.interface
        else:
            try:
                former = interface_of(self._actuator.read(model.name, live).manifest)
            except OnnxpressError:
                return  # a live version that is gone or damaged must not keep another one from replacing it
        if not former.inputs:
            return  # a bare model that is not loaded
        breaking = compare(former, interface).breaking
        if breaking:
            raise BreakingVersionError(
                f"version {version} of {model.name!r} breaks callers of version {live}, which is live: "
                f"{'; '.join(breaking)}. Deploy it with allow_breaking (--allow-breaking) if they are ready for it"
            )

    @contextmanager
    def _audited(self, fact: AdminFact) -> Iterator[Attempt]:
        """Records an error as the change's outcome in the audit log, whether or not an intent was written."""
        attempt = Attempt(self._audit, self._code, fact)
        try:
            yield attempt
        except OnnxpressError as error:
            error.audited = True
            if attempt.undecided:
                raise  # the outcome is unknown until the deployment is read again, so the intent stays open
            try:
                attempt.refuse(error)
            except StateWriteError as unwritten:
                # The caller gets the first error, which is the cause.
                logger.error("model %r: the refusal is not in the audit log: %s", fact.model, unwritten)  # noqa: TRY400
            raise

    @contextmanager
    def _changing(self, attempt: Attempt) -> Iterator[tuple[Model, Desired]]:
        """Holds the model for one change: reads the newest desired state first, unloads unneeded versions last."""
        model = self._reconciler.known(attempt.fact.model)
        with model.changing:
            self._settle(model.name)
            desired = self._reconciler.refresh(model)
            attempt.fact = replace(attempt.fact, from_version=desired.version, epoch=desired.epoch)
            try:
                yield model, desired
            finally:
                self._reconciler.converge(model)

    def _settle(self, name: str) -> None:
        """The caller holds `changing`, or is the only thread that uses the model."""
        desired = self._store.read(name)
        epoch, changes = (desired.epoch, desired.changes) if desired else (0, ())
        settle(self._audit, self._state.alive, self._state.server, name, epoch, changes)


def _check_epoch(desired: Desired, expected: int | None) -> None:
    """Raises EpochConflictError; None expects nothing."""
    if expected not in (None, desired.epoch):
        raise EpochConflictError(f"model {desired.model!r} is at epoch {desired.epoch}, expected {expected}")
