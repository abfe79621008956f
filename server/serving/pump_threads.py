"""The threads that run pumps: a dead pump is replaced, but after too many deaths in a row the process must end."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from onnxpress.server.serving.front import Front

# More deaths than this within the window: the front or the scheduler will not recover in this process.
DEATHS_MAX = 5
WINDOW_S = 60.0

logger = logging.getLogger(__name__)


class Serving(Protocol):
    """The loop that runs in each thread; see Pump."""

    def serve(self, front: Front) -> None:
        """Serves until the front closes. When it raises, it holds no call and no batch."""
        ...


class PumpThreads:
    """The pump threads of one front. Owns, under its lock, the times of the newest deaths.

    A pump survives errors of a batch or a call. It dies when the front or the scheduler raises; the error may be of any
    class, since a panic in a front's Rust code is a BaseException.
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

        `lost` is called in the thread of each pump that died and is not replaced; the process must then end.
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
        """Waits, after the front has closed, until the threads end; False when that takes longer than `timeout_s`."""
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
            # Also reached when logging or counting failed, for example for lack of memory.
            if not closed:
                self._lost()

    def _may_go_on(self) -> bool:
        """Records a death. False if there were more than DEATHS_MAX within WINDOW_S."""
        with self._lock:
            now = self._clock()
            too_many = len(self._deaths) == DEATHS_MAX and now - self._deaths[0] <= WINDOW_S
            self._deaths.append(now)
            return not too_many
