"""One model in this process: what is desired, what is loaded, and what went wrong."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from onnxpress.server.serving.routing import Route
from onnxpress.server.versions.desired import Desired
from onnxpress.server.versions.next_action import Failure, Wanted
from onnxpress.server.versions.status import VersionStatus


@dataclass(eq=False)
class Model:
    """Two locks. `changing` is held by a change from its start to its end, and by whoever publishes or unloads.

    Everything else is read and changed under `lock`, which is held for moments only, never during a load.
    """

    name: str
    desired: Desired
    versions: dict[int, VersionStatus] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)
    pinned: frozenset[int] = frozenset()  # loaded by explicit request, not by the deployment
    held: frozenset[int] = frozenset()  # what a change is about to make live
    suspended: int | None = None  # the epoch in which it was unloaded by explicit request
    unreadable: str = ""  # why its deployment.json cannot be read
    trouble: str = ""  # why it is not served as desired, as of the last look
    formers: list[Route] = field(default_factory=list)  # replaced routes that may hold requests still
    reconciling: bool = False  # a thread of the reconciler is at work; written by the reconciler's own thread and that
    changing: threading.Lock = field(default_factory=threading.Lock)
    lock: threading.Condition = field(default_factory=threading.Condition)

    def wanted(self) -> Wanted:
        """What the next action starts from. The caller holds `lock`."""
        desired = self.desired
        suspended = self.suspended == desired.epoch
        return Wanted(desired.version, desired.previous, desired.epoch, suspended, self.pinned | self.held)

    @contextmanager
    def holding(self, version: int) -> Iterator[None]:
        """Keeps a version that is neither live nor desired from being unloaded meanwhile."""
        with self.lock:
            self.held |= {version}
        try:
            yield
        finally:
            with self.lock:
                self.held -= {version}
