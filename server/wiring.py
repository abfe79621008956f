"""The composition root and the life cycle of the process: start, serve, drain, stop."""

import asyncio
import gc
import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from onnxpress.server import logs
from onnxpress.server.errors import BrokenServerError
from onnxpress.server.front.calls import Calls
from onnxpress.server.front.control_socket import control_socket
from onnxpress.server.http.app import build_app
from onnxpress.server.http.server import HttpServer
from onnxpress.server.rollouts.collector import Buffer
from onnxpress.server.rollouts.controller import TICK_S, Controller
from onnxpress.server.rollouts.copies import Copies
from onnxpress.server.rollouts.recorder import Recorder
from onnxpress.server.rollouts.shadow import SHADOW_TICK_S, Shadow
from onnxpress.server.rpc.admin import Admin
from onnxpress.server.rpc.gate import Gate
from onnxpress.server.rpc.health import Health
from onnxpress.server.rpc.inference import Inference
from onnxpress.server.rpc.refusals import Refusals
from onnxpress.server.rpc.servers import AdminServer, DataServer
from onnxpress.server.rpc.tokens import POLL_S
from onnxpress.server.serving.admission import Admission
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.pump import Pump
from onnxpress.server.serving.pump_threads import PumpThreads
from onnxpress.server.serving.scheduler import Scheduler
from onnxpress.server.settings import KIB, MIB, Settings
from onnxpress.server.sources.folder import FolderSource
from onnxpress.server.telemetry.metrics import Metrics
from onnxpress.server.telemetry.observers import Observers, Worker
from onnxpress.server.telemetry.traffic import Traffic
from onnxpress.server.versions.actuator import Actuator
from onnxpress.server.versions.audit import FileAuditLog
from onnxpress.server.versions.deployer import Deployer
from onnxpress.server.versions.desired import DesiredStore
from onnxpress.server.versions.loader import Loader
from onnxpress.server.versions.preflight import Preflights
from onnxpress.server.versions.reconciler import Reconciler
from onnxpress.server.versions.state_folder import StateFolder
from onnxpress.server.versions.status import ModelStatus
from onnxpress.server.wire.codec import Codec
from onnxpress.server.wire.status import code_of

if TYPE_CHECKING:
    from onnxpress.server.front.native import NativeFront

# Seconds. Short, since folding holds the GIL: 0.2 ms each time at full load rather than 3 ms now and then.
FOLD_S = 0.05
POOL_NAME = "control"
# Seconds for answers to be written before connections are closed: pygrpc-native 0.5 drops the rest without notice.
FLUSH_S = 0.05
# Seconds that stopping may take beyond drain_wait_s and drain_finish_s: closing ports, flushing, joining threads.
STOP_MARGIN_S = 5.0
SIGNALLED = 128  # plus the signal's number: the exit code, as in a shell

Watch = Callable[[ModelStatus], None]

logger = logging.getLogger(__name__)


def serve(settings: Settings, watch: Watch | None = None, handler: logging.Handler | None = None) -> None:
    """Serves until SIGTERM or SIGINT. Raises OnnxpressError if the server cannot start or had to stop.

    `watch` is called, from any thread, with each model whose versions changed state; `handler` writes the log.
    """
    logs.configure(settings, handler)
    server = Server(settings, watch)
    uvloop.run(server.run())
    server.leave()
    if server.broken:
        raise BrokenServerError("the server stopped because its pump threads kept dying; the log has the traces")


class Server:
    """The components of the process, wired together."""

    def __init__(self, settings: Settings, watch: Watch | None) -> None:
        self._settings = settings
        self._watch = watch
        self._slots = settings.run_slots or len(os.sched_getaffinity(0))
        self._state = StateFolder(settings.state_dir, settings.repository)
        self._audit = FileAuditLog(settings.state_dir / "audit", self._state.server, settings.audit_file_kib_max * KIB)
        self._gate = Gate(settings)
        self._metrics = Metrics()
        self._registry = _registry(self._metrics)
        self._codec = Codec(settings.message_mib_max * MIB, settings.queue_rows_max)
        self._pool = ThreadPoolExecutor(self._slots + 4, thread_name_prefix=POOL_NAME)
        admission = Admission(
            self._slots, settings.latency_target_ms * 1e3, settings.queue_rows_max, settings.queue_mib_max * MIB
        )
        self._scheduler = Scheduler(self._slots, admission)
        self._compared = Buffer()
        self._copies = Copies()
        self._observers = Observers([self._metrics, self._compared, self._copies])
        self._pump = Pump(self._codec, self._scheduler, self._observers, admission)
        self._traffic = Traffic(self._metrics.versions)
        self._folding = Worker("metrics", self._fold, FOLD_S)
        self._preflights = Preflights(settings)
        source = FolderSource(settings.repository)
        store = DesiredStore(source)
        loader = Loader(settings.latency_target_ms, settings.batch_rows_max)
        self._actuator = Actuator(
            source, self._scheduler, loader, self._preflights.load, self._unloaded, settings.model_mib_max
        )
        self._reconciler = Reconciler(source, store, self._actuator)
        self._deployer = Deployer(
            self._reconciler, store, self._actuator, self._audit, self._state, lambda error: code_of(error).name
        )
        self._refusing = ThreadPoolExecutor(1, thread_name_prefix=f"{POOL_NAME}-refusals")
        self._refusals = Refusals(self._audit, self._refusing)
        self._shadow = Shadow(self._copies, lambda: bool(self._scheduler.waiting()))
        recorder = Recorder(settings.state_dir / "rollouts", self._state.server, self._state.alive)
        self._rollouts = Controller(
            self._reconciler, self._deployer, lambda: self._scheduler.routes, self._compared, self._shadow, recorder
        )
        self._watching = Worker("rollouts", self._rollouts.tick, TICK_S)
        self._shadowing = Worker("shadow", self._shadow.work, SHADOW_TICK_S)
        self._following = Worker("tokens", self._gate.refresh, POLL_S)
        self._stop = asyncio.Event()
        self.broken = False  # its pumps kept dying; written on the control loop

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        with control_socket(self._settings.state_dir) as socket:
            logs.tell_settings(self._settings)
            await loop.run_in_executor(self._pool, self._reconciler.announce)
            await self._serve(loop, socket)

    async def _serve(self, loop: asyncio.AbstractEventLoop, socket: Path) -> None:
        settings = self._settings
        health = Health()
        calls = Calls(loop, settings.queue_mib_max * MIB, self._scheduler.waiting_bytes, self._observers)
        version = distribution_version("onnxpress")
        rows_max, scheduler, metrics = self._codec.request_rows_max, self._scheduler, self._metrics
        inference = Inference(version, rows_max, scheduler, metrics, health, calls)
        admin = self._admin()
        self._actuator.on_change = partial(self._changed, loop, admin)
        metrics.lanes = lambda: [(lane.model, lane.version, lane.queue.rows) for lane in self._lanes()]
        metrics.forests = lambda: [
            (lane.model, lane.version, lane.session.forest_rows)
            for lane in self._lanes()
            if not lane.session.without_forest
        ]
        metrics.epochs = lambda: [(r.model, r.epoch) for r in self._scheduler.routes.models.values()]

        native = _native_front(settings, socket) if settings.front == "native" else None
        data = DataServer(settings, health, inference, str(socket) if native else "")
        http = HttpServer(
            settings.host, settings.http_port, build_app(self._registry, lambda: health.serving, self._troubles)
        )
        admin_server = AdminServer(settings, admin, self._gate, self._gate_refused)
        http.start()
        await data.start()
        await admin_server.start()
        fronts: dict[str, NativeFront | Calls] = {"calls": calls, **({"native": native} if native else {})}
        lost = partial(loop.call_soon_threadsafe, self._lose_pumps)
        pumps = [
            PumpThreads(self._pump, front, name, self._slots + 1, metrics.pump_died, lost)
            for name, front in fronts.items()
        ]
        for threads in pumps:
            threads.start()
        if native:
            native.start()
        self._folding.start()
        self._watching.start()
        self._shadowing.start()
        self._following.start()
        ports = f"grpc {native.port if native else data.port}, http {http.port}, admin {admin_server.port}"
        logger.info("listening: %s (front %s, %d run slots)", ports, settings.front, self._slots)

        await self._until_stopped(loop, health)

        await self._drain(loop, health, list(fronts.values()), calls)
        admin.wake_watchers(closing=True)
        await health.close()
        # Without delay: until then clients that do not watch health see a ready connection and retry on it.
        await asyncio.sleep(FLUSH_S)
        for front in fronts.values():
            front.close()
        await asyncio.gather(data.stop(), admin_server.stop(), http.close())
        for threads in pumps:
            await loop.run_in_executor(None, threads.join, STOP_MARGIN_S / len(pumps))
        await loop.run_in_executor(None, self._folding.stop, STOP_MARGIN_S)
        self._pool.shutdown(wait=False, cancel_futures=True)
        logger.info("stopped")

    def _gate_refused(self, method: str, request: Any, context: Any, error: Exception) -> None:
        self._metrics.admin_refused(code_of(error).name)
        self._refusals.stranger(method, request, context, error)

    async def _drain(
        self, loop: asyncio.AbstractEventLoop, health: Health, fronts: "Sequence[NativeFront | Calls]", calls: Calls
    ) -> None:
        """Reports NOT_SERVING, then refuses new calls; returns when held calls are answered or the time is over.

        `calls` is one of `fronts`: its open calls may not have reached the scheduler yet.
        """
        settings = self._settings
        await health.set(serving=False)
        self._reconciler.stop()
        self._watching.stop(0)
        self._following.stop(0)
        self._preflights.stop()
        logger.info("stopping: not serving, %.1f s for balancers to notice", settings.drain_wait_s)
        await asyncio.sleep(settings.drain_wait_s)
        for front in fronts:
            front.drain()
        idle = loop.run_in_executor(None, self._scheduler.wait_idle, settings.drain_finish_s)
        streamed = asyncio.create_task(calls.wait_idle())
        await asyncio.wait((idle, streamed), timeout=settings.drain_finish_s)
        finished = await idle and streamed.done()
        streamed.cancel()
        logger.info("stopping: held work %s", "is finished" if finished else "did not finish in time")

    def _lose_pumps(self) -> None:
        """Pumps keep dying: stops the server like a signal does, beginning with NOT_SERVING."""
        self.broken = True
        self._scheduler.close()  # wakes parked pumps, so that those that still work answer
        self._stop.set()

    def _signalled(self, number: int) -> None:
        """The first signal stops the server; the second ends the process at once and loses held requests."""
        if not self._stop.is_set():
            self._stop.set()
            return
        self._preflights.stop()
        logger.error("a second signal: ending at once, held work is lost")
        logging.shutdown()
        os._exit(SIGNALLED + number)

    async def _until_stopped(self, loop: asyncio.AbstractEventLoop, health: Health) -> None:
        """Loads the deployed versions, reports SERVING, and returns when the server is to stop."""
        starting = loop.run_in_executor(self._pool, self._start)
        stopping = asyncio.create_task(self._stop.wait())
        tasks: set[asyncio.Future[Any]] = {starting, stopping}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not self._stop.is_set():
            starting.result()
            # The objects that exist now live as long as the process: the garbage collector need not scan them again.
            gc.collect()
            gc.freeze()
            self._reconciler.watch()
            await health.set(serving=True)
            logger.info("ready: %s", ", ".join(sorted(self._scheduler.routes.models)) or "no models")
            await stopping

    def _start(self) -> None:
        self._deployer.settle()
        self._reconciler.load_all()

    def _notices(self) -> list[str]:
        """Faults of the server itself, for `status`."""
        return [notice for notice in (self._audit.notice, self._gate.notice) if notice]

    def _troubles(self) -> list[str]:
        """Problems to report in /readyz although requests are answered."""
        return [*self._notices(), *self._reconciler.troubles()]

    def leave(self) -> None:
        """Ends the process even if a load still runs, since loads cannot be interrupted.

        All durable state is on disk, so `os._exit` without the interpreter's shutdown loses nothing.
        """
        self._refusals.close()
        for pool in (self._pool, self._refusing):
            pool.shutdown(wait=False)
        threads = [thread for thread in threading.enumerate() if thread.name.startswith(POOL_NAME)]
        for thread in threads:
            thread.join(STOP_MARGIN_S / 5 / len(threads))
        if any(thread.is_alive() for thread in threads):
            logger.warning("stopped in the middle of a load")
            logging.shutdown()
            os._exit(int(self.broken))
        self._state.close()

    def _changed(self, loop: asyncio.AbstractEventLoop, admin: Admin, model: str) -> None:
        """A version of `model` changed state; called in the thread that changed it."""
        loop.call_soon_threadsafe(admin.wake_watchers)
        if self._watch is not None:
            self._watch(self._reconciler.status(model))

    def _admin(self) -> Admin:
        return Admin(
            self._deployer, self._reconciler, self._rollouts, self._audit, self._refusals, self._notices, self._traffic,
            self._pool,
        )  # fmt: skip

    def _fold(self) -> None:
        self._metrics.fold()
        self._traffic.look()

    def _lanes(self) -> list[Lane]:
        return [lane for route in self._scheduler.routes.models.values() for lane in route.lanes.values()]

    def _unloaded(self, lane: Lane) -> None:
        self._codec.forget(lane)
        self._metrics.forget(lane.model, lane.version)


def _native_front(settings: Settings, socket: Path) -> "NativeFront":
    """Imported here, since the front `grpcio` does not need pygrpc-native."""
    from onnxpress.server.front.native import NativeFront  # noqa: PLC0415

    return NativeFront(settings, str(socket))


def _registry(metrics: Metrics) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
