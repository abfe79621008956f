"""The verdict, on measurements made by hand."""

import numpy as np
import pytest

from onnxpress.loadtests.errors import UsageError
from onnxpress.loadtests.measure.answers import Outcome
from onnxpress.loadtests.measure.samples import Recorder, Samples, pack, unpack
from onnxpress.loadtests.measure.tally import Kind, Tally, Usage
from onnxpress.loadtests.verdict.slo import (
    Check,
    Exit,
    Objectives,
    Validity,
    Verdict,
    invalid_reasons,
    overload_checks,
    phase_checks,
    read_slo,
    version_checks,
)
from onnxpress.loadtests.workload.shapes import Phase

PHASE = Phase("steady", 0.0, 10.0, 100.0)
VALIDITY = Validity(samples_min=100)
ONE_KIND = (Kind("churn", 1),)


def samples(
    count: int, latency_ms: float, outcome: Outcome = Outcome.OK, lag_ms: float = 0.0, kind: int = 0
) -> Samples:
    due = np.linspace(0, 9.9, count)
    return Samples(
        due,
        due + lag_ms / 1000,
        due + latency_ms / 1000,
        np.full(count, kind, np.uint16),
        np.full(count, outcome, np.uint8),
        np.full(count, int(outcome is Outcome.OK), np.uint64),
    )


def tally(*parts: Samples, phase: Phase = PHASE, kinds=ONE_KIND, planned: int | None = None) -> Tally:
    made = Tally(kinds)
    made.plan([phase], [sum(map(len, parts)) if planned is None else planned])
    for part in parts:
        made.add(part)
    return made


def broken(measured: Tally, objectives: Objectives = Objectives()) -> set[str]:  # noqa: B008 -- frozen
    checks = phase_checks(measured.phases[0], measured.by_phase[0], objectives)
    return {check.name for check in checks if not check.held}


def test_objectives_are_strict():
    """p99 below 100 ms is the promise: 100.0 does not hold it, 99.9 does."""
    assert broken(tally(samples(1000, 100))) == {"p50", "p95", "p99"}
    assert broken(tally(samples(1000, 99.9))) == set()


@pytest.mark.parametrize(
    ("relation", "measured", "held"),
    [
        ("<", 100.0, False),
        ("<", 99.999, True),
        ("<=", 100.0, True),
        ("<=", 100.1, False),
        (">=", 100.0, True),
        (">=", 99.9, False),
    ],
)
def test_a_limit_is_meant_as_it_is_written(relation, measured, held):
    """At the limit itself, below is not held, and at most and at least are."""
    assert Check("any", "anywhere", measured, relation, 100.0, "ms").held is held


def test_versions_without_a_package_are_unexpected():
    """Version 1 answers, version 2 was expected: every one of its answers counts."""
    measured = tally(samples(300, 5))
    assert [check.measured for check in version_checks(measured, {"churn": frozenset({2})})] == [300]
    assert [check.measured for check in version_checks(measured, {"churn": frozenset({1, 2})})] == [0]


def test_two_slow_ones_of_a_hundred_break_the_p99_alone():
    """98 quick ones do not hide two slow ones."""
    assert broken(tally(samples(980, 5), samples(20, 150))) == {"p99"}
    assert broken(tally(samples(991, 5), samples(9, 150))) == set()


def test_an_answer_that_never_came_counts_as_slow_and_as_an_error():
    """A deadline that passed is in the percentiles: leaving it out would flatter them."""
    measured = tally(samples(900, 5), samples(100, 2000, Outcome.DEADLINE))
    assert broken(measured) == {"p95", "p99", "error rate", "throughput reached"}


def test_quick_errors_do_not_flatter_the_percentiles():
    """The latency of a refused connection counts in no percentile."""
    measured = tally(samples(100, 150), samples(900, 1, Outcome.UNAVAILABLE))
    assert "p50" in broken(measured)


def test_refusals_are_right_only_where_they_are_allowed():
    """In a burst a polite refusal is an answer; in calm it breaks two objectives."""
    parts = samples(500, 5), samples(500, 1, Outcome.REFUSED)
    assert broken(tally(*parts)) == {"refusals", "throughput reached"}
    burst = Phase("burst", 0.0, 10.0, 100.0, refusals=True)
    assert broken(tally(*parts, phase=burst)) == set()
    assert broken(tally(samples(10, 1, Outcome.RUDE), *parts, phase=burst)) == {"error rate"}


def test_nothing_answered_holds_nothing():
    """A phase without answers breaks its latency objective."""
    assert "timed requests" in broken(tally(samples(10, 1, Outcome.ERROR)))


def test_a_lagging_a_busy_or_a_silent_generator_makes_the_measurement_invalid():
    """Late sends, a busy core, unreported requests and unsent calls are each an invalid reason."""
    good = tally(samples(1000, 5))
    assert invalid_reasons(good, [0], VALIDITY, Objectives()) == []
    late = tally(samples(1000, 60, lag_ms=50))
    assert "lags 50" in invalid_reasons(late, [0], VALIDITY, Objectives())[0]
    good.usage.extend(Usage("worker", at, 0.97) for at in (2.0, 3.0, 4.0))
    assert "97% of a core" in invalid_reasons(good, [0], VALIDITY, Objectives())[0]
    blind = tally(samples(1000, 60))
    blind.add_observation_delays(5.0, [0.001] * 90 + [0.055] * 10)
    assert "sees answers 55" in invalid_reasons(blind, [0], VALIDITY, Objectives())[0]
    lost = tally(samples(1000, 5), planned=1500)
    assert "500 of 1500 requests unaccounted for" in invalid_reasons(lost, [0], VALIDITY, Objectives())[0]
    unsent = tally(samples(1000, 5), samples(3, 0, Outcome.UNSENT))
    assert "3 requests not sent" in invalid_reasons(unsent, [0], VALIDITY, Objectives())[0]


def test_a_p999_needs_ten_times_the_samples():
    """1,000 samples carry a p99 at a minimum of 100, and a p99.9 at its thousand."""
    measured = tally(samples(900, 5))
    assert invalid_reasons(measured, [0], VALIDITY, Objectives()) == []
    assert "too few for a p999: 1000" in invalid_reasons(measured, [0], VALIDITY, Objectives(p999_ms=100))[0]


def test_a_server_that_answers_nothing_is_no_lack_of_samples():
    """Errors of the server count as samples, so the verdict is broken and not invalid."""
    assert invalid_reasons(tally(samples(1000, 5, Outcome.ERROR)), [0], VALIDITY, Objectives()) == []


@pytest.mark.parametrize(
    ("checks", "invalid", "says"),
    [
        ((True, True), False, Exit.HELD),
        ((True, False), False, Exit.BROKEN),
        ((True, True), True, Exit.INVALID),
        ((True, False), True, Exit.INVALID),
        ((False, True), True, Exit.BROKEN),
    ],
)
def test_a_wrong_answer_is_broken_although_the_measurement_is_invalid(checks, invalid, says):
    """`checks`: whether the answers and the latency held; a busy generator excuses the latency only."""
    answers, latency = checks
    made = (
        Check("wrong answers", "steady", float(not answers), "<=", 0, "requests", about_answers=True),
        Check("p99", "steady", 50 if latency else 150, "<", 100, "ms"),
    )
    assert Verdict(made, ("the generator lags",) if invalid else ()).exit is says


def test_goodput_is_measured_against_the_capacity():
    """100/s of capacity, 70/s answered at five times it: below 0.80, and critical requests are counted apart."""
    kinds = (Kind("churn", 1, 0.9), Kind("churn", 1, 0.1, "critical"))
    phase = Phase("5x", 0.0, 10.0, 500.0, refusals=True, factor=5)
    parts = (
        samples(650, 5),
        samples(3800, 1, Outcome.REFUSED),
        samples(49, 5, kind=1),
        samples(1, 1, Outcome.REFUSED, kind=1),
    )
    checks = overload_checks(tally(*parts, phase=phase, kinds=kinds), 100.0, Objectives())
    assert [(check.name, check.held) for check in checks] == [("goodput", False), ("critical requests answered", False)]
    assert checks[0].measured == pytest.approx(0.699)
    assert checks[1].measured == pytest.approx(0.98)


def test_flags_go_over_the_suite_over_the_file(tmp_path):
    """Flags override the suite's table, which overrides the general tables."""
    path = tmp_path / "slo.toml"
    path.write_text(
        "[objectives]\np50_ms = 10\np95_ms = 20\n[validity]\nsamples_min = 5\n[suites.spike]\np95_ms = 30\n"
    )
    objectives, validity = read_slo(path, "spike", {"p99_ms": 40.0, "p50_ms": None})
    assert (objectives.p50_ms, objectives.p95_ms, objectives.p99_ms) == (10, 30, 40)
    assert validity.samples_min == 5
    assert read_slo(path, "steady", {})[0].p95_ms == 20


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[objectives]\np98_ms = 1\n", "unknown objective 'p98_ms'"),
        ("[goals]\n", "unknown table 'goals'"),
        ('[objectives]\np99_ms = "fast"\n', "p99_ms is 'fast', expected a number"),
        ("[objectives]\np99_ms = -1\n", "p99_ms is -1"),
        ("p99", "cannot be read"),
    ],
)
def test_an_slo_file_that_is_not_understood_is_refused(tmp_path, text, says):
    """A misspelt objective is an error, since it would otherwise never be checked."""
    path = tmp_path / "slo.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        read_slo(path, "steady", {})


def test_the_repositorys_own_slo_file_is_understood_by_every_suite():
    """slo.toml has the objectives that README promises: 100 ms at every percentile."""
    from onnxpress.loadtests.settings import SUITES
    from tests.loadtests.conftest import ROOT

    for suite in SUITES:
        objectives, _ = read_slo(ROOT / "slo.toml", suite, {})
        assert (objectives.p50_ms, objectives.p95_ms, objectives.p99_ms) == (100, 100, 100)


def test_seconds_and_classes_add_up():
    """The same samples by phase, by class and by second are the same requests."""
    kinds = (Kind("churn", 1), Kind("churn", 100))
    measured = tally(samples(300, 5), samples(200, 9, kind=1), kinds=kinds)
    measured.close(5.0)
    seconds = measured.seconds()
    assert sum(second.due for second in seconds) == 500
    assert [second.at for second in seconds] == list(range(10))
    assert [window.due for window in measured.by_kind[0]] == [300, 200]
    assert measured.by_phase[0].rows == 300 + 200 * 100
    assert seconds[0].max_us == 9000


def test_samples_survive_the_way_between_processes():
    """Packed and unpacked, every column is what it was; error texts are counted and bounded."""
    recorder = Recorder()
    recorder.add((1.5, 1.6, 1.7, 3, Outcome.WRONG, 2**40))
    for index in range(80):
        recorder.complain(f"error {index}")
    taken, messages = recorder.take()
    back = unpack(pack(taken))
    assert (back.due[0], back.sent[0], back.done[0], back.kind[0], back.outcome[0]) == (1.5, 1.6, 1.7, 3, Outcome.WRONG)
    assert back.version[0] == 2**40
    assert len(messages) == 51
    assert messages["other"] == 30
    assert len(recorder) == 0
