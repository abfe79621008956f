"""A server's control plane over tiny models, without ports and child processes; several make replicas."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from onnxpress.packages.errors import RefusedPackageError
from onnxpress.packages.read import read_package
from onnxpress.server.serving.admission import Admission
from onnxpress.server.serving.cost import Engines, Measured, Sharing
from onnxpress.server.serving.scheduler import Scheduler
from onnxpress.server.sources.folder import FolderSource
from onnxpress.server.versions.actuator import Actuator
from onnxpress.server.versions.audit import FileAuditLog
from onnxpress.server.versions.audit_files import AUDIT_FILE
from onnxpress.server.versions.deployer import Deployer
from onnxpress.server.versions.desired import DesiredStore
from onnxpress.server.versions.lifecycle import State
from onnxpress.server.versions.loader import Loader
from onnxpress.server.versions.preflight import PreflightResult
from onnxpress.server.versions.reconciler import Reconciler
from onnxpress.server.versions.state_folder import StateFolder
from onnxpress.server.wire.status import code_of

PATIENCE_S = 30.0
ROWS_MAX = 4


def add(root: Path, model: str, *versions: int) -> None:
    """Versions whose answer is the input plus the version's number."""
    for version in versions:
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1]) for name in "xy")
        number = numpy_helper.from_array(np.array([version], np.float32), "number")
        graph = helper.make_graph([helper.make_node("Add", ["x", "number"], ["y"])], "g", [x], [y], [number])
        onnx = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        folder = root / model / str(version)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes(onnx.SerializeToString())


class ControlPlane:
    """One replica. The preflight refuses the versions `broken` here, and waits for `go` for those in `hanging`."""

    def __init__(self, root: Path, state: Path | None = None, source: FolderSource | None = None) -> None:
        self.source = source or FolderSource(root)
        self.store = DesiredStore(self.source)
        self.scheduler = Scheduler(2, Admission(2, 1e5, 1000, 1 << 20))
        self.state = StateFolder(state or root / ".onnxpress", root)
        self.log = (state or root / ".onnxpress") / "audit" / AUDIT_FILE
        self.audit = FileAuditLog(self.log.parent, self.state.server)
        self.broken: set[int] = set()
        self.hanging: set[int] = set()
        self.hangs, self.go = threading.Event(), threading.Event()
        self.preflights: list[int] = []
        self.after_preflight: Callable[[Path], object] = lambda _folder: None
        self._changed = threading.Condition()
        self._stopped = False
        self.loader = Loader(100, ROWS_MAX)
        self.actuator = Actuator(self.source, self.scheduler, self.loader, self._preflight, lambda _lane: None, 64)
        self.actuator.on_change = self._wake
        self.reconciler = Reconciler(self.source, self.store, self.actuator)
        self.deployer = Deployer(
            self.reconciler, self.store, self.actuator, self.audit, self.state, lambda error: code_of(error).name
        )

    def start(self) -> Self:
        """Loads what is deployed; polls are the test's to make."""
        self.reconciler.announce()
        self.deployer.settle()
        self.reconciler.load_all()
        return self

    def _preflight(self, folder: Path, name: str, version: int) -> PreflightResult:
        self.preflights.append(version)
        if version in self.hanging:
            self.hangs.set()
            assert self.go.wait(PATIENCE_S)
        if version in self.broken:
            raise RefusedPackageError(f"version {version} does not run on this processor")
        digest = read_package(folder, name, version, 64).digest
        self.after_preflight(folder)
        return PreflightResult(digest, Measured(Engines({1: 10.0}), Sharing(ROWS_MAX), "fake"))

    def _wake(self, _model: str) -> None:
        with self._changed:
            self._changed.notify_all()

    def until(self, true: Callable[[], bool]) -> None:
        """Waits for what the workers do after a poll."""
        with self._changed:
            assert self._changed.wait_for(true, PATIENCE_S), self.reconciler.status("churn")

    def poll(self) -> None:
        """One poll, and everything that it starts."""
        self.reconciler.poll()
        self.reconciler.await_workers()

    def live(self, model: str = "churn") -> tuple[int, int]:
        """Version and epoch that answer."""
        route = self.scheduler.routes.models[model]
        return int(route.live.version) if route.live else 0, route.epoch

    def states(self, model: str = "churn") -> dict[int, State]:
        return {one.version: one.state for one in self.reconciler.status(model).versions}

    def history(self, model: str = "churn") -> list[tuple[str, int, str, str]]:
        """Action, version, state and result of each change."""
        names = ("action", "to_version", "state", "result")
        return [tuple(record[name] for name in names) for record in self.audit.history(model, 100).records]  # type: ignore[misc]

    def stop(self) -> None:
        """Once; a test may do it before the fixture does."""
        if self._stopped:
            return
        self._stopped = True
        self.go.set()
        self.reconciler.stop()
        self.reconciler.await_workers()
        self.state.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextmanager
def replicas(root: Path) -> Iterator[tuple[ControlPlane, ControlPlane]]:
    """Two that share a repository and a state folder."""
    with ControlPlane(root) as one, ControlPlane(root) as two:
        yield one.start(), two.start()
