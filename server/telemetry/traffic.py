"""How many calls each model was asked in the last hour: a ring of minutes, read from the counts of the metrics.

Nothing is done per request: the thread that folds the metrics looks at their counts every few seconds.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Final

from onnxpress.server.telemetry.metrics import NS, VersionCounts

MINUTES: Final = 60
MINUTE_S: Final = 60.0
# Seconds between two looks at the counts; an unloaded version's last calls since then are not counted.
LOOK_S: Final = 5.0


@dataclass(frozen=True)
class Asked:
    """Of one model: answered calls, their rows, the runs that answered them, and how long those took in seconds."""

    calls: int = 0
    rows: int = 0
    runs: int = 0
    run_s: float = 0.0

    def __add__(self, other: "Asked") -> "Asked":
        return Asked(self.calls + other.calls, self.rows + other.rows, self.runs + other.runs, self.run_s + other.run_s)

    def since(self, before: "Asked") -> "Asked":
        """What was added to `before`; all of it where a version was loaded anew in between and counts from 0."""
        if self.calls < before.calls:
            return self
        return Asked(
            self.calls - before.calls, self.rows - before.rows, self.runs - before.runs, self.run_s - before.run_s
        )


class Traffic:
    """Owns the ring under its lock; any thread may call."""

    def __init__(
        self, counts: Callable[[], Mapping[tuple[str, str], VersionCounts]], clock: Callable[[], float] = monotonic
    ) -> None:
        """`counts`: by model and version, since each was loaded."""
        self._counts, self._clock = counts, clock
        self._lock = threading.Lock()
        self._began = self._looked = clock()
        self._before: dict[tuple[str, str], Asked] = {}
        self._minutes: deque[dict[str, Asked]] = deque([{}], MINUTES)  # by model, the newest last
        self._minute = 0  # the number of the newest one since it began

    def look(self) -> None:
        """Adds what came since the last look, if that was LOOK_S ago."""
        if self._clock() - self._looked >= LOOK_S:
            with self._lock:
                self._add()

    def last_hour(self, model: str) -> tuple[Asked, float]:
        """What it was asked in the last hour, or since the server began, and the seconds that this is."""
        with self._lock:
            self._add()
            asked = sum((minute[model] for minute in self._minutes if model in minute), Asked())
            first = self._minute - len(self._minutes) + 1
            return asked, self._looked - self._began - first * MINUTE_S

    def _add(self) -> None:
        """Adds what came since the last look to the current minute. The caller holds the lock."""
        self._looked = self._clock()
        minute = int((self._looked - self._began) // MINUTE_S)
        for _ in range(min(minute - self._minute, MINUTES)):
            self._minutes.append({})
        self._minute = minute
        counted = {key: Asked(of.requests, of.rows, of.batches, of.run_ns * NS) for key, of in self._counts().items()}
        for (model, version), asked in counted.items():
            added = asked.since(self._before.get((model, version), Asked()))
            if added.calls:
                self._minutes[-1][model] = self._minutes[-1].get(model, Asked()) + added
        self._before = counted
