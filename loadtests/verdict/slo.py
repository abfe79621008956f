"""Decides whether the objectives were held and whether the measurement is valid. Pure."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from pathlib import Path
from typing import Any

from onnxpress.loadtests.errors import UsageError
from onnxpress.loadtests.measure.answers import Outcome
from onnxpress.loadtests.measure.tally import Tally, Window
from onnxpress.loadtests.verdict.swaps import SwapReport
from onnxpress.loadtests.workload.shapes import Phase

PERCENTILES = {"p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0, "p999_ms": 99.9}


class Exit(IntEnum):
    """The exit code of a load test."""

    HELD = 0
    BROKEN = 1
    USAGE = 2
    INVALID = 4


@dataclass(frozen=True)
class Objectives:
    """The objectives of the server. Latencies in ms from the intended send time, of judged phases; 0: no objective.

    `error_rate`: errors over requests due. `throughput_share`: right answers over requests due; refusals are not right
    answers. `swap_p99_ratio`: p99 around hot swaps over p99 elsewhere. `capacity_min`: least capacity of a ramp,
    requests/s. `goodput`: right answers per second over the capacity, by factor of overload.
    """

    p50_ms: float = 100.0
    p95_ms: float = 100.0
    p99_ms: float = 100.0
    p999_ms: float = 0.0
    error_rate: float = 0.0
    throughput_share: float = 0.99
    swap_p99_ratio: float = 1.5
    capacity_min: float = 0.0
    critical_share: float = 0.999
    goodput: Mapping[str, float] = field(default_factory=lambda: {"2": 0.90, "5": 0.80, "10": 0.65})


@dataclass(frozen=True)
class Validity:
    """The limits within which a measurement is valid.

    `cpu_max`: mean share of a core of the busiest generator process. `lag_p99_ms`: limit of how late requests are sent,
    and of the observation delay. `samples_min`: timed requests for a p99; a p99.9 needs ten times as many.
    `accounted_share`: requests reported over those planned.
    """

    cpu_max: float = 0.90
    lag_p99_ms: float = 25.0
    samples_min: int = 10_000
    accounted_share: float = 0.999


@dataclass(frozen=True)
class Check:
    """One objective in one phase. `measured` `relation` `limit` must hold; both are in `unit`."""

    name: str
    where: str
    measured: float
    relation: str  # "<", "<=" or ">="
    limit: float
    unit: str
    about_answers: bool = False  # a broken one cannot be caused by a busy generator

    @property
    def held(self) -> bool:
        if self.relation == "<":
            return self.measured < self.limit
        return self.measured <= self.limit if self.relation == "<=" else self.measured >= self.limit


@dataclass(frozen=True)
class Verdict:
    checks: tuple[Check, ...]
    invalid_reasons: tuple[str, ...]  # why the measurement is invalid; empty when it is valid

    @property
    def exit(self) -> Exit:
        """BROKEN for wrong answers whatever the generator did; otherwise an invalid measurement says nothing."""
        if any(not check.held and check.about_answers for check in self.checks):
            return Exit.BROKEN
        if self.invalid_reasons:
            return Exit.INVALID
        return Exit.HELD if all(check.held for check in self.checks) else Exit.BROKEN


def read_slo(path: Path | None, suite: str, overrides: Mapping[str, float | None]) -> tuple[Objectives, Validity]:
    """Objectives and validity: flags over `[suites.<suite>]` over `[objectives]` and `[validity]` over defaults.

    Raises UsageError naming an unknown key or a value that is not a number.
    """
    document: dict[str, Any] = {}
    if path:
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"{path} cannot be read: {error}") from error
        unknown = set(document) - {"objectives", "validity", "suites"}
        if unknown:
            raise UsageError(f"{path}: unknown table {min(unknown)!r}; there are objectives, validity, suites")
    suites = document.get("suites", {})
    given = {key: value for key, value in overrides.items() if value is not None}
    objective_names = {known.name for known in fields(Objectives)}
    validity_names = {known.name for known in fields(Validity)}
    merged = {**document.get("objectives", {}), **document.get("validity", {}), **suites.get(suite, {}), **given}
    for name, value in merged.items():
        if name not in objective_names | validity_names:
            raise UsageError(f"unknown objective {name!r}; there are {', '.join(sorted(objective_names))}")
        numbers = value.values() if isinstance(value, dict) and name == "goodput" else [value]
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int | float) or number < 0:
                raise UsageError(f"objective {name} is {number!r}, expected a number of 0 or more")
    return (
        Objectives(**{name: value for name, value in merged.items() if name in objective_names}),
        Validity(**{name: value for name, value in merged.items() if name in validity_names}),
    )


def latency_checks(window: Window, objectives: Objectives, where: str) -> list[Check]:
    if not len(window.latencies):
        return [Check("timed requests", where, 0, ">=", 1, "requests")]
    checks = []
    for name, percent in PERCENTILES.items():
        limit = float(getattr(objectives, name))
        if limit:
            measured = window.latencies.percentile_us(percent) / 1000
            checks.append(Check(f"p{percent:g}", where, measured, "<", limit, "ms"))
    return checks


def phase_checks(phase: Phase, window: Window, objectives: Objectives) -> list[Check]:
    """The checks of one phase."""
    due = max(window.due, 1)
    wrong = window.outcomes[Outcome.WRONG]
    checks = [
        Check("error rate", phase.name, window.errors / due, "<=", objectives.error_rate, "of requests"),
        Check("wrong answers", phase.name, wrong, "<=", 0, "requests", about_answers=True),
    ]
    if phase.judged:
        checks = latency_checks(window, objectives, phase.name) + checks
    if phase.judged and not phase.refusals:
        share = window.answered / due
        checks.append(
            Check("throughput reached", phase.name, share, ">=", objectives.throughput_share, "of requests due")
        )
    if not phase.refusals:
        checks.append(Check("refusals", phase.name, window.refused / due, "<=", objectives.error_rate, "of requests"))
    return checks


def version_checks(tally: Tally, expected: Mapping[str, frozenset[int]]) -> list[Check]:
    """Answers by versions that are not expected to be live; `expected` by model."""
    unexpected = 0
    for (kind, version), count in tally.versions.items():
        wanted = expected.get(tally.kinds[kind].model)
        if wanted and version not in wanted:
            unexpected += count
    return [Check("answers by unexpected versions", "whole test", unexpected, "<=", 0, "requests", about_answers=True)]


def swap_checks(report: SwapReport, failed: int, done: int, objectives: Objectives) -> list[Check]:
    where = "hot swaps"
    return [
        Check("swaps", where, done, ">=", 1, "done"),
        Check("failed swaps", where, failed, "<=", 0, "swaps"),
        Check("barrier breaches", where, report.breaches, "<=", 0, "requests", about_answers=True),
        Check("flips back", where, report.flips, "<=", 0, "requests", about_answers=True),
        Check("p99 around swaps over p99 elsewhere", where, report.ratio(), "<=", objectives.swap_p99_ratio, "times"),
    ]


def overload_checks(tally: Tally, capacity: float, objectives: Objectives) -> list[Check]:
    """Goodput by factor of the capacity, and how many critical requests were answered at 5 times."""
    checks = []
    for index, phase in enumerate(tally.phases):
        limit = objectives.goodput.get(f"{phase.factor:g}", 0.0)
        if phase.factor and limit:
            reached = tally.by_phase[index].answered / phase.seconds / capacity
            checks.append(Check("goodput", phase.name, reached, ">=", limit, "of capacity"))
        for kind, window in zip(tally.kinds, tally.by_kind[index], strict=True):
            if kind.priority == "critical" and phase.factor == 5 and window.due:
                share = window.answered / window.due
                checks.append(
                    Check("critical requests answered", phase.name, share, ">=", objectives.critical_share, "of them")
                )
    return checks


def invalid_reasons(tally: Tally, phases: Sequence[int], validity: Validity, objectives: Objectives) -> list[str]:
    """Why the measurement of these phases (by index) is invalid; empty when it is valid."""
    found: list[str] = []
    pooled = Window()
    for index in phases:
        phase, window = tally.phases[index], tally.by_phase[index]
        if phase.judged:
            pooled.merge(window)
        if tally.missing(index) > (1 - validity.accounted_share) * tally.planned[index]:
            found.append(f"{phase.name}: {tally.missing(index)} of {tally.planned[index]} requests unaccounted for")
        unsent = window.outcomes[Outcome.UNSENT]
        if unsent:
            found.append(f"{phase.name}: {unsent} requests not sent: too many calls in flight in the generator")
        if not phase.judged:
            continue
        found += _generator_invalid_reasons(phase, window, max(tally.cpu(phase).values(), default=0.0), validity)
    for name, factor in (("p99", 1), ("p999", 10)):
        needed = validity.samples_min * factor
        # Requests that the server failed to answer count as samples, since they are the server's fault.
        samples = pooled.due - pooled.refused - pooled.outcomes[Outcome.UNSENT]
        if getattr(objectives, f"{name}_ms") and samples < needed:
            found.append(f"{samples} samples are too few for a {name}: {needed} are needed")
    return found


def _generator_invalid_reasons(phase: Phase, window: Window, busiest: float, validity: Validity) -> list[str]:
    """The limits that the generator exceeded in a phase; `busiest`: its busiest process's share of a core."""
    found: list[str] = []
    lag = window.lags.percentile_us(99) / 1000
    if lag > validity.lag_p99_ms:
        found.append(f"{phase.name}: the generator lags {lag:.1f} ms (p99), the limit is {validity.lag_p99_ms:g}")
    delay = window.observation_delays.percentile_us(99) / 1000
    if delay > validity.lag_p99_ms:
        found.append(
            f"{phase.name}: the generator sees answers {delay:.1f} ms late (p99), the limit is {validity.lag_p99_ms:g}"
        )
    if busiest > validity.cpu_max:
        found.append(
            f"{phase.name}: a generator process used {busiest:.0%} of a core, the limit is {validity.cpu_max:.0%}: "
            "add --processes"
        )
    return found
