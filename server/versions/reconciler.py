"""Brings each model to its desired state: at the start, after a change here, and after one by another replica."""

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from time import monotonic

from onnxpress.packages.errors import OnnxpressError
from onnxpress.server.errors import UnknownModelError
from onnxpress.server.sources.source import Source
from onnxpress.server.versions.actuator import Actuator
from onnxpress.server.versions.desired import Desired, DesiredStore, undeployed
from onnxpress.server.versions.model import Model
from onnxpress.server.versions.next_action import Action, Load, Observed, Publish, Rest, Unload, Wanted, next_action
from onnxpress.server.versions.status import ModelStatus, with_disk

# Seconds between polls of the deployments, and so the largest delay before another replica's change is seen.
POLL_S = 0.5
# Models reconciled at the same time: each may run a preflight, which takes a core at low priority and may hang.
WORKERS = 4
THREAD_NAME = "control-reconciler"

logger = logging.getLogger(__name__)


class Reconciler:
    """Owns the models. Methods block and may be called from any thread; `watch` starts a polling thread."""

    def __init__(self, source: Source, store: DesiredStore, actuator: Actuator) -> None:
        self._source = source
        self._store = store
        self._actuator = actuator
        self._models: dict[str, Model] = {}
        self._models_lock = threading.Lock()  # owns `_models` itself
        self._stop = threading.Event()
        self._turns: list[Future[None]] = []  # written by the polling thread
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix=THREAD_NAME)
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)

    def announce(self) -> None:
        """Publishes every deployment before the ports open, so that calls get UNAVAILABLE until it is loaded.

        NOT_FOUND, which clients do not retry, is for models that are not in the repository.
        """
        for name in self._source.models():
            versions = self._source.versions(name)
            try:
                desired = self._store.read(name) or undeployed(name, versions)
            except OnnxpressError as error:
                logger.error("model %r is not served: %s", name, error)  # noqa: TRY400 -- the reason says it all
                self._adopt(Desired(name, 0, 0)).unreadable = str(error)
                continue
            self._actuator.announce(self._adopt(desired), versions)

    def load_all(self) -> None:
        """Loads what was announced. A model that cannot be loaded is marked failed; the others are served."""
        for model in self._known_models():
            with model.changing:
                # A deployed version passed its preflight when it was deployed; a folder without a deployment never did.
                self.converge(model, preflight=not model.desired.epoch, load=True)

    def watch(self) -> None:
        """Starts to poll deployments and to retry failed loads."""
        self._thread.start()

    def stop(self) -> None:
        """Starts no further work; work in progress continues."""
        self._stop.set()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def await_workers(self) -> None:
        """Waits until no model is being reconciled."""
        wait(self._turns)

    def names(self) -> list[str]:
        """Names of the served models and of those that have appeared in the source since."""
        with self._models_lock:
            return sorted({*self._models, *self._source.models()})

    def known(self, name: str) -> Model:
        """A model that is served or has appeared in the source; the latter goes live by a deploy only.

        Raises UnknownModelError.
        """
        with self._models_lock:
            model = self._models.get(name)
        if model is not None:
            return model
        if not self._source.versions(name):
            raise UnknownModelError(
                f"model {name!r} is not in the repository; there are {', '.join(self.names()) or 'none'}"
            )
        return self._adopt(Desired(name, 0, 0))

    def refresh(self, model: Model) -> Desired:
        """The desired state, read from disk if another replica changed it. Raises RefusedPackageError."""
        try:
            newest = self._store.read(model.name)
        except OnnxpressError as error:
            with model.lock:
                model.unreadable = str(error)
            raise
        with model.lock:
            model.unreadable = ""
            if newest is not None and newest.epoch > model.desired.epoch:
                logger.info("model %r: epoch %d, made by another replica", model.name, newest.epoch)
                self._desire(model, newest)
            return model.desired

    def desire(self, model: Model, desired: Desired) -> None:
        """Adopts a durable desired state."""
        with model.lock:
            self._desire(model, desired)

    def converge(self, model: Model, *, preflight: bool = True, load: bool = False) -> None:
        """Acts until nothing is to be done; without `load`, until only loads are left, which the polling thread starts.

        With `load` each version is tried once, so that a failure does not delay the start. The caller holds `changing`.
        """
        tried: set[int] = set()
        while True:
            action = self._next(model)
            if isinstance(action, Load):
                if not load or action.version in tried:
                    return
                tried.add(action.version)
            elif isinstance(action, Rest):
                return
            self._act(model, action, preflight=preflight)

    def status(self, name: str) -> ModelStatus:
        """Raises UnknownModelError."""
        model = self.known(name)
        on_disk = self._source.versions(name)
        verdicts = {version: self._source.verdict(name, version) for version in on_disk}
        with model.lock:
            observed = self._actuator.observe(model)
            versions = with_disk(model.versions, verdicts)
            trouble = self._trouble(model, model.wanted(), observed, monotonic())
            return ModelStatus(name, model.desired, observed.version, observed.epoch, trouble, versions)

    def rollouts(self) -> list[Desired]:
        """The desired states with an active rollout."""
        desired = [model.desired for model in self._known_models()]
        return [one for one in desired if one.candidate]

    def troubles(self) -> list[str]:
        """A line for each model that is not served as desired, as of the last check. Takes no model's lock."""
        return [f"model {model.name!r}: {model.trouble}" for model in self._known_models() if model.trouble]

    def _trouble(self, model: Model, wanted: Wanted, observed: Observed, now: float) -> str:
        if model.unreadable:
            return model.unreadable
        as_wanted = (observed.version, observed.epoch) == (wanted.version, wanted.epoch)
        if as_wanted or wanted.suspended or not wanted.version:
            return ""
        served = f"version {observed.version} of epoch {observed.epoch}" if observed.version else "no version"
        state = f"{served} answers here, not version {wanted.version} of epoch {wanted.epoch}"
        failure = model.failures.get(wanted.version)
        if failure is None:
            return f"{state}, which is being loaded"
        return f"{state}: {failure.reason}; attempt {failure.attempts + 1} in {max(0.0, failure.retry_at - now):.0f} s"

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                self.poll()
            except Exception:
                if not self._stop.is_set():  # otherwise the workers have been stopped
                    logger.exception("looking at the deployments")

    def poll(self) -> None:
        """Reads deployments that changed, and starts a worker for each model with something to do."""
        for name in self._store.changed():
            self._notice(name)
        turns = [turn for turn in self._turns if not turn.done()]
        for model in self._known_models():
            action = self._next(model)
            if model.reconciling or isinstance(action, Rest) or self._stop.is_set():
                continue
            # A change in progress here publishes and unloads by itself; a failing load must not wait for it.
            if isinstance(action, Load) or not model.changing.locked():
                model.reconciling = True
                turns.append(self._workers.submit(self._catch_up, model))
        self._turns = turns

    def _notice(self, name: str) -> None:
        try:
            self.refresh(self._known_or_new(name))
        except OnnxpressError as error:
            logger.error("model %r: %s", name, error)  # noqa: TRY400 -- the reason says it all

    def _catch_up(self, model: Model) -> None:
        """One worker's turn: does everything that is due. A change in progress here goes first."""
        try:
            while not self._stop.is_set():
                action = self._next(model)
                if isinstance(action, Load):
                    # Without `changing`: a rollback must not wait for the preflight of a version that hangs.
                    if not self._act(model, action, preflight=True):
                        return  # other models come first; this one is retried when due
                elif isinstance(action, Rest) or not model.changing.acquire(blocking=False):
                    return
                else:
                    try:
                        self.converge(model)
                    finally:
                        model.changing.release()
        except Exception:
            logger.exception("model %r", model.name)
        finally:
            self._next(model)
            model.reconciling = False

    def _next(self, model: Model) -> Action:
        """The next action; also updates whether the model is served as desired."""
        with model.lock:
            observed, wanted, now = self._actuator.observe(model), model.wanted(), monotonic()
            model.trouble = self._trouble(model, wanted, observed, now)
            return next_action(wanted, observed, now)

    def _act(self, model: Model, action: Action, *, preflight: bool) -> bool:
        """Carries out an action. Returns whether it succeeded; only loads can fail."""
        match action:
            case Load(version):
                try:
                    self._actuator.load(model, version, preflight=preflight)
                except OnnxpressError as error:
                    logger.error("version %d of model %r: %s", version, model.name, error)  # noqa: TRY400
                    return False
                self._actuator.publish(model, flip=False)
            case Publish():
                self._actuator.publish(model, flip=True)
            case Unload(versions):
                self._actuator.unload(model, versions)
        return True

    def _desire(self, model: Model, desired: Desired) -> None:
        model.desired = desired
        model.failures.clear()

    def _known_models(self) -> list[Model]:
        with self._models_lock:
            return list(self._models.values())

    def _known_or_new(self, name: str) -> Model:
        with self._models_lock:
            model = self._models.get(name)
        return model or self._adopt(Desired(name, 0, 0))

    def _adopt(self, desired: Desired) -> Model:
        with self._models_lock:
            return self._models.setdefault(desired.model, Model(desired.model, desired))
