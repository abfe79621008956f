"""One model in this process: its desired state, loaded versions and failures."""

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
    """Two locks. `changing` is held for a whole change, and while a route is published or a version unloaded.

    All other state is read and changed under `lock`, which is held briefly, never during a load.
    """

    name: str
    desired: Desired
    versions: dict[int, VersionStatus] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)
    pinned: frozenset[int] = frozenset()  # loaded by explicit request, not by the deployment
    held: frozenset[int] = frozenset()  # versions that a change in progress is about to make live
    suspended: int | None = None  # the epoch in which it was unloaded by explicit request
    unreadable: str = ""  # why its deployment.json cannot be read
    trouble: str = ""  # why it is not served as desired, as of the last check
    formers: list[Route] = field(default_factory=list)  # replaced routes that may still hold requests
    reconciling: bool = False  # whether a reconciler thread works on it; written by the polling thread and that one
    changing: threading.Lock = field(default_factory=threading.Lock)
    lock: threading.Condition = field(default_factory=threading.Condition)

    def wanted(self) -> Wanted:
        """The input of `next_action`. The caller holds `lock`."""
        desired = self.desired
        suspended = self.suspended == desired.epoch
        kept = self.pinned | self.held
        return Wanted(desired.version, desired.previous, desired.epoch, suspended, kept, desired.candidate)

    @contextmanager
    def holding(self, version: int) -> Iterator[None]:
        """Prevents a version that is neither live nor desired from being unloaded."""
        with self.lock:
            self.held |= {version}
        try:
            yield
        finally:
            with self.lock:
                self.held -= {version}
