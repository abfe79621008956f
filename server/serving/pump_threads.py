"""The threads that pumps run in: whoever dies is replaced, until dying becomes a habit and the process has to end."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from onnxpress.server.serving.front import Front

# A front whose pumps die more often than this within the window does not recover by itself.
DEATHS_MAX = 5
WINDOW_S = 60.0

logger = logging.getLogger(__name__)


class Serving(Protocol):
    """What runs in each thread; see Pump."""

    def serve(self, front: Front) -> None:
        """Until the front closes. Whatever it raises, nothing is left in its hands."""
        ...


class PumpThreads:
    """The pumps of one front. Owns, under its lock, when the newest of them died.

    A pump survives what goes wrong with a batch or a call. It dies of an error of the front or of the scheduler, of any
    class: a panic of the Rust below a front is a BaseException.
    """

    def __init__(
        self,
        pump: Serving,
        front: Front,
        name: str,
        count: int,
        died: Callable[[str], object],
        lost: Callable[[], object],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`died` is called with `name` for each pump that died, in its thread.

        `lost` is called in the thread of each pump that died and is not replaced: the process must end.
        """
        self._pump = pump
        self._front = front
        self._name = name
        self._died = died
        self._lost = lost
        self._clock = clock
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX)
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._keep_serving, name=f"pump-{name}-{n}", daemon=True) for n in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> bool:
        """After the front has closed: waits for the threads; False when that took too long."""
        until = self._clock() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - self._clock()))
        return not any(thread.is_alive() for thread in self._threads)

    def _keep_serving(self) -> None:
        closed = False
        try:
            while not closed:
                try:
                    self._pump.serve(self._front)
                    closed = True
                except BaseException:
                    again = self._may_go_on()
                    consequence = "it is replaced" if again else "it is not replaced, and the process ends"
                    logger.critical("a pump of front %s died: %s", self._name, consequence, exc_info=True)
                    self._died(self._name)
                    if not again:
                        return
        finally:
            # Also where logging or counting failed, as they may when memory is short.
            if not closed:
                self._lost()

    def _may_go_on(self) -> bool:
        """Notes a death. False where there were too many lately."""
        with self._lock:
            now = self._clock()
            lately = len(self._deaths) == DEATHS_MAX and now - self._deaths[0] <= WINDOW_S
            self._deaths.append(now)
            return not lately
