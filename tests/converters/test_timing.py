"""The run times in the summary of a conversion."""

from typing import Any

import numpy as np

from onnxpress.converters import timing


class Session:
    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []

    def run(self, feeds: dict[str, Any]) -> None:
        self.batches.append(feeds)


def test_stored_rows_are_repeated_to_fill_the_batch() -> None:
    """Two stored rows are repeated to a batch of five; text is passed as objects."""
    session = Session()
    stored = {"x": np.array([[1.0], [2.0]], np.float32), "plan": np.array([["a"], ["b"]])}
    assert timing.microseconds(session, stored, 5) >= 0
    assert len(session.batches) <= timing.RUNS
    batch = session.batches[0]
    assert batch["x"].ravel().tolist() == [1.0, 2.0, 1.0, 2.0, 1.0]
    assert (batch["plan"].dtype, batch["plan"].ravel().tolist()) == (object, ["a", "b", "a", "b", "a"])


def test_the_median_of_the_runs_is_reported(monkeypatch) -> None:
    """One slow run does not change the result."""
    durations = iter([1e-6, 5.0, 2e-6])
    now = [0.0]

    class Clocked(Session):
        def run(self, feeds: dict[str, Any]) -> None:
            super().run(feeds)
            now[0] += next(durations)

    monkeypatch.setattr(timing, "RUNS", 3)
    monkeypatch.setattr(timing, "BUDGET_SECONDS", 60.0)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    assert abs(timing.microseconds(Clocked(), {"x": np.zeros((1, 1))}, 1) - 2.0) < 1e-3


def test_a_slow_model_is_run_once(monkeypatch) -> None:
    """The time budget ends the measurement after at least one run."""
    monkeypatch.setattr(timing, "BUDGET_SECONDS", -1.0)
    session = Session()
    timing.microseconds(session, {"x": np.zeros((1, 1))}, 1)
    assert len(session.batches) == 1
