"""What observers share: the fan-out of reports, and the thread in which each works."""

import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

from onnxpress.server.facts import BatchRun, Observer, Refusal

# Seconds between logged errors of one observer: one that fails usually does so for every batch.
LOG_EVERY_S: Final = 60.0

logger = logging.getLogger(__name__)


class Failures:
    """Logs the errors of one observer or worker, not more often than LOG_EVERY_S. Owns its count, under its lock."""

    def __init__(self, name: str, clock: Callable[[], float] = monotonic) -> None:
        self._name = name
        self._clock = clock
        self._count = 0
        self._logged: float | None = None
        self._lock = threading.Lock()

    def log(self, error: Exception) -> None:
        with self._lock:
            self._count += 1
            now = self._clock()
            if self._logged is not None and now - self._logged < LOG_EVERY_S:
                return
            count, self._count, self._logged = self._count, 0, now
        logger.error("%s failed %d times since its last error was logged", self._name, count, exc_info=error)


class Observers:
    """Several observers as one. If one raises, callers still get their answers and the others their reports."""

    def __init__(self, observers: Sequence[Observer], clock: Callable[[], float] = monotonic) -> None:
        self._observers = [(one, Failures(f"observer {type(one).__name__}", clock)) for one in observers]

    def run_done(self, run: BatchRun) -> None:
        for observer, failures in self._observers:
            try:
                observer.run_done(run)
            except Exception as error:  # noqa: BLE001 -- logged there
                failures.log(error)

    def refused(self, refusal: Refusal) -> None:
        for observer, failures in self._observers:
            try:
                observer.refused(refusal)
            except Exception as error:  # noqa: BLE001 -- logged there
                failures.log(error)


class Worker:
    """Calls `work` every `tick_s` seconds in a thread of its own, and once more when it is stopped."""

    def __init__(self, name: str, work: Callable[[], Any], tick_s: float) -> None:
        self._work = work
        self._tick_s = tick_s
        self._failures = Failures(name)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Waits for the last call of `work`; False when that took too long."""
        self._stopping.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stopping.wait(self._tick_s)
            try:
                self._work()
            except Exception as error:  # noqa: BLE001 -- logged there
                self._failures.log(error)
