"""What observers are told of every call, whichever way it went: together, split, alone after a failure, or refused."""

import numpy as np

from onnxpress.server.errors import OverloadedError
from onnxpress.server.facts import BatchRun, Refusal
from onnxpress.server.serving.admission import Admission
from onnxpress.server.serving.front import CALL
from onnxpress.server.serving.routing import CHAMPION
from tests.server.serving.bench import BAD, ROWS_MAX, Bench, call, cancel

UNREADABLE = (CALL, 9, 0, b"!", None, None)
METADATA = (("route-key", "u7"), ("traceparent", b"00-aa-bb-01"))


def inputs(run: BatchRun) -> list[float]:
    """The rows that were run, after a look at the outputs: the fake session doubles each."""
    rows: list[float] = run.inputs["x"][:, 0].tolist()
    assert np.frombuffer(run.outputs[0], np.float32).tolist() == [2 * row for row in rows]
    assert len(rows) == run.rows == sum(run.calls.columns().rows)
    assert run.lane == ("m", "1", "")
    assert run.taken <= run.started <= run.finished <= run.answered
    return rows


def test_a_column_for_everything_that_calls_hold(bench: Bench) -> None:
    """One entry for each call in the order of its rows, the same for uniform batches and others."""
    bench.handle(call(1, 1, metadata=METADATA), call(2, 2))
    (run,) = bench.observer.runs
    columns = run.calls.columns()
    assert inputs(run) == [1, 2]
    assert columns.arrivals == run.calls.arrivals()
    assert columns._replace(arrivals=[]) == (
        [], [1, 1], [0, 0], ["OK", "OK"], ["", ""], ["u7", ""], ["00-aa-bb-01", ""], [1, 1], [CHAMPION, CHAMPION],
    )  # fmt: skip


def test_answers_after_a_failed_run_are_told(bench: Bench) -> None:
    """Each call that was answered by itself is a run of its own; the one that failed is refused, with its version."""
    bench.handle(call(1, 1), call(2, BAD), call(3, 3))
    assert [inputs(run) for run in bench.observer.runs] == [[1], [3]]
    assert [len(run.calls.arrivals()) for run in bench.observer.runs] == [1, 1]
    assert bench.observer.refusals == [Refusal("m", "1", CHAMPION, 1, "RunError", 1)]


def test_a_split_call_is_told_with_each_part() -> None:
    """Its rows with the run that had them, and the call itself once: with the run that completes it."""
    bench = Bench()
    bench.handle(call(1, *range(2 * ROWS_MAX + 3)), call(2, 100))
    parts: list[tuple[int, int, str]] = []
    rows: dict[int, list[float]] = {}
    for run in bench.observer.runs:
        told = inputs(run)
        columns = run.calls.columns()
        for count, start, status, arrival in zip(*columns[1:4], columns.arrivals, strict=True):
            mine, told = told[:count], told[count:]
            if mine != [100]:
                rows.setdefault(arrival, []).extend(mine)
                parts.append((start, count, status))
    assert [*rows.values()] == [[*range(2 * ROWS_MAX + 3)]]
    assert [start for start, _, _ in parts] == [sum(count for _, count, _ in parts[:n]) for n in range(len(parts))]
    assert [status for *_, status in parts] == [""] * (len(parts) - 1) + ["OK"]
    assert sum(len(run.calls.arrivals()) for run in bench.observer.runs) == 2


def test_a_part_that_fails_is_told_once() -> None:
    """The rows before it were answered to nobody: their runs completed no call, and the call is refused once."""
    bench = Bench()
    bench.handle(call(1, *range(ROWS_MAX), BAD), call(2, 100))
    (run,) = bench.observer.runs
    assert len(inputs(run)) == ROWS_MAX
    assert run.calls.columns().statuses == ["OK", ""]
    assert len(run.calls.arrivals()) == 1
    assert bench.observer.refusals == [Refusal("m", "1", CHAMPION, 1, "RunError", 1)]


def test_refusals_name_the_version_that_they_were_bound_to() -> None:
    """Calls that there is no room for and that are cancelled belong to their version; unreadable ones to none."""
    bench = Bench(door=Admission(1, 1e9, 2, 10**9))
    bench.session.meanwhile = lambda: bench.handle(call(1, 1), call(2, 2), call(3, 3), cancel(1))
    bench.handle(call(0, 0), UNREADABLE)
    assert isinstance(bench.front.told[3], OverloadedError)
    assert sorted(bench.observer.refusals) == [
        Refusal("", "", "", 0, "InvalidRequestError", 1),
        Refusal("m", "1", CHAMPION, 1, "CANCELLED", 1),
        Refusal("m", "1", CHAMPION, 1, "OverloadedError", 1),
    ]
