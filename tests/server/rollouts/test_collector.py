"""What is counted of each version, and of the rows that both answer."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import onnxpress
from onnxpress.server.facts import BatchRun, Refusal
from onnxpress.server.rollouts.collector import (
    DETAILED_MAX,
    PAIRS_PER_S,
    REFERENCE_MIN,
    SCORES_MIN,
    Buffer,
    Counter,
    Pair,
)
from onnxpress.server.rollouts.windows import Window
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.routing import CANARY, CHAMPION, NAMED
from onnxpress.server.versions.loader import Loader
from tests.answers import number_rows
from tests.model_repository import Models
from tests.server.rollouts.reports import ran, refusal, sums
from tests.server.versions.control_plane import ControlPlane, add


@pytest.fixture
def lanes(tmp_path: Path) -> Iterator[dict[str, Lane]]:
    add(tmp_path, "churn", 1, 2)
    with ControlPlane(tmp_path) as plane:
        plane.start()
        plane.deployer.load("churn", 1, "ada")
        yield plane.scheduler.routes.models["churn"].lanes


@pytest.fixture
def counter(lanes: dict[str, Lane]) -> Counter:
    return Counter(Pair(2, lanes["1"], lanes["2"]))


def counted(counter: Counter, reports: Sequence[BatchRun | Refusal]) -> Window:
    """A window of a second with these reports."""
    buffer = Buffer()
    buffer.watched = dict.fromkeys(("churn", "numbers"), "2")
    for report in reports:
        (buffer.run_done if isinstance(report, BatchRun) else buffer.refused)(report)
    for taken in buffer.take().values():
        counter.add(taken)
    return counter.close(1.0)


def test_calls_by_version(counter: Counter, lanes: dict[str, Lane]) -> None:
    """Those that named their version are not the deployment's choice, and do not count."""
    window = counted(counter, [sums(lanes["1"], 9), sums(lanes["2"], 2), sums(lanes["2"], 5, NAMED)])
    assert (window.champion.calls, window.candidate.calls) == (9, 2)


@pytest.mark.parametrize(
    ("code", "errors", "refused", "calls"),
    [("INTERNAL", 1, 0, 1), ("INVALID_ARGUMENT", 0, 1, 1), ("RESOURCE_EXHAUSTED", 0, 0, 0), ("CANCELLED", 0, 0, 0)],
)
def test_refusals_by_kind(counter: Counter, code: str, errors: int, refused: int, calls: int) -> None:
    """The version's own errors, what its data contract refuses, and what is nobody's fault."""
    arm = counted(counter, [refusal(CANARY, code)]).candidate
    assert (arm.errors, arm.refused, arm.calls) == (errors, refused, calls)


def test_a_keys_failures_count_once_for_each_version(counter: Counter) -> None:
    """In all windows together; calls without a key count each time."""
    reports = [refusal(variant, "INTERNAL", key) for variant in (CHAMPION, CANARY) for key in ("a", "a", "b", "", "")]
    first, second = counted(counter, reports), counted(counter, reports)
    assert [arm.errors for arm in (first.champion, first.candidate, second.champion)] == [4, 4, 2]
    assert first.champion.calls == 5


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_invalid_answers(counter: Counter, lanes: dict[str, Lane], number: float) -> None:
    """Calls with a NaN or an infinity, a route key's first one only."""
    y = np.array([1, number, number, 4, number], np.float32)
    window = counted(counter, [sums(lanes["2"], 5, y=y, keys=["", "a", "a", "", "b"])])
    assert (window.candidate.calls, window.candidate.invalid) == (5, 2)


def test_slow_runs(counter: Counter, lanes: dict[str, Lane]) -> None:
    """Beyond the champion's quantiles; the candidate is given a quarter and 5 ms more."""
    counted(counter, [sums(lanes["1"], 1, ms=1) for _ in range(REFERENCE_MIN)])
    window = counted(counter, [sums(lanes["1"], 1, ms=3), sums(lanes["2"], 1, ms=3), sums(lanes["2"], 1, ms=31)])
    assert (window.champion.runs, window.champion.slow_max) == (1, 1)
    assert (window.candidate.runs, window.candidate.slow_q90, window.candidate.slow_max) == (2, 1, 1)


def test_no_run_is_slow_before_the_champion_has_run(counter: Counter, lanes: dict[str, Lane]) -> None:
    """There is nothing to compare with yet."""
    assert counted(counter, [sums(lanes["2"], 1, ms=500)]).candidate.runs == 0


def test_scores_are_binned_by_the_champions_tenths(counter: Counter, lanes: dict[str, Lane]) -> None:
    """Equal scores fill all bins alike; higher ones fill the last."""
    counted(counter, [sums(lanes["1"], SCORES_MIN)])
    same = np.linspace(0, 100, 200, dtype=np.float32) + 1
    window = counted(counter, [sums(lanes["1"], 200, y=same), sums(lanes["2"], 200, y=same + 1000)])
    assert window.champion.bins == (20,) * 10
    assert window.candidate.bins == (0,) * 9 + (200,)


def test_labels_are_compared_on_the_same_rows(models: Models) -> None:
    """The champion answers some rows of the candidate: an equal version never differs, exchanged labels always do."""
    lane = Loader(100, 64).load(onnxpress.load(models.root / "numbers/1"))
    rows = number_rows(30, seed=3)
    label, probabilities = lane.session.run({"input": rows})
    other = Lane("numbers", 2, lane.session, "other", lane.contract, lane.cost)
    counter = Counter(Pair(2, lane, other))

    def answered(labels: np.ndarray) -> BatchRun:
        return ran(other, [CANARY] * 30, [labels.tobytes(), probabilities.tobytes()], {"input": rows})

    window = counted(counter, [answered(label)])
    assert (window.pairs, window.flips) == (30, 0)
    window = counted(counter, [answered(1 - label)] * 3)
    assert (window.pairs, window.flips) == (PAIRS_PER_S, PAIRS_PER_S)


def test_the_buffer_keeps_watched_models_only(lanes: dict[str, Lane]) -> None:
    """Without a rollout a report costs a look-up; beyond the limit the newest are dropped and counted."""
    buffer = Buffer(buffer_max=2)
    buffer.run_done(sums(lanes["1"], 1))
    assert buffer.take() == {}
    buffer.watched = {"churn": "2"}
    for _ in range(3):
        buffer.refused(refusal(CANARY, "INTERNAL"))
    buffer.refused(refusal(CANARY, "INTERNAL", model="other"))
    assert [len(reports) for reports in buffer.take().values()] == [2]
    assert buffer.dropped == 1
    assert buffer.take() == {}


def test_few_outputs_are_kept_at_high_rates(lanes: dict[str, Lane], counter: Counter) -> None:
    """Every call counts; beyond a number of runs their outputs are not looked at, and not kept."""
    buffer = Buffer()
    buffer.watched = {"churn": "2"}
    for _ in range(DETAILED_MAX + 50):
        buffer.run_done(sums(lanes["1"], 2))
    counter.add(buffer.take()["churn"])
    arm = counter.close(1.0).champion
    assert (arm.calls, arm.checked) == (2 * (DETAILED_MAX + 50), 2 * DETAILED_MAX)
    buffer.run_done(sums(lanes["1"], 2))
    counter.add(buffer.take()["churn"])
    assert counter.close(1.0).champion.checked == 2
