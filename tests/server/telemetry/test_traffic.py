"""The ring of minutes: the last hour and no more, whatever is loaded and unloaded in it."""

import pytest

from onnxpress.server.telemetry.metrics import VersionCounts
from onnxpress.server.telemetry.traffic import LOOK_S, MINUTE_S, Asked, Traffic

HOUR_S = 60 * MINUTE_S


class Counted:
    """Counts of the metrics, and a clock, which the test moves."""

    def __init__(self) -> None:
        self.now, self.looks = 1000.0, 0
        self.counts: dict[tuple[str, str], VersionCounts] = {}
        self.traffic = Traffic(self._read, lambda: self.now)

    def _read(self) -> dict[tuple[str, str], VersionCounts]:
        self.looks += 1
        return dict(self.counts)

    def asked(self, calls: int, model: str = "churn", version: str = "1") -> None:
        """So many calls of two rows each, two of them in a run of a millisecond."""
        of = self.counts.setdefault((model, version), VersionCounts())
        of.requests += calls
        of.rows += 2 * calls
        of.batches += calls // 2
        of.run_ns += calls // 2 * 1_000_000

    def second(self, calls: int = 0) -> None:
        self.asked(calls)
        self.now += 1.0
        self.traffic.look()


def test_all_versions_of_a_model_together() -> None:
    """Calls, rows, runs and how long those took; other models have their own."""
    counted = Counted()
    counted.asked(10)
    counted.asked(4, version="2")
    counted.asked(100, model="price")
    counted.now += 7.0
    asked, seconds = counted.traffic.last_hour("churn")
    assert asked == Asked(14, 28, 7, pytest.approx(0.007))
    assert seconds == 7.0
    assert counted.traffic.last_hour("price")[0].calls == 100
    assert counted.traffic.last_hour("nosuch") == (Asked(), 7.0)


def test_a_second_of_calls_counts_once() -> None:
    """However often it is looked at."""
    counted = Counted()
    for _ in range(100):
        counted.second(3)
        assert counted.traffic.last_hour("churn")[1] == pytest.approx(counted.now - 1000.0)
    assert counted.traffic.last_hour("churn")[0].calls == 300


def test_what_is_older_than_an_hour_is_forgotten() -> None:
    """A night without calls leaves none; a steady rate keeps its rate."""
    counted = Counted()
    for _ in range(2 * 3600):
        counted.second(2)
    asked, seconds = counted.traffic.last_hour("churn")
    assert HOUR_S - MINUTE_S <= seconds <= HOUR_S
    assert asked.calls / seconds == pytest.approx(2, rel=0.01)
    counted.now += 10 * HOUR_S
    assert counted.traffic.last_hour("churn")[0] == Asked()


def test_counts_are_looked_at_now_and_then() -> None:
    """The thread that folds asks twenty times a second; the counts are read every few seconds."""
    counted = Counted()
    for _ in range(1200):
        counted.now += 0.05
        counted.traffic.look()
    assert counted.looks == pytest.approx(60 / LOOK_S, abs=1)


def test_a_version_that_was_loaded_anew() -> None:
    """Its counts begin at 0 again; an unloaded one keeps its calls in the ring."""
    counted = Counted()
    counted.asked(50)
    counted.now += 10
    counted.traffic.look()
    del counted.counts["churn", "1"]
    counted.now += 10
    counted.traffic.look()
    counted.asked(8)
    assert counted.traffic.last_hour("churn")[0].calls == 58
    counted.counts["churn", "1"] = VersionCounts(requests=3, rows=3, batches=3)
    assert counted.traffic.last_hour("churn")[0].calls == 61
